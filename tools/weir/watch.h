// Purpose: one process that weir top looks at: its numbers, their past, its tables, and what became of it.
// Thread safety: one thread. Invariants: when the process has ended, its last numbers stay, and nothing changes any
// more.
#pragma once

#include <string>

#include "activity.h"
#include "page_reader.h"
#include "table.h"

namespace weir::tool {

class Watch {
 public:
  enum class State : uint8_t {
    kRunning,
    kUnreadable,  // there, but it has become another program that is not on weir or not the caller's: may change back
    kEnded,
  };

  Watch(Tracker tracker, std::string command, std::string arguments);
  // What was read of the process, and how it is called now.
  void update(Moment now, std::string command, std::string arguments);
  void lose();
  void end();

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] pid_t pid() const { return tracker_.last().snapshot.pid(); }
  [[nodiscard]] const Snapshot& snapshot() const { return tracker_.last().snapshot; }
  [[nodiscard]] const Tracker& tracker() const { return tracker_; }
  [[nodiscard]] const std::string& command() const { return command_; }
  [[nodiscard]] const std::string& arguments() const { return arguments_; }
  // The table that is shown: size classes, or heaps.
  [[nodiscard]] Table& table() { return shows_heaps_ ? heaps_ : slabs_; }
  [[nodiscard]] bool shows_heaps() const { return shows_heaps_; }
  void show_other_table() { shows_heaps_ = !shows_heaps_; }

 private:
  void update_tables();

  Tracker tracker_;
  std::string command_, arguments_;
  State state_ = State::kRunning;
  Table slabs_, heaps_;
  bool shows_heaps_ = false;
};

// Looks at the process again.
void look_again(Watch& watch);

}  // namespace weir::tool
