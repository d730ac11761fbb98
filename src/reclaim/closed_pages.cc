// Pages that nobody can touch until they are fetched, because they are an object's that is closed to its users
// (compact/put_away.cc): they leave memory and come back where no touch of them could be seen (the part of NodeReclaim
// that does it). To compressed memory only: a swap file lies in the descriptor table of weir's threads, and a thread of
// the program would have to wait for one of them.
//
// Thread safety: who has closed the object. Stored by kswapd, fetched by any thread, one at a time for each compressor.
// Invariants: a page is swapped only while it has an entry, and its memory goes after that; it is swapped no more only
// after its content is back. So the child of a fork finds each in one of the two places, whatever was under way.
#include <bit>

#include "os/vm.h"
#include "reclaim/node.h"

namespace weir {

Pages NodeReclaim::store_closed(Pfn first, Pages count, Compressor& compressor) {
  Pages gone;
  if (policy_.zswap)
    for_clusters(first, count, [&](ClusterId c, uint64_t pages) { gone += store_closed_pages(c, pages, compressor); });
  sync_pool();
  weir::count(counters_->pgscan_kswapd, count.v);
  weir::count(counters_->pgsteal_kswapd, gone.v);
  return gone;
}

Pages NodeReclaim::store_closed_pages(ClusterId c, uint64_t pages, Compressor& compressor) {
  pages &= zone_->resident_mask(c);
  pages &= ~rejected_lately(c, pages);
  if (pages == 0) return Pages(0);
  claim_wait(c, pages);
  char* const address = zone_->address(c * kClusterPages);
  SwapEntry entries[kClusterPages];
  uint64_t rejected = 0;
  const uint64_t stored = store_lifted(pages, ~uint64_t{0}, address, entries, rejected, compressor);
  Pages gone = commit_lifted(c, stored, entries);
  if (const uint64_t locked = stored & ~purge(c, stored); locked != 0) {
    // They are where they were.
    unstore(c, locked);
    rejected |= locked;
    gone = gone - Pages(static_cast<uint64_t>(std::popcount(locked)));
  }
  if (rejected != 0) note_rejected(c, rejected);
  release_from_outside(c, pages);
  return gone;
}

// Swapped pages whose content is at their addresses.
void NodeReclaim::unstore(ClusterId c, uint64_t pages) {
  SwapEntry entries[kClusterPages];
  unsigned count = 0;
  for (uint64_t left = pages; left != 0; left &= left - 1)
    entries[count++] = map_.entry(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left)));
  zone_->charge(c, pages);
  leave_swap(c, pages, 0);
  drop(entries, count);
}

bool NodeReclaim::fetch_closed(Pfn first, Pages count, Compressor& compressor) {
  bool all = true;
  for_clusters(first, count, [&](ClusterId c, uint64_t pages) {
    claim_wait(c, pages);
    all = fetch_closed_pages(c, pages & map_[c].swapped.load(), compressor) && all;
    release_from_outside(c, pages);
  });
  return all;
}

bool NodeReclaim::fetch_closed_pages(ClusterId c, uint64_t pages, Compressor& compressor) {
  uint64_t back = 0;
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const Pfn pfn = c * kClusterPages + static_cast<unsigned>(std::countr_zero(left));
    SwapEntry& entry = map_.entry(pfn);
    if (entry.kind() == SwapEntry::Kind::kPoisoned) continue;
    if (pool_.load(compressor, entry.handle(), zone_->address(pfn))) {
      back |= left & (0 - left);
      continue;
    }
    // As what cannot be read from a file: who touches it is told.
    drop(&entry, 1);
    entry = SwapEntry(SwapEntry::Kind::kPoisoned, 1);
    count(counters_->swap_read_error);
    static_cast<void>(os::vm_protect_none(zone_->address(pfn), kPageSize));
  }
  if (back != 0) unstore(c, back);
  count(counters_->zswpin, static_cast<uint64_t>(std::popcount(back)));
  count(counters_->workingset_refault_anon, static_cast<uint64_t>(std::popcount(back)));
  return back == pages;
}

// What they are by now is what their state says; an entry that was being dropped is lost to the child.
void NodeReclaim::release_in_child() {
  uint64_t swapped = 0;
  const ClusterId end = static_cast<ClusterId>(zone_->accessible_estimate().v / kClusterPages);
  for (ClusterId c = 0; c < end; ++c) {
    Cluster& cluster = map_[c];
    swapped += static_cast<uint64_t>(std::popcount(cluster.swapped.load()));
    cluster.owned.store(false);
    const uint64_t busy = cluster.busy.load();
    if (busy == 0) continue;
    zone_->uncharge(c, busy & cluster.swapped.load());
    for (uint64_t left = busy & ~cluster.swapped.load(); left != 0; left &= left - 1)
      map_.entry(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left))) = SwapEntry();
    cluster.busy.store(0);
  }
  nr_swapped_.store(swapped);
  for (ClusterId c = 0; c < end; ++c) {
    // Of owners, what is away was forgotten before.
    count_away(c, map_[c].swapped.load(), 1, Away::kSwapped);
    // It may have taken some off their list.
    if ((zone_->resident_mask(c) & map_[c].allocated.load()) != 0) list_present(c);
  }
}

}  // namespace weir
