// How pages leave memory (the part of NodeReclaim that does it): unmapped by clusters into Standby, and from there, if
// nobody touched them meanwhile, compressed or written to the swap file. Everything that takes long is done on pages at
// their staging addresses, which nobody else changes; a page is busy only while it is moved or its state changes.
#include <errno.h>
#include <sys/mman.h>

#include <bit>
#include <cstring>

#include "os/uffd.h"
#include "os/vm.h"
#include "reclaim/node.h"

namespace weir {
namespace {

uint64_t pages_in(uint64_t mask) {
  return static_cast<uint64_t>(std::popcount(mask));
}

}  // namespace

bool NodeReclaim::own(ClusterId c) {
  return !map_[c].owned.exchange(true, std::memory_order_acquire);
}

// After a move found something at a staging address that was empty before; true when the page is at its own address
// now. Linux 6.18 (move_pages in mm/userfaultfd.c) remembers that it had to try a page again, because that was being
// migrated or swapped, when it has moved it: it does not count it, goes on to the same page, and stumbles over it.
// Taken for a page that stayed, it would be lost. Moving it back tells: that is refused when something is at the page's
// own address, before anything else is looked at.
bool NodeReclaim::undo_uncounted_move(Pfn pfn) {
  int error = 0;
  const int uffd = uffd_of(cluster_of(pfn));
  if (os::uffd_move(uffd, zone_->address(pfn), staging_address(pfn), kPageSize, error) == kPageSize) return true;
  if (error != EEXIST) return false;
  static_cast<void>(os::vm_purge(staging_address(pfn), kPageSize));
  return true;
}

// Makes empty staging addresses [first, end) of a cluster executable, or no longer so, as many of them as are like the
// first. False: the system refuses.
bool NodeReclaim::change_rights(ClusterId c, unsigned first, unsigned end) {
  std::atomic<uint64_t>& executable = map_.more(c).executable;
  const uint64_t now = executable.load(std::memory_order_relaxed);
  const bool is_set = (now >> first & 1) != 0;
  BitRun run = next_run(is_set ? now : ~now, first);
  if (run.end > end) run.end = end;
  const int protection = PROT_READ | PROT_WRITE | (is_set ? 0 : PROT_EXEC);
  if (os::vm_protect(staging_address(c * kClusterPages + run.first), (run.end - run.first) * kPageSize, protection,
                     os::kNoKey) != 0)
    return false;
  executable.fetch_xor(run_mask(run), std::memory_order_relaxed);
  return true;
}

// Moves pages [first, end) of a cluster to staging; returns those that stay because they are pinned or cannot be
// accessed. A page shared with a child of a fork must become the process's own first. Where the program divided the
// mapping (mprotect), pages go one by one. What the program may execute moves only to where that is so, too; what it
// may not write does not move at all.
uint64_t NodeReclaim::move_run_out(ClusterId c, unsigned first, unsigned end) {
  uint64_t stay = 0;
  // Of pages that cannot be written there may be many side by side.
  constexpr unsigned kVainChanges = 4;
  unsigned unshared_end = 0, changed = kClusterPages, in_vain = 0;
  const Pfn base = c * kClusterPages;
  while (first < end) {
    int error = 0;
    const size_t bytes = (end - first) * kPageSize;
    char* const to = staging_address(base + first);
    char* const from = zone_->address(base + first);
    size_t moved = os::uffd_move(uffd_of(c), to, from, bytes, error);
    if (moved == 0 && bytes > kPageSize && (error == EINVAL || error == ENOENT)) {
      error = 0;
      moved = os::uffd_move(uffd_of(c), to, from, kPageSize, error);
    }
    first += static_cast<unsigned>(moved >> kPageShift);
    if (error == 0) continue;
    if (error == EINVAL && in_vain < kVainChanges) {
      const bool again = changed == first;
      changed = first;
      if (change_rights(c, first, end) && !again) continue;
      ++in_vain;
    }
    if (error == EBUSY && first >= unshared_end) {
      // Holes must not be populated: only what is there is asked for.
      BitRun run = next_run(os::vm_resident_mask(zone_->address(base), kClusterPages), first);
      if (run.end > end) run.end = end;
      // A page that was clean when it was freed may still be protected; populating it would wait for a handler.
      if (shards_->write_protect && run.first == first)
        static_cast<void>(
            os::uffd_write_protect(uffd_of(c), zone_->address(base + first), (run.end - run.first) * kPageSize, false));
      if (run.first == first && os::vm_unshare(zone_->address(base + first), (run.end - first) * kPageSize)) {
        unshared_end = run.end;
        continue;
      }
    }
    if (error != EEXIST || undo_uncounted_move(base + first)) stay |= uint64_t{1} << first;
    ++first;
  }
  return stay;
}

// Which of these pages at their staging addresses have content that the kernel swapped out by itself: not resident, but
// something is mapped. The others are left as empty as they were.
uint64_t NodeReclaim::find_swapped(ClusterId c, uint64_t pages) {
  uint64_t empty = 0;
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    if (os::uffd_fill_if_empty(uffd_of(c), staging_address(c * kClusterPages + i))) empty |= uint64_t{1} << i;
  }
  for (BitRun run = next_run(empty, 0); run.first < kClusterPages; run = next_run(empty, run.end))
    static_cast<void>(os::vm_purge(staging_address(c * kClusterPages + run.first), (run.end - run.first) * kPageSize));
  return pages & ~empty;
}

