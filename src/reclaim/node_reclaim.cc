// zone_reclaim_mode: a node is reclaimed before another one's pages are taken (kernel: mm/vmscan.c, node_reclaim). Its
// kswapd does it, because only weir's own threads can unmap pages; the thread that wants them waits.
#include "base/port.h"
#include "os/proc.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// The kernel's bits and numbers: RECLAIM_WRITE, RECLAIM_UNMAP, NODE_RECLAIM_PRIORITY (a sixteenth of the node is looked
// at first), SWAP_CLUSTER_MAX.
constexpr int64_t kMayWrite = 2, kMaySwap = 4;
constexpr unsigned kFirstLocalPriority = 4;
constexpr uint64_t kLeastPages = 32;
// After an attempt in vain, one allocation in so many looks whether that has changed: it may have taken a look at every
// page of the node.
constexpr uint32_t kHopelessTries = 16;

}  // namespace

bool Reclaimer::node_reclaim(Zone& zone, Pages count) {
  if (!reclaims_locally() || count + zone.watermarks().low > zone.managed()) return false;
  // What frees memory must not wait for itself.
  if (shrinkers_ != nullptr && shrinkers_->is_inside()) return false;
  Kswapd& kswapd = *kswapds_[zone.node().v];
  const uint32_t failed = kswapd.local_failures.load(std::memory_order_relaxed);
  if (failed % kHopelessTries != 0) {
    kswapd.local_failures.store(failed + 1, std::memory_order_relaxed);
    return false;
  }
  // One at a time: the others take what there is elsewhere.
  if (kswapd.local.exchange(true)) return false;
  const uint64_t start = os::now_ns();
  begin_wait();
  kswapd.local_pages.store(static_cast<uint32_t>(count.v), std::memory_order_release);
  wake(kswapd);
  while (const uint32_t pages = kswapd.local_pages.load(std::memory_order_acquire))
    port::futex_wait(kswapd.local_pages, pages);
  kswapd.local.store(false);
  end_wait();
  note_stall((os::now_ns() - start) / 1000);
  const bool enough = may_take(zone, count, Mark::kLow);
  kswapd.local_failures.store(enough ? 0 : failed + 1, std::memory_order_relaxed);
  weir::count(enough ? counters_.zone_reclaim_success : counters_.zone_reclaim_failed);
  return enough;
}

// On kswapd. Counted as direct reclaim, because a thread waits (as in the kernel). While the process forks nothing is
// evicted; whoever asked waits until kswapd comes by after that.
void Reclaimer::run_local_request(Kswapd& kswapd) {
  const uint32_t wanted = kswapd.local_pages.load(std::memory_order_acquire);
  if (wanted == 0 || !enter_eviction()) return;
  Zone& zone = kswapd.node->zone();
  const int64_t mode = options_->zone_reclaim_mode;
  const Pages goal = zone.watermarks().low + Pages(wanted);
  ScanControl sc;
  ScanPause pause{*this, kswapd};
  set_pause(sc, pause);
  sc.kswapd = false;
  // It begins there.
  sc.calm_priority = kFirstLocalPriority;
  sc.may_write = (mode & kMayWrite) != 0;
  for (unsigned priority = kFirstLocalPriority + 1; priority-- > 0 && pause.evicting;) {
    const Pages free = zone.free_budget();
    if (free >= goal) break;
    const Pages missing = goal - free;
    sc.to_reclaim = sc.reclaimed + (missing < Pages(kLeastPages) ? Pages(kLeastPages) : missing);
    sc.priority = priority;
    shrink_caches(kswapd, priority);
    if ((mode & kMaySwap) != 0) kswapd.node->shrink(sc, kswapd.bench);
  }
  pause.leave_eviction();
  if (!pause.evicting) return;
  kswapd.local_pages.store(0, std::memory_order_release);
  port::futex_wake(kswapd.local_pages, 1);
}

}  // namespace weir
