// Purpose: calls that hold what is needed to bring memory back, and so must not themselves need memory that is away: no
//          handler of a signal runs meanwhile, and where the stack of the calling thread lies in memory that may leave
//          (coroutines, stacks from malloc or mmap), they run on one that does not.
// Thread safety: any thread; swappable_memory() before there are others that call undisturbed().
// Invariants: a stack is in use by one thread at a time. What is called leaves its caller's frames alone while it holds
//             a lock: it takes copies, and gives results back when it has given the lock up.
#pragma once

#include <cstddef>

#include "os/thread.h"

namespace weir::os {

// What lies there, [begin, begin + bytes), may leave memory; more than once, all between is taken to.
void swappable_memory(const void* begin, size_t bytes);

namespace detail {
bool stack_is_swappable();
void call_elsewhere(void (*what)(void*), void* argument);
}  // namespace detail

// Calls `what` with signals held back (SignalsHeldBack), on a stack that stays in memory. Within another one, and where
// there is no memory for a stack, it is called where it is.
template <class What>
void undisturbed(What what) {
  const SignalsHeldBack uninterrupted;
  if (!detail::stack_is_swappable()) return what();
  detail::call_elsewhere(
      [](void* argument) {
        What copy = *static_cast<What*>(argument);
        copy();
      },
      &what);
}

}  // namespace weir::os