// Moves claimed pages to staging. Returns those that are there afterwards; pages that never had memory are counted no
// more. Where the kernel cannot move pages, what could not be lifted stays.
uint64_t NodeReclaim::move_out(ClusterId c, uint64_t pages) {
  uint64_t stay = shards_->move ? 0 : pages & zone_->resident_mask(c), there = 0;
  if (shards_->move) {
    for (BitRun run = next_run(pages, 0); run.first < kClusterPages; run = next_run(pages, run.end))
      stay |= move_run_out(c, run.first, run.end);
    there = os::vm_resident_mask(staging_address(c * kClusterPages), kClusterPages) & pages & ~stay;
    const uint64_t unclear = pages & ~there & ~stay & zone_->resident_mask(c);
    // Swap that was taken off after the look has brought back what it held: a second look sees it.
    if (unclear != 0)
      there |= os::vm_system_swaps()
                   ? find_swapped(c, unclear)
                   : os::vm_resident_mask(staging_address(c * kClusterPages), kClusterPages) & unclear;
  }
  if (stay != 0) {
    // Tried again when their turn comes; until then they are as good as active.
    map_[c].active.fetch_or(stay, std::memory_order_relaxed);
    count(counters_->pgrotated, pages_in(stay));
  }
  zone_->uncharge(c, pages & ~there & ~stay);
  return there;
}

// Another round is over for these pages; returns those that are, or were until now, active.
uint64_t NodeReclaim::age(ClusterId c, uint64_t pages, unsigned haste) {
  std::atomic<uint64_t>& active = map_[c].active;
  const uint64_t stay = active.load(std::memory_order_relaxed) & pages;
  if (stay != 0) count(counters_->pgdeactivate, pages_in(map_.more(c).rounds.age(active, pages, haste)));
  return stay;
}

// Unmaps the inactive pages of a cluster that the caller owns; returns how many are in Standby now. Those that lie in
// short runs, or all of them where the kernel cannot move pages, are lifted, if the caller has `lifts`: their fate is
// open until finish_lift, and the cluster owned.
Pages NodeReclaim::unmap(ClusterId c, ScanControl& sc, Lift* lifts, uint64_t only) {
  Cluster& cluster = map_[c];
  sc.spared = false;
  if (!arm(c / kClustersPerPageblock)) return Pages(0);
  // Staging addresses must be empty before something is moved there.
  if (cluster.garbage.load() != 0) drop_garbage(&c, 1);
  uint64_t idle = cluster.allocated.load() & ~cluster.standby.load() & ~cluster.garbage.load() & ~unevictable(c) & only;
  const Pages seen(pages_in(idle & zone_->resident_mask(c)));
  sc.visited += seen;
  sc.scanned += seen;
  const uint64_t kept = age(c, idle, sc.haste);
  idle &= ~kept;
  idle &= ~rejected_lately(c, idle);
  if ((idle & zone_->resident_mask(c)) == 0) {
    sc.spared = (kept & zone_->resident_mask(c)) != 0;
    return Pages(0);
  }
  const bool in_place = lifts != nullptr && goes_in_place(*lifts);
  const uint64_t at_once = lifts != nullptr ? worth_lifting(c, idle, kept, *lifts) : 0;
  uint64_t liftable = at_once | (shards_->move ? 0 : idle);
  if (liftable != 0 && (lifts == nullptr || !lifts->prepare())) liftable = 0;
  // In place, nobody else is held up.
  const bool alone = in_place && liftable != 0 && (idle & zone_->resident_mask(c) & ~liftable) == 0;
  uint64_t mine = claim(c, alone ? liftable : idle | liftable);
  // Freed, gone to Standby, or to be kept (keep_present), since they were looked at.
  const uint64_t fit = cluster.allocated.load() & ~cluster.standby.load() & ~cluster.garbage.load();
  const uint64_t unfit = mine & (~fit | map_.more(c).unevictable.load());
  if (unfit != 0) release(c, unfit);
  mine &= ~unfit;
  if (liftable != 0) {
    mine &= ~lift(c, mine & liftable & ~map_.more(c).clean.load(), idle, at_once, *lifts);
    if ((mine & ~idle) != 0) release(c, mine & ~idle);
    mine &= idle;
  }
  return mine == 0 ? Pages(0) : unmap_claimed(c, mine, sc);
}

