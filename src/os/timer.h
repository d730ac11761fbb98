// Purpose: a descriptor that becomes readable again and again, after some time each: a timerfd.
// Thread safety: any thread. Invariants: errno is never touched; nothing waits.
#pragma once

#include <cstdint>

namespace weir::os {

// Close-on-exec, and stopped; negative: -errno.
[[nodiscard]] int open_timer();
// Readable after `us`, and then every `us`; 0 stops it. Setting one costs some microseconds in a virtual machine.
void set_timer(int fd, uint64_t us);
// Makes it unreadable until the next time.
void drain_timer(int fd);

}  // namespace weir::os
