#include "reclaim/node.h"

#include <bit>

#include "base/bitmap.h"
#include "base/check.h"
#include "os/proc.h"
#include "os/service_thread.h"
#include "os/uffd.h"
#include "os/undisturbed.h"
#include "os/vm.h"

namespace weir {
namespace {

// The compressed pool of a bare arena lies in the 4 TiB above all arenas and staging addresses, so that what the limit
// is on can be told from the program's own memory in /proc/PID/smaps. Programs begin at 0x5555..., and the kernel puts
// nothing below them. Where something lies there nevertheless, the pool is wherever the kernel likes.
void* pool_wish(StagingPlace staging) {
  constexpr uintptr_t kPoolsBegin = uintptr_t{0x5000} << 32, kPoolsSpan = uintptr_t{1} << 42;
  if (!staging.bare) return nullptr;
  return reinterpret_cast<void*>(kPoolsBegin + reinterpret_cast<uintptr_t>(staging.memory) % kPoolsSpan);
}

}  // namespace

bool NodeReclaim::init(Pages capacity, StagingPlace staging, const ReclaimPolicy& policy, Shards& shards,
                       SwapFiles& files, ReclaimCounters& counters) {
  staging_ = staging;
  policy_ = policy;
  shards_ = &shards;
  files_ = &files;
  counters_ = &counters;
  nr_pageblocks_ = static_cast<uint32_t>((capacity.v + kPageblockPages - 1) / kPageblockPages);
  armed_ = static_cast<std::atomic<uint64_t>*>(os::vm_map(align_up(nr_pageblocks_ / 8 + 8, kPageSize)));
  if (armed_ == nullptr || !map_.init(capacity)) return false;
  return !policy.zswap || init_pool();
}

// Room for as much again as slabs that are not full may take; and, because the limit may be raised, for many times
// that, where address space is not counted.
bool NodeReclaim::init_pool() {
  constexpr uint64_t kGrowth = 16;
  const Pages max = policy_.zswap_max;
  zswap_room_ = os::address_space_limit() == SIZE_MAX ? Pages(max.v * kGrowth) : max;
  pool_.set_max_pages(max);
  if (pool_.init(2 * bytes_of(zswap_room_), pool_wish(staging_))) return true;
  zswap_room_ = max;
  return pool_.init(align_up(2 * bytes_of(max), kPageSize), pool_wish(staging_));
}

void NodeReclaim::change_policy(const ReclaimPolicy& policy) {
  policy_.codec = policy.codec;
  policy_.standby_percent = policy.standby_percent;
  policy_.most_readahead = policy.most_readahead;
  const Pages wanted = policy.zswap_max;
  policy_.zswap_max = wanted < zswap_room_ ? wanted : zswap_room_;
  pool_.set_max_pages(policy_.zswap_max);
}

ZoneHooks NodeReclaim::hooks() {
  return {this, cover, allocated, forget, drop, keep, own, retire, content};
}

// In this order: who puts a page away notes where it is, then that it has no memory any more.
uint64_t NodeReclaim::content(void* self, uint32_t cluster, bool unseen) {
  const auto& node = *static_cast<NodeReclaim*>(self);
  const uint64_t resident = node.zone_->resident_mask(cluster), known = resident | node.map_[cluster].swapped.load();
  return unseen && node.has_unseen_.load(std::memory_order_relaxed) ? known | node.map_[cluster].allocated.load()
                                                                    : known;
}

bool NodeReclaim::cover(void* self, Pages accessible) {
  return static_cast<NodeReclaim*>(self)->map_.cover(accessible);
}

void NodeReclaim::allocated(void* self, Pfn first, Pages count) {
  auto& node = *static_cast<NodeReclaim*>(self);
  for_clusters(first, count, [&](ClusterId c, uint64_t pages) {
    node.map_[c].allocated.fetch_or(pages, std::memory_order_relaxed);
    if ((node.zone_->resident_mask(c) & pages) == 0 || node.map_[c].listed.load(std::memory_order_relaxed)) return;
    os::undisturbed([&node, c] { node.list_present(c); });
  });
}

void NodeReclaim::forget(void* self, Pfn first, Pages count) {
  auto& node = *static_cast<NodeReclaim*>(self);
  for_clusters(first, count, [&](ClusterId c, uint64_t pages) { node.forget_pages(c, pages); });
  if (node.has_unseen_.load(std::memory_order_relaxed)) node.empty_unseen(first, count);
}

void NodeReclaim::keep(void* self, Pfn first, Pages count) {
  for_clusters(first, count, [&](ClusterId c, uint64_t pages) {
    static_cast<NodeReclaim*>(self)->map_.more(c).unevictable.fetch_or(pages, std::memory_order_relaxed);
  });
}

void NodeReclaim::drop(void* self, Pfn first, Pages count, bool begin) {
  auto& node = *static_cast<NodeReclaim*>(self);
  for_clusters(first, count, [&](ClusterId c, uint64_t pages) {
    if (!begin) return node.release_from_outside(c, pages);
    node.claim_wait(c, pages);
    node.forget_content(c, pages);
  });
}

// Of claimed pages.
void NodeReclaim::forget_content(ClusterId c, uint64_t pages) {
  Cluster& cluster = map_[c];
  map_.more(c).rounds.forget(cluster.active, pages);
  forget_rejected(c, pages);
  if (const uint64_t standby = cluster.standby.load() & pages; standby != 0) {
    zone_->uncharge(c, standby);
    leave_standby(c, standby);
  }
  SwapEntry entries[kClusterPages];
  unsigned count = 0;
  end_clean(c, pages, entries, count);
  if (const uint64_t swapped = cluster.swapped.load() & pages; swapped != 0) {
    for (uint64_t left = swapped; left != 0; left &= left - 1) {
      const Pfn pfn = c * kClusterPages + static_cast<unsigned>(std::countr_zero(left));
      entries[count++] = map_.entry(pfn);
      if (map_.entry(pfn).kind() == SwapEntry::Kind::kPoisoned) make_accessible(pfn);
    }
    leave_swap(c, swapped, 0);
  }
  if (count != 0) drop(entries, count);
}

// Ends that a touch of the page is refused, as it is when its content was lost.
void NodeReclaim::make_accessible(Pfn pfn) {
  char* const page = zone_->address(pfn);
  static_cast<void>(os::vm_purge(page, kPageSize));
  // Where it could not be poisoned: touches are not seen, or Linux is older than 6.6.
  if (!is_armed(pfn / kPageblockPages) || !shards_->poison) static_cast<void>(os::vm_commit(page, kPageSize));
}

// By a thread of the program. Only one of weir's own can wake whoever touched the pages meanwhile (which a correct
// program does not).
void NodeReclaim::release_from_outside(ClusterId c, uint64_t pages) {
  map_[c].busy.fetch_and(~pages);
  if ((map_[c].wanted.load() & pages) == 0) return;
  map_[c].wanted.fetch_and(~pages);
  shards_->ask_for_wake();
}

// The order matters: an evictor takes the busy bit first and looks at `allocated` then.
void NodeReclaim::forget_pages(ClusterId c, uint64_t pages) {
  Cluster& cluster = map_[c];
  cluster.allocated.fetch_and(~pages);
  if (std::atomic<uint64_t>& kept = map_.more(c).unevictable; (kept.load(std::memory_order_relaxed) & pages) != 0)
    kept.fetch_and(~pages, std::memory_order_relaxed);
  if ((retired(c) & pages) != 0) revive(c, retired(c) & pages);
  if (((cluster.busy.load() | cluster.standby.load() | cluster.swapped.load() | cluster.active.load() |
        map_.more(c).clean.load() | map_.more(c).rejected.load(std::memory_order_relaxed)) &
       pages) == 0)
    return disclaim(c, pages);
  os::undisturbed([this, c, pages] {
    claim_wait(c, pages);
    forget_content(c, pages);
    disclaim(c, pages);
    release_from_outside(c, pages);
  });
}

uint64_t NodeReclaim::claim(ClusterId c, uint64_t pages) {
  return pages & ~map_[c].busy.fetch_or(pages);
}

// Pages stay busy for some 100 microseconds, or for as long as a read takes.
void NodeReclaim::claim_wait(ClusterId c, uint64_t pages) {
  for (uint64_t mine = claim(c, pages); mine != pages; mine |= claim(c, pages & ~mine)) os::yield();
}

void NodeReclaim::release(ClusterId c, uint64_t pages) {
  Cluster& cluster = map_[c];
  cluster.busy.fetch_and(~pages);
  if ((cluster.wanted.load() & pages) == 0) return;
  cluster.wanted.fetch_and(~pages);
  os::uffd_wake(uffd_of(c), zone_->address(c * kClusterPages), kClusterBytes);
}

void NodeReclaim::activate(ClusterId c, uint64_t page) {
  map_.more(c).rounds.came_soon(map_[c].active, page);
  count(counters_->pgactivate);
}

void NodeReclaim::list_present(ClusterId c) {
  if (map_[c].listed.load(std::memory_order_relaxed)) return;
  LockGuard guard(lists_mutex_);
  if (map_[c].listed.exchange(true, std::memory_order_relaxed)) return;
  present_.push(map_, c);
}

void NodeReclaim::leave_standby(ClusterId c, uint64_t pages) {
  // In this order: a child of a fork in between must not lose sight of the memory there.
  map_[c].garbage.fetch_or(pages);
  end_standby(c, pages);
  zone_->add_outside(std::popcount(pages));
}

void NodeReclaim::end_standby(ClusterId c, uint64_t pages) {
  map_[c].standby.fetch_and(~pages);
  forget_rejected(c, pages);
  nr_standby_.fetch_sub(static_cast<uint64_t>(std::popcount(pages)), std::memory_order_relaxed);
  count_away(c, pages, -1, Away::kStandby);
}

void NodeReclaim::leave_swap(ClusterId c, uint64_t pages, uint64_t clean) {
  map_[c].swapped.fetch_and(~pages);
  if (clean != 0) map_.more(c).clean.fetch_or(clean);
  nr_swapped_.fetch_sub(static_cast<uint64_t>(std::popcount(pages)), std::memory_order_relaxed);
  count_away(c, pages, -1, Away::kSwapped);
  for (uint64_t left = pages & ~clean; left != 0; left &= left - 1)
    map_.entry(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left))) = SwapEntry();
}