Pages NodeReclaim::unmap_claimed(ClusterId c, uint64_t mine, ScanControl& sc) {
  Cluster& cluster = map_[c];
  const uint64_t clean = map_.more(c).clean.load() & mine;
  const uint64_t dropped = clean != 0 ? drop_clean(c, clean) : 0;
  const uint64_t swapped = cluster.swapped.load() & mine;
  const uint64_t out = move_out(c, mine & ~clean) & ~swapped;
  zone_->charge(c, out);
  forget_rejected(c, out);
  enter_standby(c, out);
  release(c, mine);
  sc.reclaimed += Pages(pages_in(dropped));
  if (const uint64_t stay = clean & ~dropped; stay != 0) cluster.active.fetch_or(stay, std::memory_order_relaxed);
  // Pages that became known to be there only by being moved were not seen.
  sc.scanned -= Pages(pages_in(out)) < sc.scanned ? Pages(pages_in(out)) : sc.scanned;
  return Pages(pages_in(out | dropped));
}

void NodeReclaim::fill_dropped(ClusterId c, uint64_t pages) {
  if (pages == 0) return;
  const unsigned first = static_cast<unsigned>(std::countr_zero(pages));
  const unsigned end = kClusterPages - static_cast<unsigned>(std::countl_zero(pages));
  char* const staging = staging_address(c * kClusterPages);
  const uint64_t there = os::vm_resident_mask(staging + first * kPageSize, end - first) << first;
  for (uint64_t left = pages & ~there; left != 0; left &= left - 1)
    static_cast<void>(os::uffd_fill_if_empty(uffd_of(c), staging + std::countr_zero(left) * kPageSize));
}

bool NodeReclaim::fill_dropped_at(const void* address) {
  const size_t offset = static_cast<size_t>(static_cast<const char*>(address) - staging_.memory);
  if (offset >= bytes_of(zone_->accessible_estimate())) return false;
  const Pfn pfn = static_cast<Pfn>(offset >> kPageShift);
  const ClusterId c = cluster_of(pfn);
  // It may leave Standby while it is read: first it is garbage, too.
  fill_dropped(c, page_bit(pfn) & (map_[c].standby.load() | map_[c].garbage.load()));
  os::uffd_wake(uffd_of(c), staging_address(pfn), kPageSize);
  return true;
}

// Claimed pages are at their staging addresses now.
void NodeReclaim::enter_standby(ClusterId c, uint64_t pages) {
  map_[c].standby.fetch_or(pages);
  nr_standby_.fetch_add(pages_in(pages), std::memory_order_relaxed);
  count_away(c, pages, 1, Away::kStandby);
}

void NodeReclaim::purge_garbage(const os::VmRange* ranges, const ClusterId* owners, const uint64_t* pages,
                                unsigned count) {
  for (unsigned done = 0; done < count; ++done) {
    const unsigned more = os::vm_purge_many(ranges + done, count - done);
    for (unsigned i = done; i < done + more; ++i) {
      map_[owners[i]].garbage.fetch_and(~pages[i]);
      zone_->add_outside(-static_cast<int64_t>(pages_in(pages[i])));
    }
    // What was refused (locked memory) stays.
    done += more;
  }
}

