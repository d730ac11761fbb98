#include "moment.h"

#include <time.h>

#include <algorithm>

namespace weir::tool {
double now_seconds() {
  struct timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

bool is_same_program(const Snapshot& before, const Snapshot& after) {
  return before.pid() == after.pid() && before.page().start_ns == after.page().start_ns;
}

CounterChange::CounterChange(const Moment* before, const Moment& after)
    : before_(before != nullptr ? &before->snapshot : nullptr), after_(after.snapshot) {
  // Two moments may be one to the clock.
  constexpr double kShortest = 1e-3;
  const double start = before != nullptr ? before->seconds : static_cast<double>(after_.page().start_ns) / 1e9;
  seconds_ = std::max(after.seconds - start, kShortest);
}

double CounterChange::rate(std::string_view counter) const {
  return per_second(after_.counter(counter), before_ != nullptr ? before_->counter(counter) : 0);
}

}  // namespace weir::tool
