// Purpose: decides when memory that was freed goes back to the system: a thread that exists only while there is
//          something to give back, or, where there must be none, the slow paths themselves.
// Thread safety: any thread, with no weir lock held. Invariants: at most one decay thread in a process; none after fork
//                until it is needed again.
#pragma once

#include <atomic>

namespace weir {

namespace decay_detail {
extern constinit std::atomic<bool> threads_forbidden;
}

// Called at the end of slow paths; cheap unless there is something to do. `caller`: the code that called free().
void decay_poll_on_free(const void* caller);
void decay_poll_on_alloc();

// Whether a thread may be started now, for whatever it is; by the code at `caller`, null for weir's own functions.
[[nodiscard]] bool decay_may_start_threads(const void* caller);

// decay_ms was changed, by the caller, who may be any thread.
void decay_options_changed();
// From now on threads may be started: the C library has been initialized.
void decay_allow_threads();
// From now on no thread is started, because a system-call filter may end the process for it; slow paths look at the
// clock instead.
inline void decay_forbid_threads() {
  decay_detail::threads_forbidden.store(true, std::memory_order_relaxed);
}
// In the child of a fork: its parent's thread is not there.
void decay_after_fork_in_child();

}  // namespace weir
