// Fork: all locks are held across it, so that the child finds every list and counter whole. Locks are taken in the
// order of their ranks, after the prepare handlers of everybody else (which may allocate) have run: handlers registered
// first run last there and first in the child.
//
// The caches of other threads cannot be trusted in the child: their owners went on while the kernel copied page by
// page. What they held is lost to the child.
#include <pthread.h>

#include "malloc/decay.h"
#include "malloc/process.h"

namespace weir {
namespace {

void prepare() {
  process_allocator().lock_all();
}
void in_parent() {
  process_allocator().unlock_all();
}

void in_child() {
  process_allocator().after_fork_in_child();
  process_allocator().unlock_all();
  decay_after_fork_in_child();
}

// 101 is the first priority that is ours to use; with -z initfirst nothing runs earlier in the whole program.
__attribute__((constructor(101))) void at_load() {
  // Now rather than at the first allocation: a program may forbid itself to open files before that.
  process_start();
  pthread_atfork(prepare, in_parent, in_child);
  decay_allow_threads();
}

}  // namespace
}  // namespace weir