uint64_t NodeReclaim::end_clean(ClusterId c, uint64_t pages, SwapEntry* entries, unsigned& count) {
  const uint64_t ended = map_.more(c).clean.load() & pages;
  if (ended == 0) return 0;
  map_.more(c).clean.fetch_and(~ended);
  for (uint64_t left = ended; left != 0; left &= left - 1) {
    SwapEntry& entry = map_.entry(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left)));
    entries[count++] = entry;
    entry = SwapEntry();
  }
  return ended;
}

// A copy in a file costs no memory, as long as there is room for what must be written (kernel: vm_swap_full). One in
// the pool would take a third of a page from what fits: measured, that costs more than compressing the page again.
bool NodeReclaim::may_keep(SwapEntry entry) const {
  return shards_->write_protect && entry.kind() == SwapEntry::Kind::kFile &&
         swapped_pages() * 2 < files_->of(entry).capacity() && !files_->is_old(entry);
}

void NodeReclaim::wake_all() {
  const size_t bytes = bytes_of(zone_->accessible_estimate());
  for (unsigned i = 0; i < shards_->count; ++i) os::uffd_wake(shards_->fds[i], zone_->address(0), bytes);
}

unsigned NodeReclaim::load_many(const SwapEntry* entries, unsigned count, Workbench& bench) {
  if (entries[0].kind() == SwapEntry::Kind::kFile) {
    uint64_t bad = 0;
    const IoResult result = files_->of(entries[0]).read(entries[0].slot(), count, bench.pages, bad);
    if (result != IoResult::kOk && bad == 0) return 0;
    const unsigned good = bad == 0 ? kClusterPages : static_cast<unsigned>(std::countr_zero(bad));
    return good < count ? good : count;
  }
  if (entries[0].kind() != SwapEntry::Kind::kZswap) return 0;
  for (unsigned i = 0; i < count; ++i)
    if (!pool_.load(bench.compressor, entries[i].handle(), bench.pages + i * kPageSize)) return i;
  return count;
}

