// How pages leave where faults cannot be seen and the system has swap of its own (the part of NodeReclaim that does
// it): the system is asked to swap them out (MADV_PAGEOUT), and brings each back by itself when it is touched, by a
// system call as well. So nothing can be lost, and a fork needs no care. What weir does is to choose, and to count:
// what came back, or was touched for the first time, shows only when it is looked for, so that the limit is exceeded by
// as much as comes between two looks.
//
// Thread safety: the node's kswapd, but for empty_unseen, which is for the owner of pages that it gives back.
// Invariants: a page that is allocated and not resident is unseen: whether there is memory or content behind it is not
// known. One that is swapped, too, has left to the system's swap, and may be back. A free page that is not resident is
// empty, as everywhere.
#include <bit>

#include "os/page_scan.h"
#include "os/vm.h"
#include "reclaim/node.h"

namespace weir {
namespace {

// 3 KiB of stack.
constexpr unsigned kRuns = 128;
// Clusters without unseen pages that are looked at together with others: 2 MiB of memory take 2 us, about as long as
// one more call.
constexpr ClusterId kMostSeen = kClustersPerPageblock;

uint64_t pages_in(uint64_t mask) {
  return static_cast<uint64_t>(std::popcount(mask));
}

}  // namespace

void NodeReclaim::use_system_swap(int pagemap) {
  pagemap_ = pagemap;
  has_unseen_.store(true, std::memory_order_release);
}

// -- out -------------------------------------------------------------------------------------------------------------

void NodeReclaim::page_out(ScanControl& sc) {
  const uint64_t budget = begin_round(sc), visited_before = sc.visited.v;
  const Pages scanned_before = sc.scanned, reclaimed_before = sc.reclaimed;
  unsigned failures = 0;
  while (sc.reclaimed < sc.to_reclaim && failures < ScanControl::kMostFailures &&
         sc.visited.v - visited_before < budget) {
    if (sc.is_pause_due() && !sc.pause()) break;
    const ClusterId c = pop_present();
    if (c == kNoCluster) break;
    const Pages gone = page_out(c, sc, ~uint64_t{0});
    relist(c);
    if (!sc.spared) failures = gone.v == 0 ? failures + 1 : 0;
    sc.reclaimed += gone;
  }
  count_round(sc, scanned_before, reclaimed_before);
}

// Of a cluster that the caller owns, those in `only`.
Pages NodeReclaim::page_out(ClusterId c, ScanControl& sc, uint64_t only) {
  Cluster& cluster = map_[c];
  uint64_t idle = cluster.allocated.load() & zone_->resident_mask(c) & ~unevictable(c) & only;
  sc.visited += Pages(pages_in(idle));
  sc.scanned += Pages(pages_in(idle));
  const uint64_t kept = age(c, idle, sc.haste);
  idle &= ~kept;
  idle &= ~rejected_lately(c, idle);
  sc.spared = idle == 0 && kept != 0;
  if (idle == 0) return Pages(0);
  const uint64_t mine = claim(c, idle);
  // The others were freed between the look and the claim.
  const uint64_t leaving = mine & cluster.allocated.load();
  const Pages gone = leaving != 0 ? page_out_claimed(c, leaving) : Pages(0);
  release_from_outside(c, mine);
  return gone;
}

void NodeReclaim::ask_to_swap(ClusterId c, uint64_t pages) {
  for (BitRun run = next_run(pages, 0); run.first < kClusterPages; run = next_run(pages, run.end))
    os::vm_page_out(zone_->address(c * kClusterPages + run.first), (run.end - run.first) * kPageSize);
}

// The system refuses pages that are shared with a child of a fork, or were until it ended. As where pages are moved,
// they are made the process's own, at the cost of a copy of which the other one is the child's.
void NodeReclaim::unshare(ClusterId c, uint64_t pages) {
  for (BitRun run = next_run(pages, 0); run.first < kClusterPages; run = next_run(pages, run.end))
    static_cast<void>(os::vm_unshare(zone_->address(c * kClusterPages + run.first), (run.end - run.first) * kPageSize));
}

Pages NodeReclaim::page_out_claimed(ClusterId c, uint64_t pages) {
  const auto look = [&] {
    os::PageMasks now;
    // What cannot be told is taken for what stays.
    if (!os::find_page_masks(pagemap_, zone_->address(c * kClusterPages), kClusterPages, now))
      now.present = ~uint64_t{0};
    return now;
  };
  ask_to_swap(c, pages);
  os::PageMasks now = look();
  if (const uint64_t shared = now.shared & pages; shared != 0) {
    unshare(c, shared);
    ask_to_swap(c, shared);
    now = look();
  }
  // What stays is locked, pinned or in use at this moment, or there is no room in the system's swap.
  const uint64_t stay = pages & now.present, gone = pages & ~stay, swapped = gone & now.swapped;
  if (stay != 0) {
    note_rejected(c, stay);
    count(counters_->pgrotated, pages_in(stay));
  }
  forget_rejected(c, gone);
  for (uint64_t left = swapped; left != 0; left &= left - 1)
    map_.entry(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left))) =
        SwapEntry(SwapEntry::Kind::kSystem, 1);
  note_evicted(c, swapped);
  // In this order: who sees that a page has no memory must see that it has content.
  map_[c].swapped.fetch_or(swapped);
  zone_->uncharge(c, gone);
  count(counters_->pswpout, pages_in(swapped));
  return Pages(pages_in(gone));
}

