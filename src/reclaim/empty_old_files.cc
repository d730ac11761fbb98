// How swap files are emptied that are not written any more, because another one was chosen while the program runs, or
// none (the part of NodeReclaim that does it; kernel: try_to_unuse, swapoff). A file does not know whose its slots are,
// so all clusters are gone through, some at a time: what such files hold goes to the file that is written now, else to
// compressed memory, else back to its addresses, as far as there is room for it. What can go nowhere stays where it is
// until it is touched or freed.
//
// Thread safety: the node's kswapd, while evictions are allowed (never across a fork).
// Invariants: an entry is replaced by who has its page claimed, so that nobody reads or drops it meanwhile.
#include <bit>

#include "reclaim/node.h"

namespace weir {
namespace {

// Clusters that are looked at before others have their turn, half a microsecond each.
constexpr unsigned kLookedAt = 4096;

}  // namespace

// Of these claimed pages, those whose entries are of old files.
uint64_t NodeReclaim::in_old_files(ClusterId c, uint64_t pages) const {
  uint64_t old = 0;
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    if (files_->is_old(map_.entry(c * kClusterPages + i))) old |= uint64_t{1} << i;
  }
  return old;
}

// Reads claimed pages, those side by side in their file together, to places one behind the other. Returns those that
// came back whole; the others are left to who touches them, who may have more luck.
uint64_t NodeReclaim::read_old(ClusterId c, uint64_t pages, char* to) {
  uint64_t there = 0;
  for (uint64_t left = pages; left != 0;) {
    const unsigned first = static_cast<unsigned>(std::countr_zero(left));
    const SwapEntry entry = map_.entry(c * kClusterPages + first);
    unsigned count = 1;
    while (first + count < kClusterPages && (left >> (first + count) & 1) != 0 &&
           map_.entry(c * kClusterPages + first + count).handle() == entry.handle() + count)
      ++count;
    uint64_t bad = 0;
    const IoResult result = files_->of(entry).read(entry.slot(), count, to, bad);
    if (result != IoResult::kOk && bad == 0) bad = 1;
    const unsigned good = bad == 0 ? count : static_cast<unsigned>(std::countr_zero(bad));
    there |= run_mask({first, first + good});
    to += good * kPageSize;
    // One page behind a bad one is tried anew.
    left &= ~run_mask({first, first + (bad == 0 ? count : good + 1)});
  }
  weir::count(counters_->pswpin, static_cast<uint64_t>(std::popcount(there)));
  return there;
}

// Brings claimed pages back to their addresses, if there is room for them; returns those that are there.
uint64_t NodeReclaim::bring_home(ClusterId c, uint64_t pages, uint64_t seen, char* content) {
  if (pages == 0 || zone_->free_budget() < zone_->watermarks().high + Pages(kClusterPages)) return 0;
  zone_->charge(c, pages);
  fill_home(c, pages, seen, content);
  SwapEntry entries[kClusterPages];
  unsigned count = 0;
  for (uint64_t left = pages; left != 0; left &= left - 1)
    entries[count++] = map_.entry(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left)));
  leave_swap(c, pages, 0);
  drop(entries, count);
  list_present(c);
  return pages;
}

// Returns how many pages old files hold less of this cluster.
unsigned NodeReclaim::empty_cluster(ClusterId c, Workbench& bench) {
  Cluster& cluster = map_[c];
  const uint64_t mine = claim(c, (cluster.swapped.load() | clean(c)) & cluster.allocated.load());
  // Pages that are in memory, too.
  SwapEntry entries[kClusterPages];
  unsigned copies = 0;
  end_clean(c, in_old_files(c, mine & clean(c)), entries, copies);
  drop(entries, copies);
  const uint64_t pages = read_old(c, in_old_files(c, mine & cluster.swapped.load()), bench.pages);
  const bool to_file = files_->writer() != nullptr;
  uint64_t stored = 0, rejected = 0, home = 0;
  if (to_file)
    stored = write_to_file(bench.pages, pages, entries);
  else if (policy_.zswap)
    stored = store_lifted(pages, pages, bench.pages, entries, rejected, bench.compressor);
  replace_entries(c, stored, entries);
  if (!to_file && stored != 0) {
    weir::count(counters_->zswpout, static_cast<uint64_t>(std::popcount(stored)));
    sync_pool();
    list_zswap(c);
  }
  if (!to_file) home = bring_home(c, pages & ~stored, pages, bench.pages);
  release(c, mine);
  return copies + static_cast<unsigned>(std::popcount(stored | home));
}

bool NodeReclaim::empty_old_files(unsigned most, Workbench& bench) {
  const auto end = static_cast<ClusterId>(zone_->accessible_estimate().v / kClusterPages);
  unsigned moved = 0;
  for (unsigned i = 0; i < kLookedAt && moved < most && emptied_in_vain_ < end; ++i) {
    // Compressed memory takes from what is free, which others need more.
    if (files_->writer() == nullptr && zone_->free_budget() < zone_->watermarks().high) return false;
    const ClusterId c = empty_next_ < end ? empty_next_ : 0;
    empty_next_ = c + 1;
    ++emptied_in_vain_;
    if ((map_[c].swapped.load() | clean(c)) == 0 || empty_cluster(c, bench) == 0) continue;
    emptied_in_vain_ = 0;
    ++moved;
  }
  const bool more = emptied_in_vain_ < end;
  if (!more) emptied_in_vain_ = 0;
  return more;
}

}  // namespace weir
