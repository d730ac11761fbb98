// Purpose: `weir vmstat` and `weir sar -B`: what a process did in each interval, in the columns of vmstat(8) and
// sar(1). Thread safety: one thread. Invariants: the first line of vmstat is about the time since the process started,
// every
//                other one about the interval before it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace weir::tool {

// `numbers` as the user gave them: [PID] [INTERVAL [COUNT]].
struct RateSettings {
  std::vector<std::string> numbers;
  pid_t pid = 0;  // of --pid; 0: not given
  bool counters = false;
  bool json = false;
};

// Return when COUNT lines are written, on SIGINT, or when the process ends. Throw Failure.
void vmstat(const RateSettings& settings);
void sar(const RateSettings& settings);

}  // namespace weir::tool
