// Fork: all locks are held across it, so that the child finds every list and counter whole. Locks are taken in the
// order of their ranks, after the prepare handlers of everybody else (which may allocate) have run: handlers registered
// first run last there and first in the child.
//
// The caches of other threads cannot be trusted in the child: their owners went on while the kernel copied page by
// page. What they held is lost to the child.
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include <string_view>

#include "base/port.h"
#include "base/print.h"
#include "malloc/callbacks.h"
#include "malloc/decay.h"
#include "malloc/file_calls.h"
#include "malloc/follow_cgroup.h"
#include "malloc/kcompactd.h"
#include "malloc/process.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/thread.h"
#include "os/vm.h"

// What pthread_atfork comes to; as a function it is one page of code more that every program touches when it starts.
extern "C" int __register_atfork(void (*prepare)(), void (*in_parent)(), void (*in_child)(), void* dso);
extern "C" __attribute__((visibility("hidden"))) void* __dso_handle;

// What the C library exports for walking its streams, and has no header for.
extern "C" {
using StreamIterator = struct _IO_FILE*;
StreamIterator _IO_iter_begin();
StreamIterator _IO_iter_end();
StreamIterator _IO_iter_next(StreamIterator);
FILE* _IO_iter_file(StreamIterator);
void _IO_list_lock();
void _IO_list_unlock();
}

namespace weir {
namespace {

// As after SIGBUS (128 + 7): what the child would have met at its first touch.
constexpr int kLostMemoryStatus = 135;

// The C library touches memory in the child before any handler there has run, when faults on pages that are away are
// not seen yet: streams, whose locks it makes new; the thread's control block, and its stack. They are made present
// before the fork, and stay, because reclaim is paused by then.
class EarlyTouched {
 public:
  ~EarlyTouched() {
    if (streams_ != nullptr) os::vm_unmap(streams_, bytes_);
  }

  // Streams must be looked up before reclaim is paused: who has their list locked may be waiting for memory.
  void collect_streams() {
    _IO_list_lock();
    size_t most = 0;
    for (auto each = _IO_iter_begin(); each != _IO_iter_end(); each = _IO_iter_next(each)) ++most;
    bytes_ = align_up(most * sizeof(FILE*), kPageSize);
    streams_ = static_cast<FILE**>(os::vm_map(bytes_));
    for (auto each = _IO_iter_begin(); streams_ != nullptr && each != _IO_iter_end(); each = _IO_iter_next(each))
      streams_[count_++] = _IO_iter_file(each);
    _IO_list_unlock();
  }

  // A stream that was closed meanwhile may be read all the same: arenas are never unmapped.
  void touch() const {
    const Allocator& allocator = process_allocator();
    for (size_t i = 0; i < count_; ++i) {
      FILE* stream = streams_[i];
      if (!touch_heap(allocator, stream)) continue;
      touch_heap(allocator, reinterpret_cast<char*>(stream) + sizeof(FILE) - 1);
      touch_heap(allocator, stream->_lock);
    }
    const char* control = static_cast<const char*>(__builtin_thread_pointer());
    const char* stack = static_cast<const char*>(__builtin_frame_address(0));
    for (const char* p = control - kPageSize; p <= control + kPageSize; p += kPageSize) touch_heap(allocator, p);
    // What fork itself and the handlers of the child need below this frame, and what they return to above it.
    for (const char* p = stack - kStackBelow; p <= stack + kStackAbove; p += kPageSize) touch_heap(allocator, p);
  }

 private:
  static constexpr size_t kStackBelow = size_t{64} << 10;
  static constexpr size_t kStackAbove = size_t{16} << 10;

  // False: it does not lie in the heap.
  static bool touch_heap(const Allocator& allocator, const void* p) {
    if (allocator.map().offset_of(p) >= allocator.map().covered() || !allocator.is_accessible(p)) return false;
    static_cast<void>(*static_cast<const volatile char*>(p));
    return true;
  }

