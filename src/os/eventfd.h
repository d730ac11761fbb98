// Purpose: a descriptor that can be polled and says that something has happened: an eventfd.
// Thread safety: any thread. Invariants: errno is never touched; nothing waits.
#pragma once

namespace weir::os {

// Close-on-exec; negative: -errno.
[[nodiscard]] int open_eventfd();
// Makes it readable.
void signal_eventfd(int fd);
// Makes it unreadable until the next signal; what else the descriptor is, is not looked at.
void drain_eventfd(int fd);

}  // namespace weir::os
