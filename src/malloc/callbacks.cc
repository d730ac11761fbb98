#include "malloc/callbacks.h"

#include "malloc/decay.h"
#include "malloc/misuse.h"
#include "malloc/own_caches.h"
#include "malloc/process.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/thread.h"

namespace weir {
namespace {

// Code of the program runs there: as much as programs expect of a thread that is not made for recursion. Only what is
// touched of it is memory.
constexpr size_t kStackBytes = size_t{1} << 20;
// The thread looks by itself this often, in case that somebody forgot to ring.
constexpr uint64_t kSleepMs = 10000;
// After a refusal (RLIMIT_NPROC, say) the next attempt waits.
constexpr uint64_t kRetryMs = 1000;
// weir's own caches cost a lock and some bits to fill again, a small part of a disk's seek; but pages that are not
// needed at all come first: as dear as any cache.
constexpr unsigned kOwnSeeks = kDefaultSeeks;
// A size class at a time.
constexpr size_t kOwnBatch = 32;

constinit Shrinkers shrinkers;
constinit Events events;
constinit std::atomic<bool> starting{false};
constinit std::atomic<uint64_t> retry_at_ms{0};
// One thread at a time shrinks a cache.
constinit unsigned next_own_class = 0;

size_t count_own(void*) {
  return count_own_caches(process_allocator()).v;
}

// Also on kswapd, where the program's standard error is not at hand.
size_t scan_own(void*, size_t nr_to_scan) {
  BadPointer bad;
  const Pages freed = shrink_own_caches(process_allocator(), Pages(nr_to_scan), next_own_class, bad);
  if (bad.misuse != Misuse::kNone) report_misuse(bad, "free", os::copy_descriptor_of_program(2));
  return freed.v != 0 ? freed.v : kShrinkStop;
}

void shrink() {
  const unsigned priority = shrinkers.begin_round();
  if (priority == Shrinkers::kNothing) return;
  const bool freed = shrinkers.shrink(Shrinkers::Caller::kThread, priority) != 0;
  if (freed) process_release_caches();
  shrinkers.end_round();
  // It sees what there is now, and asks for more if that is not enough. When all has been asked for in vain, it is left
  // to look again in its own time, or the two would keep each other busy.
  Reclaimer* reclaimer = process_allocator().reclaimer();
  if (reclaimer != nullptr && (freed || priority > 1)) reclaimer->wake_all_kswapds();
}

// For a heap at its limit.
void shrink_heap() {
  unsigned priority;
  const uint64_t heap = shrinkers.begin_heap_round(priority);
  if (heap == 0) return;
  const uint64_t freed = shrinkers.shrink(Shrinkers::Caller::kThread, priority, heap);
  // Its objects may be in this thread's cache of the heap.
  if (freed != 0) process_release_caches();
  shrinkers.end_heap_round(freed);
}

// Another process of the pool has chosen a heap of this one.
void obey_pool() {
  Reclaimer* reclaimer = process_allocator().reclaimer();
  if (reclaimer == nullptr || !reclaimer->pool_member().has_order()) return;
  reclaimer->pool_member().carry_out(reclaimer->pool());
  reclaimer->wake_all_kswapds();
}

void run() {
  os::name_thread("weir-shrinker");
  shrinkers.thread_begins();
  starting.store(false, std::memory_order_release);
  for (;;) {
    const uint32_t seen = shrinkers.bell().look();
    shrink_heap();
    shrink();
    obey_pool();
    events.run_callbacks();
    shrinkers.bell().wait(seen, kSleepMs);
  }
}

void start(const void* caller) {
  if (shrinkers.has_thread() || !decay_may_start_threads(caller)) return;
  if (os::now_ms() < retry_at_ms.load(std::memory_order_relaxed)) return;
  if (starting.exchange(true, std::memory_order_acquire)) return;
  if (!shrinkers.has_thread()) {
    shrinkers.expect_thread();
    if (os::start_thread(run, kStackBytes)) return;
    shrinkers.expect_none();
  }
  retry_at_ms.store(os::now_ms() + kRetryMs, std::memory_order_relaxed);
  starting.store(false, std::memory_order_release);
}

}  // namespace

Shrinkers& process_shrinkers() {
  return shrinkers;
}

Events& process_events() {
  return events;
}

void callbacks_connect(Reclaimer& reclaimer) {
  reclaimer.connect(shrinkers, events);
  reclaimer.call_in_vain(process_drain_own);
  // Without memory for it there is none to be given back either.
  static_cast<void>(shrinkers.add(&next_own_class, {count_own, scan_own, nullptr, kOwnSeeks, kOwnBatch}, "weir",
                                  Shrinkers::Kind::kOwn));
  // Somebody may have registered before.
  if (shrinkers.has_any() || events.has_callbacks()) shrinkers.want_thread();
}

void callbacks_start_thread(bool without_limit) {
  if (process_start() && (without_limit || process_allocator().reclaimer() != nullptr)) start(nullptr);
}

void callbacks_poll(const void* caller) {
  if (shrinkers.wants_thread()) start(caller);
}

void callbacks_expect_orders() {
  const Reclaimer* reclaimer = process_allocator().reclaimer();
  const HeapHooks* heaps = process_allocator().heaps();
  if (reclaimer == nullptr || !reclaimer->pool().is_member() || heaps == nullptr) return;
  if (heaps->number(heaps->self) != 0) start(nullptr);
}

// As drop_slab of Linux 6.12 (mm/vmscan.c): again as long as it is worth it, and each time that must be twice as much.
void callbacks_drop_caches() {
  unsigned shift = 0;
  while (shrinkers.shrink(Shrinkers::Caller::kTrim, 0) >> shift++ > 1) {
  }
}

void callbacks_lock_for_fork() {
  shrinkers.lock_for_fork();
  events.lock_for_fork();
}

void callbacks_unlock_for_fork() {
  events.unlock_for_fork();
  shrinkers.unlock_for_fork();
}

void callbacks_after_fork_in_child() {
  shrinkers.after_fork_in_child();
  events.after_fork_in_child();
  starting.store(false, std::memory_order_relaxed);
}

void callbacks_resume_in_child() {
  if (shrinkers.has_any() || events.has_callbacks()) start(nullptr);
  callbacks_expect_orders();
}

}  // namespace weir
