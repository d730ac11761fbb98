// Purpose: the program's shrinkers and event callbacks, and the thread "weir-shrinker" that calls them, and empties
//          heaps that others of a pool have chosen: an ordinary one with all signals blocked, because kswapd has
//          neither a C library nor the program's descriptors.
// Thread safety: any thread, with no weir lock held.
// Invariants: the thread exists only under a limit, or when a heap has a shrinker, from the first registration on (in a
//             pool, the first heap), and anew in the child of a fork. What shrinkers freed has gone to the zones before
//             anybody is told.
#pragma once

#include "reclaim/events.h"
#include "reclaim/shrinkers.h"

namespace weir {

class Reclaimer;

Shrinkers& process_shrinkers();
Events& process_events();

// Makes all this known to reclaim, and weir's own caches a shrinker. Before its threads are started.
void callbacks_connect(Reclaimer& reclaimer);
// After a registration: the thread is started if there is none yet, and a limit, or what was registered needs none.
void callbacks_start_thread(bool without_limit = false);
// A heap was made, or a pool was joined: other members of the pool may choose a heap of this process, which the thread
// then empties.
void callbacks_expect_orders();
// At the end of slow paths, of malloc and free as called by the code at `caller`: starts the thread if there is
// something for it to do. A load unless there is.
void callbacks_poll(const void* caller);
// Has every shrinker free what it can, on the calling thread, until there is little left.
void callbacks_drop_caches();

// -- fork
void callbacks_lock_for_fork();
void callbacks_unlock_for_fork();
void callbacks_after_fork_in_child();
// Afterwards, when the child can allocate: starts the thread if anything is registered. Not only when there is
// something for it to do: the child may have no call of malloc then that could start it.
void callbacks_resume_in_child();

}  // namespace weir