// Gives the memory at staging addresses that nobody needs back. The caller owns the clusters, so that nothing is moved
// to these addresses meanwhile: between standby pages there is only garbage.
void NodeReclaim::drop_garbage(const ClusterId* clusters, unsigned count) {
  constexpr unsigned kMost = 64;
  os::VmRange ranges[kMost];
  ClusterId owners[kMost];
  uint64_t pages[kMost];
  unsigned nr = 0;
  for (unsigned n = 0; n < count; ++n) {
    const ClusterId c = clusters[n];
    const uint64_t unused = ~map_[c].standby.load(), garbage = map_[c].garbage.load() & unused;
    for (BitRun run = next_run(unused, 0); run.first < kClusterPages; run = next_run(unused, run.end)) {
      const uint64_t here = garbage & run_mask(run);
      if (here == 0) continue;
      const unsigned first = static_cast<unsigned>(std::countr_zero(here));
      const unsigned end = kClusterPages - static_cast<unsigned>(std::countl_zero(here));
      ranges[nr] = {staging_address(c * kClusterPages + first), (end - first) * kPageSize};
      owners[nr] = c;
      pages[nr++] = here;
      if (nr < kMost) continue;
      purge_garbage(ranges, owners, pages, nr);
      nr = 0;
    }
  }
  purge_garbage(ranges, owners, pages, nr);
}

// Puts copies of standby pages into the pool, what does not compress into the file if it may be written to; returns
// those that are stored. What was found not to compress stays so while it is in Standby: without a file it is not tried
// again.
uint64_t NodeReclaim::store(ClusterId c, uint64_t pages, SwapEntry* entries, bool may_write, Workbench& bench) {
  if (!policy_.zswap) return may_write ? store_in_file(c, pages, entries, bench) : 0;
  uint64_t stored = 0, rejected = pages & map_.more(c).rejected.load(std::memory_order_relaxed);
  for (uint64_t left = pages & ~rejected; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    const ZswapPool::Stored result =
        pool_.store(bench.compressor, policy_.codec, staging_address(c * kClusterPages + i));
    if (result.result == ZswapPool::Result::kStored) {
      entries[i] = SwapEntry(SwapEntry::Kind::kZswap, result.handle);
      stored |= uint64_t{1} << i;
      if (ZswapPool::is_same_filled(result.handle)) count(counters_->zswap_same_filled);
    } else {
      rejected |= uint64_t{1} << i;
      if (result.result == ZswapPool::Result::kIncompressible) {
        map_.more(c).rejected.fetch_or(uint64_t{1} << i, std::memory_order_relaxed);
        count(counters_->zswap_reject_compress);
      } else {
        // The pool is full: compressing the others would most likely be in vain.
        rejected |= left;
        break;
      }
    }
  }
  count(counters_->zswpout, pages_in(stored));
  sync_pool();
  return stored | (rejected != 0 && may_write ? store_in_file(c, rejected, entries, bench) : 0);
}

// Lets stored pages go, as far as nobody touched or freed them while they were being stored.
Pages NodeReclaim::commit(ClusterId c, uint64_t pages, const SwapEntry* entries) {
  Cluster& cluster = map_[c];
  const uint64_t mine = claim(c, pages);
  const uint64_t leaving = mine & cluster.standby.load() & cluster.allocated.load();
  bool compressed = false;
  for (uint64_t left = leaving; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    map_.entry(c * kClusterPages + i) = entries[i];
    compressed |= entries[i].kind() == SwapEntry::Kind::kZswap;
  }
  note_evicted(c, leaving);
  cluster.swapped.fetch_or(leaving);
  zone_->uncharge(c, leaving);
  leave_standby(c, leaving);
  release(c, mine);
  for (uint64_t left = pages & ~leaving; left != 0; left &= left - 1) drop(&entries[std::countr_zero(left)], 1);
  if (compressed) list_zswap(c);
  return Pages(pages_in(leaving));
}

void NodeReclaim::note_evicted(ClusterId c, uint64_t pages) {
  const uint64_t evicted = nr_evicted_.fetch_add(pages_in(pages), std::memory_order_relaxed);
  const auto at = static_cast<uint16_t>(evicted >> ClusterMap::kEvictedShift);
  for (uint64_t left = pages; left != 0; left &= left - 1)
    map_.evicted_at(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left)))
        .store(at, std::memory_order_relaxed);
  nr_swapped_.fetch_add(pages_in(pages), std::memory_order_relaxed);
  count_away(c, pages, 1, Away::kSwapped);
}

void NodeReclaim::list_zswap(ClusterId c) {
  LockGuard guard(lists_mutex_);
  if (!map_[c].on_zswap) zswap_.push(map_, c);
  map_[c].on_zswap = true;
}