void NodeReclaim::drop(const SwapEntry* entries, unsigned count) {
  uint64_t handles[kClusterPages];
  unsigned nr = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (entries[i].kind() == SwapEntry::Kind::kZswap) handles[nr++] = entries[i].handle();
    if (entries[i].kind() == SwapEntry::Kind::kFile) files_->of(entries[i]).free(entries[i].slot(), 1);
  }
  if (nr == 0) return;
  pool_.drop_many(handles, nr);
  sync_pool();
}

bool NodeReclaim::refaults_soon(Pfn pfn) const {
  const uint16_t now = static_cast<uint16_t>(nr_evicted_.load(std::memory_order_relaxed) >> ClusterMap::kEvictedShift);
  const uint16_t since = static_cast<uint16_t>(now - map_.evicted_at(pfn).load(std::memory_order_relaxed));
  // Half of what is in use: with all of it, random touches are 5 % slower, and with a quarter more than half of the hot
  // pages are taken for cold ones when nine of ten touches go to a fifth of the memory.
  return uint64_t{since} << ClusterMap::kEvictedShift <= zone_->used().v / 2;
}

void NodeReclaim::sync_pool() {
  const uint64_t now = pool_.pool_pages().v;
  const uint64_t before = pool_counted_.exchange(now, std::memory_order_relaxed);
  if (now != before) zone_->add_outside(static_cast<int64_t>(now - before));
}

