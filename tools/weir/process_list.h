// Purpose: the processes on weir and what they do, as weir top lists them.
// Thread safety: one thread. Invariants: a process that is not in an update is forgotten.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "activity.h"
#include "table.h"

namespace weir::tool {

class ProcessList {
 public:
  ProcessList();
  struct Seen {
    Moment moment;
    std::string command;
  };
  void update(std::vector<Seen> seen);
  [[nodiscard]] Table& table() { return table_; }
  [[nodiscard]] const Table& table() const { return table_; }
  // What is known of a process of the last update; null when it is not among them.
  [[nodiscard]] const Tracker* find(pid_t pid) const;

  struct Total {
    size_t processes = 0, limited = 0;
    uint64_t used = 0, limit = 0, swapped = 0, zswap_pool = 0;  // pages; limit and used of those with a limit
  };
  [[nodiscard]] Total total() const;

 private:
  std::map<pid_t, Tracker> trackers_;
  Table table_;
};

// The processes as they are now, except those that may not be looked at.
[[nodiscard]] std::vector<ProcessList::Seen> see_processes();

}  // namespace weir::tool
