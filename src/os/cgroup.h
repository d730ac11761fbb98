// Purpose: the memory that the control groups of this process leave it: the least limit of its own group and all groups
//          around it, in the first (memory.limit_in_bytes) and second (memory.max, memory.high) version.
// Thread safety: any thread, also before constructors and inside malloc; its buffers are mapped for the call.
// Invariants: errno is never touched. A limit that cannot be read is no limit. It takes some 20 system calls (0.1
//             ms), so it is asked for only where a limit is to come from the group.
#pragma once

#include <cstdint>

namespace weir::os {

// Bytes; 0 when no group has a limit. `root` stands before every path that is read ("" is the system itself).
[[nodiscard]] uint64_t cgroup_memory_limit(const char* root = "");

}  // namespace weir::os
