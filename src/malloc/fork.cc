// Fork: all locks are held across it, so that the child finds every list and counter whole. Locks are taken in the
// order of their ranks, after the prepare handlers of everybody else (which may allocate) have run: handlers registered
// first run last there and first in the child.
//
// The caches of other threads cannot be trusted in the child: their owners went on while the kernel copied page by
// page. What they held is lost to the child.
#include <pthread.h>

#include <string_view>

#include "base/port.h"
#include "base/print.h"
#include "malloc/decay.h"
#include "malloc/process.h"
#include "os/proc.h"

namespace weir {
namespace {

// As after SIGBUS (128 + 7): what the child would have met at its first touch.
constexpr int kLostMemoryStatus = 135;

void prepare() {
  process_allocator().lock_all();
}
void in_parent() {
  process_allocator().unlock_all();
  static_cast<void>(process_allocator().resume_reclaim(false));
}

void say(std::string_view text) {
  port::write_all(2, text.data(), text.size());
}

// A child that cannot see the touches of its swapped pages would read zeros.
void lost_memory() {
  say("weir: the child of a fork cannot get at memory that was swapped out (no userfaultfd); it ends here\n");
  os::exit_now(kLostMemoryStatus);
}

// Said once, because a limit was asked for.
void start_reclaim() {
  if (process_allocator().reclaimer() == nullptr) return;
  Reclaimer& reclaimer = *process_allocator().reclaimer();
  reclaimer.start();
  Line line;
  if (reclaimer.mode() != Reclaimer::Mode::kSwap)
    line.text("weir: limit: pages cannot be swapped here (userfaultfd: error ")
        .dec(static_cast<uint64_t>(-reclaimer.refused()))
        .text("); only unused memory is given back\n")
        .write_to(2);
  if (reclaimer.swap_problem() != nullptr)
    line.text("weir: swap=")
        .text(process_allocator().options().swap.view())
        .text(": ")
        .text(reclaimer.swap_problem())
        .text("; nothing is written to it\n")
        .write_to(2);
}

void in_child() {
  process_allocator().after_fork_in_child();
  process_allocator().unlock_all();
  // Before anything is touched that may be away.
  if (!process_allocator().resume_reclaim(true)) lost_memory();
  decay_after_fork_in_child();
}

// 101 is the first priority that is ours to use; with -z initfirst nothing runs earlier in the whole program.
__attribute__((constructor(101))) void at_load() {
  // Now rather than at the first allocation: a program may forbid itself to open files before that.
  process_start();
  pthread_atfork(prepare, in_parent, in_child);
  decay_allow_threads();
  start_reclaim();
}

}  // namespace
}  // namespace weir
