// The thread that writes back what the program changed in mapped files (the part of Reclaimer that has it; what is
// written and when is file/flusher.h). It is there from the first time that there is such a mapping, under a limit of
// the whole process: of memory that may all be dirty, none can be had at once.
//
// Thread safety: started and woken by the first kswapd, and by who changes options.
// Invariants: it shares the descriptor table of weir's threads, and takes no lock but that of FilePages.
#include <algorithm>
#include <new>

#include "base/port.h"
#include "os/env.h"
#include "os/service_thread.h"
#include "os/vm.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// The kernel counts in hundredths of a second.
constexpr uint64_t kMsPerCentisecond = 10;

// `bytes`, or where that is 0, a percentage of the limit.
uint64_t threshold(uint64_t bytes, int64_t percent, Pages limit) {
  return bytes != 0 ? bytes >> kPageShift : limit.v * static_cast<uint64_t>(percent) / 100;
}

}  // namespace

// Kernel: domain_dirty_limits (mm/page-writeback.c), where the background threshold is always the lower one.
FlushPolicy Reclaimer::flush_policy() const {
  const Options& o = *options_;
  const Pages limit = budget();
  FlushPolicy policy;
  policy.most = threshold(o.dirty_bytes, o.dirty_ratio, limit);
  policy.background = threshold(o.dirty_background_bytes, o.dirty_background_ratio, limit);
  if (policy.background >= policy.most) policy.background = policy.most / 2;
  policy.expire_ms = static_cast<uint64_t>(o.dirty_expire_centisecs.load()) * kMsPerCentisecond;
  policy.interval_ms = by_rss_ ? static_cast<uint64_t>(o.dirty_writeback_centisecs.load()) * kMsPerCentisecond : 0;
  return policy;
}

void Reclaimer::wake_flusher() {
  FlusherThread* const flusher = flusher_.load(std::memory_order_acquire);
  if (flusher == nullptr) return;
  flusher->word.fetch_add(1);
  port::futex_wake(flusher->word, 1);
}

// By the first kswapd, whenever it wakes.
void Reclaimer::attend_flusher(const Kswapd& kswapd) {
  if (&kswapd != first_kswapd() || file_pages_ == nullptr) return;
  FlusherThread* const flusher = flusher_.load(std::memory_order_relaxed);
  if (flusher != nullptr && flusher->stack.thread.load() != 0) {
    // A descriptor keeps a file system from being unmounted.
    const uint64_t gone = file_pages_->writable_gone();
    if (gone != flusher->gone_before && flusher->flusher.holds_any()) wake_flusher();
    flusher->gone_before = gone;
    return;
  }
  if (by_rss_ && !is_lifted() && file_pages_->has_writable() && options_->dirty_writeback_centisecs != 0)
    start_flusher();
}

void Reclaimer::start_flusher() {
  FlusherThread* flusher = flusher_.load(std::memory_order_relaxed);
  if (flusher == nullptr) {
    void* const memory = os::vm_map(align_up(sizeof(FlusherThread), kPageSize));
    if (memory == nullptr) return;
    flusher = new (memory) FlusherThread();
    flusher->reclaimer = this;
    flusher_.store(flusher, std::memory_order_release);
  }
  // Refused now, it is tried again when kswapd comes by.
  static_cast<void>(os::start_service_thread(flusher->stack, os::FileTable::kShared, flusher_main, flusher));
}

void Reclaimer::flusher_main(void* argument) {
  auto& own = *static_cast<FlusherThread*>(argument);
  own.reclaimer->run_flusher(own);
}

void Reclaimer::run_flusher(FlusherThread& own) {
  for (;;) {
    const uint32_t word = own.word.load(std::memory_order_acquire);
    const uint64_t written_before = own.flusher.written();
    const uint64_t pause = own.flusher.run(*file_pages_, flush_policy(), held_.proc, os::now_ms());
    weir::count(counters_.nr_written, own.flusher.written() - written_before);
    if (pause == Flusher::kNever)
      port::futex_wait(own.word, word);
    else
      os::futex_wait_ms(own.word, word, pause);
  }
}

}  // namespace weir
