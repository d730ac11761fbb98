// Reclaim within one owner of pages, a heap: which of its pages leave memory (the part of NodeReclaim that decides it).
//
// The lists of clusters are in the order of age of everybody's pages, and an owner's lie scattered over them. So its
// pages are gone through by address instead, by a clock with two hands: one unmaps the inactive pages into Standby, as
// at the old end of the list, the other writes out what nobody touched until Standby had more than its share of the
// owner's memory (compare Babaoglu, Joy, "Converting a swap-based system to do paging in an architecture lacking
// page-referenced bits", 1981).
#include <bit>

#include "os/vm.h"
#include "reclaim/node.h"

namespace weir {
namespace {

constexpr unsigned kWriteRounds = 2;

}  // namespace

// One attempt at an owner's pages.
struct NodeReclaim::OwnerScan {
  PageOwner& owner;
  ClusterId first, end;
  uint64_t steps[2];  // that each hand may still make
  Pages standby_target{};
  GarbageBatch batch;

  explicit OwnerScan(PageOwner& of)
      : owner(of), first(cluster_of(of.first_page())), end(cluster_of(of.end_page() - 1) + 1) {
    steps[PageOwner::kUnmap] = uint64_t{kOwnerRounds} * (end - first);
    steps[PageOwner::kWrite] = uint64_t{kWriteRounds} * (end - first);
  }
  unsigned rounds_gone() const {
    return kOwnerRounds - 1 - static_cast<unsigned>((steps[PageOwner::kUnmap] - 1) / (end - first));
  }
  // The cluster that a hand points to, after which it points to the next.
  ClusterId advance(PageOwner::Hand which) {
    --steps[which];
    std::atomic<uint32_t>& hand = owner.hand(which);
    ClusterId c = hand.load(std::memory_order_relaxed);
    if (c < first || c >= end) c = first;
    hand.store(c + 1, std::memory_order_relaxed);
    return c;
  }
};

PageOwner* NodeReclaim::owner_of(Pfn pfn) const {
  const PageOwners* owners = owners_.load(std::memory_order_acquire);
  if (owners == nullptr) return nullptr;
  const uint16_t index = map_.owner(pfn).load(std::memory_order_relaxed);
  return index != kNoOwner ? &owners->find(owners->self, index) : nullptr;
}

// Of allocated pages.
uint64_t NodeReclaim::owned_pages(ClusterId c, uint32_t owner) const {
  const uint64_t allocated = map_[c].allocated.load(std::memory_order_relaxed);
  if (allocated == 0) return 0;
  uint64_t mask = 0;
  for (unsigned i = 0; i < kClusterPages; ++i)
    mask |= uint64_t{map_.owner(c * kClusterPages + i).load(std::memory_order_relaxed) == owner} << i;
  return mask & allocated;
}

// Pages went away, or came back.
void NodeReclaim::count_away(ClusterId c, uint64_t pages, int sign, Away how) {
  const PageOwners* owners = owners_.load(std::memory_order_relaxed);
  if (owners == nullptr) return;
  for (uint64_t left = pages; left != 0;) {
    const Pfn pfn = c * kClusterPages + static_cast<unsigned>(std::countr_zero(left));
    const uint16_t index = map_.owner(pfn).load(std::memory_order_relaxed);
    int64_t count = 0;
    // Neighbours are most often the same owner's.
    for (; left != 0; left &= left - 1, ++count)
      if (map_.owner(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left)))
              .load(std::memory_order_relaxed) != index)
        break;
    if (index == kNoOwner) continue;
    PageOwner& owner = owners->find(owners->self, index);
    how == Away::kSwapped ? owner.add_swapped(sign * count) : owner.add_standby(sign * count);
  }
}

// Pages that may be on their way out already, because they were somebody's before.
void NodeReclaim::own(void* self, Pfn first, Pages count, uint32_t owner) {
  auto& node = *static_cast<NodeReclaim*>(self);
  for (Pfn pfn = first, end = first + static_cast<Pfn>(count.v); pfn < end;) {
    const ClusterId c = cluster_of(pfn);
    uint64_t pages = 0;
    for (; pfn < end && cluster_of(pfn) == c; ++pfn) {
      pages |= page_bit(pfn);
    }
    node.claim_wait(c, pages);
    for (uint64_t left = pages; left != 0; left &= left - 1)
      node.map_.owner(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left)))
          .store(static_cast<uint16_t>(owner), std::memory_order_relaxed);
    node.count_away(c, pages & node.map_[c].standby.load(), 1, Away::kStandby);
    node.count_away(c, pages & node.map_[c].swapped.load(), 1, Away::kSwapped);
    node.release_from_outside(c, pages);
  }
}

uint32_t NodeReclaim::find_unarmed(const PageOwner& owner, uint32_t from) const {
  const uint32_t end = cluster_of(owner.end_page() == 0 ? 0 : owner.end_page() - 1) / kClustersPerPageblock;
  for (uint32_t block = from; owner.end_page() != 0 && block <= end; ++block) {
    if (is_armed(block)) continue;
    const ClusterId first = block * kClustersPerPageblock;
    for (ClusterId c = first; c < first + kClustersPerPageblock; ++c)
      if (owned_pages(c, owner.index()) != 0) return block;
  }
  return kNoCluster;
}

