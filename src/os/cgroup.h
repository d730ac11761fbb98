// Purpose: the memory that the control groups of this process leave it: the least limit of its own group and all groups
//          around it, in the first (memory.limit_in_bytes) and second (memory.max, memory.high) version; and what these
//          tell of a lack of it.
// Thread safety: any thread, also before constructors and inside malloc; its buffers are mapped for the call.
// Invariants: errno is never touched. A limit that cannot be read is no limit. It takes some 20 system calls (0.1
//             ms), so it is asked for only where a limit is to come from the group.
#pragma once

#include <cstdint>

namespace weir::os {

// Bytes; 0 when no group has a limit. `root` stands before every path that is read ("" is the system itself).
[[nodiscard]] uint64_t cgroup_memory_limit(const char* root = "");

// Of the process's own group and all groups around it.
struct CgroupState {
  // Times that one met its limit: high and max of memory.events; memory.failcnt.
  uint64_t hits = 0;
  // Processes that the kernel killed there: oom_kill of memory.events; of memory.oom_control.
  uint64_t oom_kills = 0;
  // Microseconds that processes of the own group were stalled on memory ("some" of memory.pressure; where there is
  // none, of /proc/pressure/memory).
  uint64_t stalled_us = 0;
  // The least that one still has of its limit, in bytes, file pages that can go left out; kNoLimit: none has a limit.
  // (Less than nothing: a limit that was lowered, or memory.high.)
  static constexpr int64_t kNoLimit = INT64_MAX;
  int64_t room = kNoLimit;
};

// Some 30 system calls. `root`: as above.
[[nodiscard]] CgroupState cgroup_state(const char* root = "");

}  // namespace weir::os