Pages NodeReclaim::trim_pool() {
  if (!policy_.zswap) return Pages(0);
  const Pages freed = pool_.shrink();
  sync_pool();
  return freed;
}

bool NodeReclaim::arm(uint32_t pageblock) {
  if (is_armed(pageblock)) return true;
  const ClusterId c = pageblock * kClustersPerPageblock;
  const Pfn first = c * kClusterPages;
  const size_t bytes = kPageblockPages * kPageSize;
  // A block that ends the arena may not be accessible throughout yet: it is armed when it is.
  if (first + kPageblockPages > zone_->accessible_estimate().v) return false;
  LockGuard guard(lists_mutex_);
  if (is_armed(pageblock)) return true;
  char* staging = staging_address(first);
  // Somebody else's mapping may be there, another copy of weir's: then these pages stay where they are.
  if (!(staging_.bare ? os::vm_map_new(staging, bytes) : os::vm_commit(staging, bytes))) return false;
  os::vm_huge_pages(staging, bytes, false);
  if (!register_pageblock(pageblock)) {
    if (staging_.bare) os::vm_unmap(staging, bytes);
    return false;
  }
  armed_[pageblock / 64].fetch_or(uint64_t{1} << (pageblock % 64));
  count(counters_->pageblock_armed);
  return true;
}

bool NodeReclaim::register_pageblock(uint32_t pageblock) {
  const ClusterId c = pageblock * kClustersPerPageblock;
  const size_t bytes = kPageblockPages * kPageSize;
  const int fd = uffd_of(c);
  // Pages move between addresses of the same userfaultfd only, and copies are put into registered ones.
  if (os::uffd_register(fd, staging_address(c * kClusterPages), bytes, false) < 0) return false;
  const auto adopt = [&](Pfn first, Pfn end) {
    return os::uffd_register(fd, zone_->address(first), (end - first) * kPageSize, shards_->write_protect) >= 0;
  };
  // What else the program has mapped there may be of a kind that cannot be registered.
  Pfn first = c * kClusterPages;
  const Pfn end = first + static_cast<Pfn>(kPageblockPages);
  for (Pfn at = first; at < end; ++at) {
    if ((foreign(cluster_of(at)) & page_bit(at)) == 0) continue;
    if (first < at && !adopt(first, at)) return false;
    first = at + 1;
  }
  return first == end || adopt(first, end);
}

void NodeReclaim::touch_all() {
  const ClusterId end = static_cast<ClusterId>(zone_->accessible_estimate().v / kClusterPages);
  for (ClusterId c = 0; c < end; ++c) {
    for (uint64_t left = map_[c].standby.load() | map_[c].swapped.load(); left != 0; left &= left - 1) {
      const Pfn pfn = c * kClusterPages + static_cast<unsigned>(std::countr_zero(left));
      // A lost page is as lost to the child.
      if (entry(pfn).kind() != SwapEntry::Kind::kPoisoned)
        static_cast<void>(*static_cast<const volatile char*>(static_cast<const void*>(zone_->address(pfn))));
    }
  }
}

