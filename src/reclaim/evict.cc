// How pages leave memory (the part of NodeReclaim that does it): unmapped by clusters into Standby, and from there, if
// nobody touched them meanwhile, compressed or written to the swap file. Everything that takes long is done on pages at
// their staging addresses, which nobody else changes; a page is busy only while it is moved or its state changes.
#include <errno.h>
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

// The first run of set bits at or after `from`: [first, end).
struct BitRun {
  unsigned first, end;
};
BitRun next_run(uint64_t mask, unsigned from) {
  if (from >= kClusterPages || mask >> from == 0) return {kClusterPages, kClusterPages};
  const unsigned first = from + static_cast<unsigned>(std::countr_zero(mask >> from));
  const uint64_t inverted = ~mask >> first;
  return {first, inverted == 0 ? kClusterPages : first + static_cast<unsigned>(std::countr_zero(inverted))};
}

uint64_t run_mask(BitRun run) {
  const unsigned length = run.end - run.first;
  return (length == kClusterPages ? ~uint64_t{0} : (uint64_t{1} << length) - 1) << run.first;
}

}  // namespace

bool NodeReclaim::own(ClusterId c) {
  return !map_[c].owned.exchange(true, std::memory_order_acquire);
}

// Moves pages [first, end) of a cluster to staging; returns those that stay because they are pinned or cannot be
// accessed. A page shared with a child of a fork must become the process's own first. Where the program divided the
// mapping (mprotect), pages go one by one.
uint64_t NodeReclaim::move_run_out(ClusterId c, unsigned first, unsigned end) {
  uint64_t stay = 0;
  unsigned unshared_end = 0;
  const Pfn base = c * kClusterPages;
  while (first < end) {
    int error = 0;
    const size_t bytes = (end - first) * kPageSize;
    char* const to = staging_address(base + first);
    char* const from = zone_->address(base + first);
    size_t moved = os::uffd_move(uffd_of(c), to, from, bytes, error);
    if (moved == 0 && bytes > kPageSize && (error == EINVAL || error == ENOENT))
      moved = os::uffd_move(uffd_of(c), to, from, kPageSize, error);
    first += static_cast<unsigned>(moved >> kPageShift);
    if (first >= end) break;
    if (error == EBUSY && first >= unshared_end) {
      // Holes must not be populated: only what is there is asked for.
      BitRun run = next_run(os::vm_resident_mask(zone_->address(base), kClusterPages), first);
      if (run.end > end) run.end = end;
      if (run.first == first && os::vm_unshare(zone_->address(base + first), (run.end - first) * kPageSize)) {
        unshared_end = run.end;
        continue;
      }
    }
    stay |= uint64_t{1} << first;
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

// The way of kernels that cannot move pages: what is written to the pages waits while they are copied.
uint64_t NodeReclaim::copy_run_out(ClusterId c, unsigned first, unsigned end) {
  const Pfn base = c * kClusterPages;
  char* from = zone_->address(base + first);
  const size_t bytes = (end - first) * kPageSize;
  const uint64_t there = os::vm_resident_mask(zone_->address(base), kClusterPages) & run_mask({first, end});
  if (os::uffd_write_protect(uffd_of(c), from, bytes, true) < 0) return there;
  for (uint64_t left = there; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    memcpy(staging_address(base + i), zone_->address(base + i), kPageSize);
  }
  if (os::vm_purge(from, bytes)) return 0;
  // Locked memory stays; the copies are dropped with the next garbage.
  static_cast<void>(os::uffd_write_protect(uffd_of(c), from, bytes, false));
  static_cast<void>(os::vm_purge(staging_address(base + first), bytes));
  return there;
}

// Moves claimed pages to staging. Returns those that are there afterwards; pages that never had memory are counted no
// more.
uint64_t NodeReclaim::move_out(ClusterId c, uint64_t pages) {
  uint64_t stay = 0;
  for (BitRun run = next_run(pages, 0); run.first < kClusterPages; run = next_run(pages, run.end))
    stay |= shards_->move ? move_run_out(c, run.first, run.end) : copy_run_out(c, run.first, run.end);
  uint64_t there = os::vm_resident_mask(staging_address(c * kClusterPages), kClusterPages) & pages;
  const uint64_t unclear = pages & ~there & ~stay & zone_->resident_mask(c);
  if (unclear != 0 && shards_->move && os::vm_system_swaps()) there |= find_swapped(c, unclear);
  if (stay != 0) {
    // Tried again when their turn comes; until then they are as good as active.
    map_[c].active.fetch_or(stay, std::memory_order_relaxed);
    count(counters_->pgrotated, pages_in(stay));
  }
  zone_->uncharge(c, pages & ~there & ~stay);
  return there;
}

// Unmaps the inactive pages of a cluster that the caller owns; returns how many are in Standby now.
Pages NodeReclaim::unmap(ClusterId c, ScanControl& sc) {
  Cluster& cluster = map_[c];
  if (!arm(c / kClustersPerPageblock)) return Pages(0);
  // Staging addresses must be empty before something is moved there.
  if (cluster.garbage.load() != 0) drop_garbage(c);
  uint64_t idle = cluster.allocated.load() & ~cluster.standby.load() & ~cluster.garbage.load();
  const Pages seen(pages_in(idle & zone_->resident_mask(c)));
  sc.visited += seen;
  sc.scanned += seen;
  if (const uint64_t active = cluster.active.load(std::memory_order_relaxed) & idle; active != 0) {
    cluster.active.fetch_and(~active, std::memory_order_relaxed);
    count(counters_->pgdeactivate, pages_in(active));
    idle &= ~active;
  }
  if ((idle & zone_->resident_mask(c)) == 0) return Pages(0);
  uint64_t mine = claim(c, idle);
  // Freed or gone to Standby between the look and the claim.
  const uint64_t unfit = mine & ~(cluster.allocated.load() & ~cluster.standby.load() & ~cluster.garbage.load());
  if (unfit != 0) release(c, unfit);
  mine &= ~unfit;
  const uint64_t swapped = cluster.swapped.load() & mine;
  const uint64_t out = move_out(c, mine) & ~swapped;
  zone_->charge(c, out);
  cluster.standby.fetch_or(out);
  nr_standby_.fetch_add(pages_in(out), std::memory_order_relaxed);
  release(c, mine);
  // Pages that became known to be there only by being moved were not seen.
  sc.scanned -= Pages(pages_in(out)) < sc.scanned ? Pages(pages_in(out)) : sc.scanned;
  return Pages(pages_in(out));
}

// Gives the memory at staging addresses that nobody needs back. The caller owns the cluster.
void NodeReclaim::drop_garbage(ClusterId c) {
  const uint64_t garbage = map_[c].garbage.load();
  for (BitRun run = next_run(garbage, 0); run.first < kClusterPages; run = next_run(garbage, run.end)) {
    char* first = staging_address(c * kClusterPages + run.first);
    if (!os::vm_purge(first, (run.end - run.first) * kPageSize)) continue;
    map_[c].garbage.fetch_and(~run_mask(run));
    zone_->add_outside(-static_cast<int64_t>(run.end - run.first));
  }
}

// Writes pages to contiguous slots of the swap file; returns those that were written.
uint64_t NodeReclaim::store_in_file(ClusterId c, uint64_t pages, SwapEntry* entries) {
  uint64_t stored = 0;
  SwapFile* file = files_->writer();
  for (BitRun run = next_run(pages, 0); run.first < kClusterPages && file != nullptr;) {
    Slots slots = file->alloc(run.end - run.first);
    if (slots.count == 0) break;
    const unsigned tried = slots.count;
    // What could not be written stays in Standby.
    if (file->write(slots, staging_address(c * kClusterPages + run.first)) != IoResult::kOk)
      count(counters_->swap_write_error);
    for (unsigned i = 0; i < slots.count; ++i) entries[run.first + i] = files_->entry(slots.first + i);
    if (slots.count != 0) stored |= run_mask({run.first, run.first + slots.count});
    count(counters_->pswpout, slots.count);
    run = next_run(pages, run.first + tried);
  }
  return stored;
}

// Puts copies of standby pages into the pool, what does not compress into the file; returns those that are stored. What
// was found not to compress stays so while it is in Standby: without a file it is not tried again.
uint64_t NodeReclaim::store(ClusterId c, uint64_t pages, SwapEntry* entries, Workbench& bench) {
  if (!policy_.zswap) return store_in_file(c, pages, entries);
  uint64_t stored = 0, rejected = pages & map_.rejected(c).load(std::memory_order_relaxed);
  for (uint64_t left = pages & ~rejected; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    const ZswapPool::Stored result = pool_.store(bench.compressor, staging_address(c * kClusterPages + i));
    if (result.result == ZswapPool::Result::kStored) {
      entries[i] = SwapEntry(SwapEntry::Kind::kZswap, result.handle);
      stored |= uint64_t{1} << i;
      if (ZswapPool::is_same_filled(result.handle)) count(counters_->zswap_same_filled);
    } else {
      rejected |= uint64_t{1} << i;
      if (result.result == ZswapPool::Result::kIncompressible) {
        map_.rejected(c).fetch_or(uint64_t{1} << i, std::memory_order_relaxed);
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
  return stored | (rejected != 0 ? store_in_file(c, rejected, entries) : 0);
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
  const uint64_t evicted = nr_evicted_.fetch_add(pages_in(leaving), std::memory_order_relaxed);
  cluster.evicted.store(static_cast<uint32_t>(evicted), std::memory_order_relaxed);
  nr_swapped_.fetch_add(pages_in(leaving), std::memory_order_relaxed);
  cluster.swapped.fetch_or(leaving);
  zone_->uncharge(c, leaving);
  leave_standby(c, leaving);
  release(c, mine);
  for (uint64_t left = pages & ~leaving; left != 0; left &= left - 1) drop(&entries[std::countr_zero(left)], 1);
  if (compressed) {
    LockGuard guard(lists_mutex_);
    if (!cluster.on_zswap) zswap_.push(map_, c);
    cluster.on_zswap = true;
  }
  return Pages(pages_in(leaving));
}

// Stores the standby pages of a cluster that the caller owns and frees their memory; returns the pages freed.
Pages NodeReclaim::write_out(ClusterId c, ScanControl& sc, Workbench& bench) {
  SwapEntry entries[kClusterPages];
  const uint64_t pages = map_[c].standby.load() & ~map_[c].busy.load();
  const uint64_t stored = store(c, pages, entries, bench);
  sc.scanned += Pages(pages_in(pages));
  Pages freed;
  if (stored != 0) freed = commit(c, stored, entries);
  drop_garbage(c);
  count(sc.kswapd ? counters_->pgsteal_kswapd : counters_->pgsteal_direct, freed.v);
  return freed;
}

// Moves what the pool holds of one cluster to the file; returns the pages that could not be.
uint64_t NodeReclaim::write_back_cluster(ClusterId c, SwapFile& file, Workbench& bench) {
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
  uint64_t left = pages;
  for (unsigned done = 0; done < count_in;) {
    Slots slots = file.alloc(count_in - done);
    if (slots.count == 0) break;
    if (file.write(slots, bench.pages + done * kPageSize) != IoResult::kOk) count(counters_->swap_write_error);
    if (slots.count == 0) break;
    for (unsigned n = 0; n < slots.count; ++n, left &= left - 1) {
      SwapEntry& entry = map_.entry(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left)));
      const SwapEntry old = entry;
      entry = files_->entry(slots.first + n);
      drop(&old, 1);
    }
    done += slots.count;
    count(counters_->zswpwb, slots.count);
    count(counters_->pswpout, slots.count);
  }
  release(c, mine);
  return left;
}

// Makes room in the pool: what was compressed longest ago goes to the file. Returns the memory that became free.
Pages NodeReclaim::write_back_pool(Workbench& bench) {
  SwapFile* file = files_->writer();
  if (file == nullptr || !policy_.zswap) return Pages(0);
  const uint64_t before = pool_.pool_pages().v;
  ClusterId c;
  {
    LockGuard guard(lists_mutex_);
    c = zswap_.oldest();
    if (c == kNoCluster) return Pages(0);
    zswap_.remove(map_, c);
    map_[c].on_zswap = false;
  }
  if (write_back_cluster(c, *file, bench) != 0) {
    LockGuard guard(lists_mutex_);
    if (!map_[c].on_zswap) zswap_.push(map_, c);
    map_[c].on_zswap = true;
  }
  trim_pool();
  const uint64_t after = pool_.pool_pages().v;
  return Pages(before > after ? before - after : 0);
}

}  // namespace weir