// The same for an owner's pages (compare shrink_owner.cc): there is no Standby, and so but one hand. What came back
// unseen may have taken the owner above its limit, where no allocation of a few pages would get it down again.
void NodeReclaim::page_out_owner(PageOwner& owner, ScanControl& sc) {
  const Pages scanned_before = sc.scanned, reclaimed_before = sc.reclaimed;
  const ClusterId first = cluster_of(owner.first_page()), end = cluster_of(owner.end_page() - 1) + 1;
  std::atomic<uint32_t>& hand = owner.hand(PageOwner::kUnmap);
  if (const uint64_t now = owner.resident().v; owner.limit() != PageOwner::kNoLimit && now > owner.limit())
    sc.to_reclaim += Pages(now - owner.limit());
  for (uint64_t steps = 0, all = uint64_t{kOwnerRounds} * (end - first); steps < all; ++steps) {
    if (sc.reclaimed >= sc.to_reclaim || (sc.is_pause_due() && !sc.pause())) break;
    sc.haste = static_cast<unsigned>(steps / (end - first));
    ClusterId c = hand.load(std::memory_order_relaxed);
    if (c < first || c >= end) c = first;
    hand.store(c + 1, std::memory_order_relaxed);
    const uint64_t mine = owned_pages(c, owner.index()) & ~unevictable(c);
    if ((mine & zone_->resident_mask(c)) == 0 || !own(c)) continue;
    sc.reclaimed += page_out(c, sc, mine);
    unlist(c);
    relist(c);
  }
  count_round(sc, scanned_before, reclaimed_before);
}

// -- back ------------------------------------------------------------------------------------------------------------

uint64_t NodeReclaim::unseen(ClusterId c) const {
  return map_[c].allocated.load() & ~zone_->resident_mask(c);
}

Pages NodeReclaim::note_seen(ClusterId c, uint64_t pages) {
  const uint64_t mine = claim(c, pages & unseen(c));
  // The others were freed, and emptied, or given up.
  const uint64_t back = mine & unseen(c), returned = back & map_[c].swapped.load();
  zone_->charge(c, back);
  for (uint64_t left = returned; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    if (refaults_soon(c * kClusterPages + i)) {
      activate(c, uint64_t{1} << i);
      count(counters_->workingset_activate_anon);
    } else {
      forget_soon(c, uint64_t{1} << i);
    }
  }
  leave_swap(c, returned, 0);
  release_from_outside(c, mine);
  if (back == 0) return Pages(0);
  list_present(c);
  count(counters_->pswpin, pages_in(returned));
  count(counters_->workingset_refault_anon, pages_in(returned));
  return Pages(pages_in(back));
}

bool NodeReclaim::look_between(ClusterId first, ClusterId end, Pages& seen) {
  os::MappedRun runs[kRuns];
  char *at = zone_->address(first * kClusterPages), *const stop = at + size_t{end - first} * kClusterBytes;
  while (at < stop) {
    const long found = os::populated_runs(pagemap_, at, stop, runs, kRuns);
    if (found < 0) return false;
    for (long i = 0; i < found; ++i)
      for_clusters(zone_->pfn_of(runs[i].begin), pages_of(static_cast<size_t>(runs[i].end - runs[i].begin)),
                   [&](ClusterId c, uint64_t pages) { seen += note_seen(c, pages); });
  }
  return true;
}

Pages NodeReclaim::look_for_unseen() {
  Pages seen;
  const ClusterId end = static_cast<ClusterId>(zone_->accessible_estimate().v / kClusterPages);
  for (ClusterId c = 0; c < end;) {
    if (unseen(c) == 0) {
      ++c;
      continue;
    }
    ClusterId behind = c + 1;
    for (ClusterId next = behind; next < end && next - behind <= kMostSeen; ++next)
      if (unseen(next) != 0) behind = next + 1;
    if (!look_between(c, behind, seen)) break;
    c = behind;
  }
  return seen;
}

// -- freed -----------------------------------------------------------------------------------------------------------

void NodeReclaim::empty(Pfn first, Pfn end) {
  if (first == end || os::vm_purge(zone_->address(first), (end - first) * kPageSize)) return;
  // Locked memory stays what it is, and counts: whoever gets it next clears it.
  for_clusters(first, Pages(end - first), [this](ClusterId c, uint64_t pages) { zone_->charge(c, pages); });
}

// Of long runs, most was never touched: one call for all that lies side by side.
void NodeReclaim::empty_unseen(Pfn first, Pages count) {
  Pfn begin = first, end = first;
  for_clusters(first, count, [&](ClusterId c, uint64_t pages) {
    const uint64_t unknown = pages & ~zone_->resident_mask(c);
    for (BitRun run = next_run(unknown, 0); run.first < kClusterPages; run = next_run(unknown, run.end)) {
      const Pfn at = c * kClusterPages + run.first;
      if (at != end) {
        empty(begin, end);
        begin = at;
      }
      end = c * kClusterPages + run.end;
    }
  });
  empty(begin, end);
}

}  // namespace weir