// Drops the content of claimed pages at their addresses; returns those that went, which are all but those that the
// program has locked (mlock). Of a range of which a part is locked the kernel drops what lies before that, and does not
// say so: there, each page is asked for by itself.
uint64_t NodeReclaim::purge(ClusterId c, uint64_t pages) {
  os::VmRange ranges[kClusterPages / 2];
  uint64_t masks[kClusterPages / 2];
  unsigned count = 0;
  for (BitRun run = next_run(pages, 0); run.first < kClusterPages; run = next_run(pages, run.end)) {
    ranges[count] = {zone_->address(c * kClusterPages + run.first), (run.end - run.first) * kPageSize};
    masks[count++] = run_mask(run);
  }
  uint64_t gone = 0;
  for (unsigned done = 0; done < count; ++done) {
    const unsigned more = os::vm_purge_many(ranges + done, count - done);
    for (unsigned i = done; i < done + more; ++i) gone |= masks[i];
    done += more;
    for (uint64_t left = done < count ? masks[done] : 0; left != 0; left &= left - 1) {
      const unsigned i = static_cast<unsigned>(std::countr_zero(left));
      if (os::vm_purge(zone_->address(c * kClusterPages + i), kPageSize)) gone |= uint64_t{1} << i;
    }
  }
  return gone;
}

// Claimed clean pages go without being stored again: they cannot be written, nor pinned for writing, before the handler
// has ended that. Returns those that went.
uint64_t NodeReclaim::drop_clean(ClusterId c, uint64_t pages) {
  const uint64_t gone = purge(c, pages);
  if (gone == 0) return 0;
  map_.more(c).clean.fetch_and(~gone);
  map_[c].swapped.fetch_or(gone);
  note_evicted(c, gone);
  zone_->uncharge(c, gone);
  if (map_.entry(c * kClusterPages + static_cast<unsigned>(std::countr_zero(gone))).kind() == SwapEntry::Kind::kZswap)
    list_zswap(c);
  return gone;
}

// Stores the standby pages of a cluster that the caller owns; returns the pages whose memory is of no use any more.
Pages NodeReclaim::write_out(ClusterId c, ScanControl& sc, Workbench& bench, uint64_t only) {
  SwapEntry entries[kClusterPages];
  const uint64_t pages = map_[c].standby.load() & ~map_[c].busy.load() & ~unevictable(c) & only;
  fill_dropped(c, pages);
  const uint64_t stored = store(c, pages, entries, sc.may_write, bench);
  sc.scanned += Pages(pages_in(pages));
  Pages freed;
  if (stored != 0) freed = commit(c, stored, entries);
  if (sc.may_write && (map_.more(c).rejected.load(std::memory_order_relaxed) & pages & ~stored) != 0)
    return_rejected(c);
  return freed;
}

// Moves what the pool holds of one cluster to the file; returns the pages that could not be.
uint64_t NodeReclaim::write_back_cluster(ClusterId c, Workbench& bench) {
  Cluster& cluster = map_[c];
  uint64_t mine = claim(c, cluster.swapped.load() & cluster.allocated.load());
  uint64_t pages = 0;
  unsigned count_in = 0;
  const uint64_t swapped = cluster.swapped.load() & mine;
  for (uint64_t left = swapped; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    const SwapEntry entry = map_.entry(c * kClusterPages + i);
    if (entry.kind() != SwapEntry::Kind::kZswap || ZswapPool::is_same_filled(entry.handle())) continue;
    if (!pool_.load(bench.compressor, entry.handle(), bench.pages + count_in * kPageSize)) continue;
    pages |= uint64_t{1} << i;
    ++count_in;
  }
  SwapEntry entries[kClusterPages];
  const uint64_t written = write_to_file(bench.pages, pages, entries);
  replace_entries(c, written, entries);
  count(counters_->zswpwb, pages_in(written));
  release(c, mine);
  return pages & ~written;
}

// Makes room in the pool: what was compressed longest ago goes to the file. Returns the memory that became free.
Pages NodeReclaim::write_back_pool(Workbench& bench) {
  if (files_->writer() == nullptr || !policy_.zswap) return Pages(0);
  const uint64_t before = pool_.pool_pages().v;
  ClusterId c;
  {
    LockGuard guard(lists_mutex_);
    c = zswap_.oldest();
    if (c == kNoCluster) return Pages(0);
    zswap_.remove(map_, c);
    map_[c].on_zswap = false;
  }
  if (write_back_cluster(c, bench) != 0) {
    LockGuard guard(lists_mutex_);
    if (!map_[c].on_zswap) zswap_.push(map_, c);
    map_[c].on_zswap = true;
  }
  trim_pool();
  const uint64_t after = pool_.pool_pages().v;
  return Pages(before > after ? before - after : 0);
}

}  // namespace weir
