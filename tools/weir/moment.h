// Purpose: the numbers of a process at a moment, and what changed from one moment to another, by name and second.
// Thread safety: values. Invariants: a counter that went back (the process became another program) changed by 0.
#pragma once

#include <optional>
#include <string_view>

#include "snapshot.h"

namespace weir::tool {

// CLOCK_MONOTONIC, which the page's start_ns is of, too.
[[nodiscard]] double now_seconds();

struct Moment {
  // Throws Failure kNoStats when there is nothing to be read.
  explicit Moment(pid_t pid) : snapshot(pid), seconds(now_seconds()) {}
  explicit Moment(PageReader& reader) : snapshot(reader), seconds(now_seconds()) {}
  Moment(Snapshot s, double when) : snapshot(std::move(s)), seconds(when) {}
  Snapshot snapshot;
  double seconds;
};

// False when the process, or the one that has its number now, was another program before.
[[nodiscard]] bool is_same_program(const Snapshot& before, const Snapshot& after);

// Both moments outlive it.
class CounterChange {
 public:
  // From the start of the process when `before` is null.
  CounterChange(const Moment* before, const Moment& after);
  [[nodiscard]] double rate(std::string_view counter) const;
  [[nodiscard]] double per_second(uint64_t now, uint64_t before) const {
    return now > before ? static_cast<double>(now - before) / seconds_ : 0;
  }

 private:
  const Snapshot* before_;
  const Snapshot& after_;
  double seconds_;
};

}  // namespace weir::tool