void NodeReclaim::lock_for_fork() {
  lists_mutex_.lock_for_fork();
  if (policy_.zswap) pool_.lock_for_fork();
}

void NodeReclaim::unlock_for_fork() {
  if (policy_.zswap) pool_.unlock_for_fork();
  lists_mutex_.unlock_for_fork();
}

// Only fills were under way (evictors are kept out). Of a page that was being filled, its mapping tells whether it was
// before the kernel copied the mappings: then it is there, and what it was filled from is not needed any more.
void NodeReclaim::settle(ClusterId c, uint64_t present) {
  Cluster& cluster = map_[c];
  const uint64_t busy = cluster.busy.load();
  cluster.wanted.store(0);
  cluster.owned.store(false);
  // Write protection ended with the fork.
  SwapEntry entries[kClusterPages];
  unsigned nr_entries = 0;
  if (end_clean(c, ~busy, entries, nr_entries) != 0) drop(entries, nr_entries);
  map_.more(c).clean.store(0);
  if (busy == 0) return;
  const uint64_t there = present & busy;
  // What a page was copied from is still at its staging address.
  const uint64_t copied = cluster.standby.load() & there;
  cluster.standby.fetch_and(~copied);
  cluster.garbage.fetch_or(copied);
  cluster.swapped.fetch_and(~there);
  for (uint64_t left = there; left != 0; left &= left - 1)
    map_.entry(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left))) = SwapEntry();
  zone_->charge(c, there);
  zone_->uncharge(c, busy & cluster.swapped.load());
  cluster.busy.store(0);
}

// Pages that are away and yet there were touched by the C library in the child, before faults were seen again: it
// clears what other threads had in the heap (nptl: reclaim_stacks). Their content is what was swapped out, not the
// zeros that the kernel supplied; what else may be touched so early was made present before the fork (malloc/fork.cc).
void NodeReclaim::undo_stray_touches(ClusterId c, uint64_t present) {
  const uint64_t stray = present & (map_[c].swapped.load() | map_[c].standby.load());
  for (uint64_t left = stray; left != 0; left &= left - 1)
    static_cast<void>(
        os::vm_purge(zone_->address(c * kClusterPages + static_cast<unsigned>(std::countr_zero(left))), kPageSize));
}

// Of owners, what is away was forgotten before.
bool NodeReclaim::after_fork_in_child(Fork kind) {
  uint64_t standby = 0, swapped = 0, garbage = 0;
  // The parent's handlers were at work, and whoever was counted there would be waited for for ever.
  refilling_.store(0);
  evictor_.store(0);
  const uint32_t end = static_cast<uint32_t>(zone_->accessible_estimate().v / kPageblockPages);
  for (uint32_t block = 0; block < end; ++block) {
    if (!is_armed(block)) continue;
    if (kind == Fork::kRegister && !register_pageblock(block)) return false;
    if (kind == Fork::kNothingAway) armed_[block / 64].fetch_and(~(uint64_t{1} << (block % 64)));
    uint64_t present[kClustersPerPageblock];
    const ClusterId first = block * kClustersPerPageblock;
    os::vm_resident_masks(zone_->address(first * kClusterPages), kClustersPerPageblock, present);
    for (ClusterId c = first; c < first + kClustersPerPageblock; ++c) {
      settle(c, present[c - first]);
      undo_stray_touches(c, present[c - first]);
      count_away(c, map_[c].standby.load(), 1, Away::kStandby);
      count_away(c, map_[c].swapped.load(), 1, Away::kSwapped);
      standby += static_cast<uint64_t>(std::popcount(map_[c].standby.load()));
      swapped += static_cast<uint64_t>(std::popcount(map_[c].swapped.load()));
      garbage += static_cast<uint64_t>(std::popcount(map_[c].garbage.load()));
    }
  }
  nr_standby_.store(standby);
  nr_swapped_.store(swapped);
  const uint64_t pool = policy_.zswap ? pool_.pool_pages().v : 0;
  pool_counted_.store(pool, std::memory_order_relaxed);
  zone_->set_outside(Pages(garbage + pool));
  return true;
}

}  // namespace weir