  FILE** streams_ = nullptr;
  size_t bytes_ = 0;
  size_t count_ = 0;
};

// What the thread that forks had blocked. From `prepare` to the end of the fork no handler of a signal may run in it,
// which could touch memory that is away: that cannot come back while all locks are held, and the child does not see
// such touches yet. Guarded by the locks.
constinit uint64_t signals_before = 0;

void prepare() {
  Allocator& allocator = process_allocator();
  uint64_t before = 0;
  if (allocator.reclaimer() != nullptr) {
    before = os::hold_back_signals();
    EarlyTouched early;
    early.collect_streams();
    process_settings_mutex().lock_for_fork();
    // Before any lock that weir's threads take: another thread's fork may be at its end, which waits for kswapd.
    allocator.pause_reclaim();
    early.touch();
    callbacks_lock_for_fork();
  } else {
    process_settings_mutex().lock_for_fork();
    callbacks_lock_for_fork();
  }
  allocator.lock_all();
  signals_before = before;
}
void in_parent() {
  const uint64_t before = signals_before;
  process_allocator().unlock_all();
  callbacks_unlock_for_fork();
  process_settings_mutex().unlock_for_fork();
  static_cast<void>(process_allocator().resume_reclaim(false));
  if (process_allocator().reclaimer() != nullptr) os::exchange_signal_mask(before);
}

void say(std::string_view text) {
  port::write_all(2, text.data(), text.size());
}

// To weir's threads, which are about to be started, and which programs cannot take it from.
void keep_stats_descriptor() {
  const int fd = process_take_stats_descriptor();
  if (process_allocator().reclaimer() != nullptr)
    process_allocator().reclaimer()->keep_page_descriptor(fd);
  else if (fd >= 0)
    os::close_descriptor(fd);
}

// A child that cannot see the touches of its swapped pages would read zeros.
void lost_memory() {
  say("weir: the child of a fork cannot get at memory that was swapped out (no userfaultfd); it ends here\n");
  os::exit_now(kLostMemoryStatus);
}

void say_of_pool(std::string_view problem) {
  Line line;
  line.text("weir: pool=").text(process_allocator().options().pool.view()).text(": ").text(problem);
  line.text("; this process shares no limit\n").write_to(2);
}

// Said once, because a limit was asked for.
void start_reclaim() {
  keep_stats_descriptor();
  const Options& options = process_allocator().options();
  if (process_allocator().reclaimer() == nullptr) {
    if (!options.pool.empty()) say_of_pool("it needs a limit (limit=SIZE or rss_limit=SIZE)");
    return;
  }
  Reclaimer& reclaimer = *process_allocator().reclaimer();
  reclaimer.call_often([] {
    process_poll_requests();
    follow_cgroup();
  });
  callbacks_connect(reclaimer);
  reclaimer.set_file_pages(process_file_pages());
  reclaimer.start();
  if (reclaimer.pool_problem() != nullptr) say_of_pool(reclaimer.pool_problem());
  Line line;
  if (reclaimer.mode() != Reclaimer::Mode::kSwap) {
    const bool pages_out = reclaimer.mode() == Reclaimer::Mode::kPageout;
    line.text("weir: limit: ");
    line.text(pages_out ? "touches of swapped pages cannot be seen here (" : "pages cannot be swapped here (");
    if (reclaimer.refused() == -EOPNOTSUPP)
      line.text("it takes Linux 5.18");
    else if (reclaimer.refused() == -ENOENT)
      line.text("before Linux 6.8 it takes /proc, to see which are pinned");
    else
      line.text("userfaultfd: error ").dec(static_cast<uint64_t>(-reclaimer.refused()));
    line.text(pages_out ? "); cold ones go to the system's swap\n" : "); only unused memory is given back\n")
        .write_to(2);
  }
  if (reclaimer.swap_problem() != nullptr)
    line.text("weir: swap=")
        .text(process_allocator().options().swap.view())
        .text(": ")
        .text(reclaimer.swap_problem())
        .text("; nothing is written to it\n")
        .write_to(2);
}

void in_child() {
  const uint64_t before = signals_before;
  Reclaimer* const reclaimer = process_allocator().reclaimer();
  const bool was_in_pool = reclaimer != nullptr && reclaimer->pool_problem() == nullptr;
  process_renew_stats();
  keep_stats_descriptor();
  process_allocator().after_fork_in_child();
  callbacks_after_fork_in_child();
  process_allocator().unlock_all();
  callbacks_unlock_for_fork();
  process_settings_mutex().unlock_for_fork();
  // Before anything is touched that may be away.
  if (!process_allocator().resume_reclaim(true)) lost_memory();
  decay_after_fork_in_child();
  kcompactd_after_fork_in_child();
  if (reclaimer == nullptr) return;
  if (was_in_pool && reclaimer->pool_problem() != nullptr) say_of_pool(reclaimer->pool_problem());
  os::exchange_signal_mask(before);
  callbacks_resume_in_child();
}

// 101 is the first priority that is ours to use; with -z initfirst nothing runs earlier in the whole program.
__attribute__((constructor(101))) void at_load() {
  // Now rather than at the first allocation: a program may forbid itself to open files before that.
  process_start();
  __register_atfork(prepare, in_parent, in_child, &__dso_handle);
  decay_allow_threads();
  start_reclaim();
}

}  // namespace
}  // namespace weir
