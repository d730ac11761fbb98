// Purpose: ending processes: this one, and another one that is named by a descriptor, so that nobody else is hit when
//          its number is given out again.
// Thread safety: any thread. Invariants: errno is never touched.
#pragma once

namespace weir::os {

// Asks this process to end: SIGTERM, for which it may have a handler.
void terminate_self();
// Ends this process: SIGKILL; the first process of a pid namespace, which that does not reach, exits with 137.
[[noreturn]] void kill_self();

// A descriptor of a process (pidfd); negative: -errno.
[[nodiscard]] int open_process(int pid);
enum class Ending : bool { kTerminate, kKill };
// False: it is gone, or may not be signalled.
[[nodiscard]] bool end_process(int pidfd, Ending how);

}  // namespace weir::os