// Where touches are not seen, the pages are made inaccessible; that costs a mapping, of which a process has only so
// many.
void NodeReclaim::retire(void* self, Pfn first, Pages count) {
  auto& node = *static_cast<NodeReclaim*>(self);
  for (Pfn pfn = first, end = first + static_cast<Pfn>(count.v); pfn < end; ++pfn) {
    node.map_.more(cluster_of(pfn)).retired.fetch_or(page_bit(pfn), std::memory_order_relaxed);
    if (!node.is_armed(pfn / kPageblockPages))
      static_cast<void>(os::vm_protect_none(node.zone_->address(pfn), kPageSize));
  }
}

// A page that was touched is poisoned.
void NodeReclaim::revive(ClusterId c, uint64_t pages) {
  for (uint64_t left = pages; left != 0; left &= left - 1)
    make_accessible(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left)));
  map_.more(c).retired.fetch_and(~pages, std::memory_order_relaxed);
}

// Pages are about to be free.
void NodeReclaim::disclaim(ClusterId c, uint64_t pages) {
  if (owners_.load(std::memory_order_relaxed) == nullptr) return;
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    std::atomic<uint16_t>& owner = map_.owner(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left)));
    if (owner.load(std::memory_order_relaxed) != kNoOwner) owner.store(kNoOwner, std::memory_order_relaxed);
  }
}

// Takes a cluster that the caller owns off the lists of what it has no more of. Whoever puts pages there meanwhile may
// see it listed still: relist() looks again.
void NodeReclaim::unlist(ClusterId c) {
  Cluster& cluster = map_[c];
  LockGuard guard(lists_mutex_);
  if (cluster.standby.load() == 0 && cluster.garbage.load() == 0 &&
      cluster.on_standby.exchange(false, std::memory_order_relaxed))
    standby_.remove(map_, c);
  const uint64_t stay = cluster.standby.load() | unevictable(c);
  if ((zone_->resident_mask(c) & cluster.allocated.load() & ~stay) == 0 &&
      cluster.listed.exchange(false, std::memory_order_relaxed))
    present_.remove(map_, c);
}

// A step of one of the hands.
void NodeReclaim::shrink_some(OwnerScan& scan, ScanControl& sc, Workbench& bench) {
  const bool out = scan.owner.standby() > scan.standby_target;
  if (!out) sc.haste = scan.rounds_gone();
  const ClusterId c = scan.advance(out ? PageOwner::kWrite : PageOwner::kUnmap);
  const uint64_t mine = owned_pages(c, scan.owner.index()) & ~unevictable(c), standby = map_[c].standby.load();
  if ((out ? mine & standby : mine & ~standby & zone_->resident_mask(c)) == 0 || !own(c)) return;
  if (!out) {
    // Where the kernel cannot move pages, they are lifted.
    static_cast<void>(unmap(c, sc, shards_->move ? nullptr : &bench.lift, mine));
    if (bench.lift.count != 0) {
      static_cast<void>(finish_lift(sc, bench));
      if (!own(c)) return;
    }
    unlist(c);
    return relist(c);
  }
  const Pages done = write_out(c, sc, bench, mine);
  sc.reclaimed += done;
  scan.batch.clusters[scan.batch.count++] = c;
  scan.batch.pages += static_cast<unsigned>(done.v);
  if (scan.batch.count == GarbageBatch::kClusters || scan.batch.pages >= GarbageBatch::kMostPages)
    finish_owned(scan.batch);
}

void NodeReclaim::finish_owned(GarbageBatch& batch) {
  drop_garbage(batch.clusters, batch.count);
  for (unsigned i = 0; i < batch.count; ++i) unlist(batch.clusters[i]);
  for (unsigned i = 0; i < batch.count; ++i) relist(batch.clusters[i]);
  batch.count = batch.pages = 0;
}

void NodeReclaim::shrink_owner(PageOwner& owner, ScanControl& sc, Workbench& bench) {
  if (owner.noswap() || owner.end_page() <= owner.first_page()) return;
  if (has_unseen_.load(std::memory_order_relaxed)) return page_out_owner(owner, sc);
  OwnerScan scan(owner);
  scan.standby_target = Pages(owner.resident().v * policy_.standby_percent.load() / 100);
  const Pages scanned_before = sc.scanned, reclaimed_before = sc.reclaimed;
  while (sc.reclaimed < sc.to_reclaim) {
    if (sc.is_pause_due()) {
      finish_owned(scan.batch);
      if (!sc.pause()) break;
    }
    const bool out = owner.standby() > scan.standby_target;
    if (scan.steps[out ? PageOwner::kWrite : PageOwner::kUnmap] != 0) {
      shrink_some(scan, sc, bench);
      continue;
    }
    // Nothing is left to unmap, or Standby cannot be written: what is in it is the last resort.
    if (out || scan.standby_target.v == 0) break;
    scan.standby_target = Pages(0);
  }
  finish_owned(scan.batch);
  count_round(sc, scanned_before, reclaimed_before);
}

}  // namespace weir
