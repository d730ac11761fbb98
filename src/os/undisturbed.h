// Purpose: calls that hold what is needed to bring memory back, and so must not themselves need memory that is away: no
//          handler of a signal runs meanwhile, where the stack of the calling thread lies in memory that may leave
//          (coroutines, stacks from malloc or mmap), they run on one that does not, and where what is the thread's own
//          does (errno, the rseq area, which the kernel writes whenever the thread has been off its processor), that
//          stays from then on.
// Thread safety: any thread; swappable_memory() before there are others that call undisturbed().
// Invariants: a stack is in use by one thread at a time. What is called leaves its caller's frames alone while it holds
//             a lock: it takes copies, and gives results back when it has given the lock up.
#pragma once

#include <cstddef>

#include "os/thread.h"

namespace weir::os {

// Who can have whole pages, [begin, end), of swappable memory stay from now on, for as long as they are allocated.
// Called with none of the locks held that it takes to bring memory back.
struct PageKeeper {
  void (*keep)(void* self, const char* begin, const char* end);
  void* self;
};

// What lies there, [begin, begin + bytes), may leave memory; more than once, all between is taken to, and the keeper is
// that of all.
void swappable_memory(const void* begin, size_t bytes, PageKeeper keeper);

// Has what is the calling thread's own stay in memory, wherever it lies. To be called again costs nothing.
void keep_thread_present();

namespace detail {
bool is_swappable(const void* p);
void call_elsewhere(void (*what)(void*), void* argument);
}  // namespace detail

// Calls `what` with signals held back (SignalsHeldBack), on a stack that stays in memory. Within another one, and where
// there is no memory for a stack, it is called where it is.
template <class What>
void undisturbed(What what) {
  const SignalsHeldBack uninterrupted;
  keep_thread_present();
  if (!detail::is_swappable(__builtin_frame_address(0))) return what();
  detail::call_elsewhere(
      [](void* argument) {
        What copy = *static_cast<What*>(argument);
        copy();
      },
      &what);
}

}  // namespace weir::os
