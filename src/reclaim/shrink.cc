// Which pages leave memory, and in which order (the part of NodeReclaim that decides it).
//
// Clusters age on one list. At its old end, pages that are active stay, with a round less to go (rounds.h); inactive
// ones are unmapped into Standby, which is what the accessed bit is elsewhere: a touch brings a page back, active. The
// oldest standby pages are written out once Standby has more than its share (segmented FIFO: Turner, Levy, "Segmented
// FIFO page replacement", 1981). Short runs of pages are compressed at once (lift.cc, drop_in_place.cc).
#include <algorithm>
#include <bit>

#include "reclaim/node.h"

namespace weir {
namespace {

// Pages that have their turn in a round at least. Of clusters that are hot an eighth leave, so that fewer pages would
// make small batches; to look at these takes a few microseconds.
constexpr uint64_t kLeastVisited = 1024;
// From this share of its room on, the pool writes its oldest pages to the swap file, if there is one.
constexpr uint64_t kPoolFullPercent = 90;

}  // namespace

// A share of what pages in use can have: what the pool takes has no second chance to give.
Pages NodeReclaim::standby_target() const {
  const uint64_t managed = zone_->managed().v, pool = policy_.zswap ? pool_.pool_pages().v : 0;
  return Pages((managed > pool ? managed - pool : 0) * policy_.standby_percent.load() / 100);
}

bool NodeReclaim::wants_standby_out(const ScanControl& sc) const {
  const Pages now = standby();
  return now.v != 0 && (sc.urgent || now > standby_target());
}

ClusterId NodeReclaim::pop_present() {
  LockGuard guard(lists_mutex_);
  for (uint32_t tries = present_.size(); tries != 0; --tries) {
    const ClusterId c = present_.oldest();
    present_.remove(map_, c);
    if (own(c)) {
      map_[c].listed.store(false, std::memory_order_relaxed);
      return c;
    }
    present_.push(map_, c);
  }
  return kNoCluster;
}

// What lies beside a cluster that leaves and would be taken like it: the kernel interrupts the other processors for
// each range, whatever is in it, and across clusters without memory it costs nothing. Neighbours come to be of one age
// by that. Returns those that are the caller's now, by address.
unsigned NodeReclaim::pop_neighbours(ClusterId c, Lift& lifts, ClusterId* run) {
  run[0] = c;
  const uint64_t own_pages = leaving_pages(c);
  if (!may_join(own_pages) || !goes_in_place(lifts)) return 1;
  unsigned pages = lifts.pages + static_cast<unsigned>(std::popcount(own_pages));
  unsigned count = 1;
  const ClusterId end = static_cast<ClusterId>(zone_->accessible_estimate().v / kClusterPages);
  const auto take = [&](ClusterId next) {
    if (lifts.count + count == lifts.most_clusters()) return false;
    const uint64_t leaving = leaving_pages(next);
    pages += static_cast<unsigned>(std::popcount(leaving));
    if (pages > Lift::kMostPages || !may_join(leaving)) return false;
    LockGuard guard(lists_mutex_);
    if (!map_[next].listed.load(std::memory_order_relaxed) || !own(next)) return false;
    present_.remove(map_, next);
    map_[next].listed.store(false, std::memory_order_relaxed);
    run[count++] = next;
    return true;
  };
  // Downwards from below c an unsigned number ends above all.
  for (const ClusterId step : {ClusterId{1}, ~ClusterId{0}}) {
    ClusterId last = c;
    for (ClusterId next = c + step; next < end && Shards::is_in_one_stripe(c, next); next += step) {
      if (zone_->resident_mask(next) == 0) {
        if (next - last > Lift::kMostGap && last - next > Lift::kMostGap) break;
        continue;
      }
      if (!take(next)) break;
      last = next;
    }
  }
  std::ranges::sort(run, run + count);
  return count;
}

ClusterId NodeReclaim::pop_standby() {
  LockGuard guard(lists_mutex_);
  for (uint32_t tries = standby_.size(); tries != 0; --tries) {
    const ClusterId c = standby_.oldest();
    standby_.remove(map_, c);
    if (own(c)) {
      map_[c].on_standby.store(false, std::memory_order_relaxed);
      return c;
    }
    standby_.push(map_, c);
  }
  return kNoCluster;
}

// Gives a cluster up and puts it where its pages are.
void NodeReclaim::relist(ClusterId c) {
  Cluster& cluster = map_[c];
  disown(c);
  // Where nothing can leave there is nothing to look at, as with the kernel's unevictable list.
  const uint64_t stay = cluster.standby.load() | unevictable(c);
  if ((zone_->resident_mask(c) & cluster.allocated.load() & ~stay) != 0) list_present(c);
  if (cluster.standby.load() == 0 && cluster.garbage.load() == 0) return;
  LockGuard guard(lists_mutex_);
  if (!cluster.on_standby.exchange(true, std::memory_order_relaxed)) standby_.push(map_, c);
}

void NodeReclaim::finish_batch(GarbageBatch& batch) {
  drop_garbage(batch.clusters, batch.count);
  for (unsigned i = 0; i < batch.count; ++i) relist(batch.clusters[i]);
  batch.count = batch.pages = 0;
}

// Memory at staging addresses that nobody needs any more: what is outside of the arena, and not the pool's.
Pages NodeReclaim::garbage() const {
  const Pages outside = zone_->outside(), pool(pool_counted_.load(std::memory_order_relaxed));
  return outside > pool ? outside - pool : Pages(0);
}

// As a rule it goes together with what is written out of the same cluster. Where the last round wrote nothing, it is
// looked for in all of Standby.
void NodeReclaim::drop_all_garbage() {
  GarbageBatch batch;
  uint32_t tries;
  {
    LockGuard guard(lists_mutex_);
    tries = standby_.size();
  }
  for (; tries != 0 && garbage().v != 0; --tries) {
    const ClusterId c = pop_standby();
    if (c == kNoCluster) break;
    batch.clusters[batch.count++] = c;
    if (batch.count == GarbageBatch::kClusters) finish_batch(batch);
  }
  finish_batch(batch);
}

// How many pages have their turn in it.
uint64_t NodeReclaim::begin_round(ScanControl& sc) const {
  sc.haste = sc.priority < sc.calm_priority ? sc.calm_priority - sc.priority : 0;
  const uint64_t share = zone_->used().v >> sc.priority;
  return share < kLeastVisited ? kLeastVisited : share;
}

void NodeReclaim::count_round(const ScanControl& sc, Pages scanned_before, Pages reclaimed_before) {
  count(sc.kswapd ? counters_->pgscan_kswapd : counters_->pgscan_direct, (sc.scanned - scanned_before).v);
  // After what was scanned, so that nobody sees more pages stolen than scanned.
  count(sc.kswapd ? counters_->pgsteal_kswapd : counters_->pgsteal_direct, (sc.reclaimed - reclaimed_before).v);
}

void NodeReclaim::shrink(ScanControl& sc, Workbench& bench) {
  const uint64_t budget = begin_round(sc);
  const uint64_t visited_before = sc.visited.v;
  const Pages scanned_before = sc.scanned, reclaimed_before = sc.reclaimed;
  unsigned failures = 0;
  GarbageBatch batch;
  bool goes_on = true;
  Lift& lifts = bench.lift;
  while (sc.reclaimed < sc.to_reclaim && failures < ScanControl::kMostFailures) {
    if (lifts.is_full() || sc.reclaimed + Pages(lifts.pages) >= sc.to_reclaim) {
      const unsigned lifted = lifts.count;
      failures = finish_lift(sc, bench).v == 0 ? failures + lifted : 0;
      continue;
    }
    if (sc.is_pause_due()) {
      static_cast<void>(finish_lift(sc, bench));
      finish_batch(batch);
      goes_on = sc.pause();
      if (!goes_on) break;
    }
    ClusterId c = wants_standby_out(sc) ? pop_standby() : kNoCluster;
    const bool out = c != kNoCluster;
    if (!out) {
      if (sc.visited.v - visited_before >= budget) break;
      c = pop_present();
    }
    if (c == kNoCluster && lifts.count != 0) {
      static_cast<void>(finish_lift(sc, bench));
      continue;
    }
    if (c == kNoCluster) {
      // Nothing is left to unmap: what is in Standby is the last resort.
      if (sc.urgent || standby().v == 0) break;
      sc.urgent = true;
      continue;
    }
    if (!out) {
      ClusterId run[Lift::kMostClusters];
      const unsigned nr = pop_neighbours(c, lifts, run);
      for (unsigned i = 0; i < nr; ++i) {
        const ClusterId each = run[i];
        const unsigned lifted_before = lifts.count;
        const Pages done = unmap(each, sc, lifts.is_full() ? nullptr : &lifts);
        if (lifts.count != lifted_before) continue;
        if (!sc.spared) failures = done.v == 0 ? failures + 1 : 0;
        relist(each);
      }
      continue;
    }
    const Pages done = write_out(c, sc, bench);
    failures = done.v == 0 ? failures + 1 : 0;
    sc.reclaimed += done;
    batch.clusters[batch.count++] = c;
    batch.pages += static_cast<unsigned>(done.v);
    if (batch.count == GarbageBatch::kClusters || batch.pages >= GarbageBatch::kMostPages) finish_batch(batch);
  }
  static_cast<void>(finish_lift(sc, bench));
  finish_batch(batch);
  if (goes_on && sc.priority <= 1 && sc.reclaimed == reclaimed_before && garbage().v != 0) drop_all_garbage();
  count_round(sc, scanned_before, reclaimed_before);
  if (!goes_on) return;
  // Who waits has it done only when there is nothing else.
  if (policy_.zswap && (sc.kswapd || sc.reclaimed == reclaimed_before) && pool_.is_loose()) sc.reclaimed += pack_pool();
  if (sc.may_write && policy_.zswap && pool_.pool_pages().v * 100 > policy_.zswap_max.load().v * kPoolFullPercent)
    sc.reclaimed += write_back_pool(bench);
}

bool NodeReclaim::pool_is_over() const {
  return policy_.zswap && files_->writer() != nullptr && pool_.pool_pages() > policy_.zswap_max.load();
}

bool NodeReclaim::write_pool_back(Workbench& bench) {
  const uint64_t before = pool_.stats().stored;
  // As many clusters as a batch has: some milliseconds.
  for (unsigned i = 0; i < GarbageBatch::kClusters && pool_is_over(); ++i) static_cast<void>(write_back_pool(bench));
  return pool_.stats().stored < before;
}

}  // namespace weir
