#include "moment.h"

#include <time.h>

#include <algorithm>

namespace weir::tool {
namespace {

uint64_t find(const std::vector<Snapshot::Counter>& all, std::string_view name) {
  const auto at = std::find_if(all.begin(), all.end(), [name](const Snapshot::Counter& c) { return c.name == name; });
  return at == all.end() ? 0 : at->value;
}

}  // namespace

double now_seconds() {
  struct timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

bool is_same_program(const Snapshot& before, const Snapshot& after) {
  return before.pid() == after.pid() && before.page().start_ns == after.page().start_ns;
}

CounterChange::CounterChange(const Moment* before, const Moment& after) : after_(after.snapshot.counters()) {
  // Two moments may be one to the clock.
  constexpr double kShortest = 1e-3;
  double start = static_cast<double>(after.snapshot.page().start_ns) / 1e9;
  if (before != nullptr) {
    before_ = before->snapshot.counters();
    start = before->seconds;
  }
  seconds_ = std::max(after.seconds - start, kShortest);
}

double CounterChange::rate(std::string_view counter) const {
  return per_second(find(after_, counter), find(before_, counter));
}

}  // namespace weir::tool
