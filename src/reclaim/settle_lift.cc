// What becomes of lifted pages (the part of NodeReclaim that decides it; lift.cc): those whose memory was given back
// are compressed, put into Standby, or filled in again where they were; those that something else refers to go back.
//
// Thread safety: as lift.cc.
// Invariants: a page that goes back is dirty, because the kernel drops what was marked and not written since.
#include <errno.h>

#include <bit>
#include <cstring>

#include "os/pins.h"
#include "os/proc.h"
#include "os/uffd.h"
#include "os/vm.h"
#include "reclaim/node.h"

namespace weir {
namespace {

unsigned pages_in(uint64_t mask) {
  return static_cast<unsigned>(std::popcount(mask));
}

bool is_zero(const char* page) {
  return page[0] == 0 && memcmp(page, page + 1, kPageSize - 1) == 0;
}

}  // namespace

// Makes empty addresses for lifted pages fit to merge with their neighbours, or map anew.
void NodeReclaim::renew_lifted(char* lifted, size_t bytes) {
  // Refused for want of memory or mappings, of which there were enough a moment ago.
  while (!os::vm_renew(lifted, bytes)) os::sleep_ms(1);
}

// Moves lifted pages back to their addresses, whatever refers to them, and has touches there reported again.
void NodeReclaim::put_back(unsigned n, ClusterId c, uint64_t pages, Lift& lift) {
  for (BitRun run = next_run(pages, 0); run.first < kClusterPages; run = next_run(pages, run.end)) {
    // One mapping at a time: over a border the kernel refuses, when it has unmapped what is at home.
    const uint64_t inner = lift.starts[n] & run_mask(run) & ~(uint64_t{1} << run.first);
    if (inner != 0) run.end = static_cast<unsigned>(std::countr_zero(inner));
    char* const home = zone_->address(c * kClusterPages + run.first);
    char* const lifted = lift.address(n, run.first);
    const size_t bytes = (run.end - run.first) * kPageSize;
    // By a bare system instruction: the C library's mlock waits (program_calls.cc).
    const bool locked = os::vm_is_locked(home, bytes);
    // Refused for want of memory or mappings, as above. What is at stake is content, so it waits.
    while (!os::vm_lift(lifted, home, bytes)) os::sleep_ms(1);
    if (locked) os::vm_lock_when_touched(home, bytes);
    while (os::uffd_register(uffd_of(c), home, bytes, shards_->write_protect) < 0) os::sleep_ms(1);
    renew_lifted(lifted, bytes);
  }
}

// Makes lifted pages dirty, so that the kernel does not drop them, and those that a child of a fork shares the
// process's own.
void NodeReclaim::keep_content(unsigned n, uint64_t pages, Lift& lift) {
  // Refused for want of memory; when a page is broken it is always refused, so that there has to be an end.
  constexpr unsigned kTries = 1000;
  for (BitRun run = next_run(pages, 0); run.first < kClusterPages; run = next_run(pages, run.end))
    for (unsigned tries = 0; tries < kTries; ++tries) {
      if (os::vm_unshare(lift.address(n, run.first), (run.end - run.first) * kPageSize)) break;
      os::sleep_ms(1);
    }
}

// Moves a lifted page whose memory was not given back; what the kernel says. It may have been written to by a device
// since it was copied. What is shared with a child of a fork becomes the process's own first.
long NodeReclaim::move_lifted(unsigned n, Pfn pfn, Lift& lift, bool& shared) {
  const unsigned i = pfn % kClusterPages;
  for (shared = false;; shared = true) {
    const long error = os::uffd_move_present(uffd_of(cluster_of(pfn)), staging_address(pfn), lift.address(n, i));
    // (-EEXIST is a move that was not counted: undo_uncounted_move.)
    if (error == -EEXIST) return 0;
    if (error != -EBUSY || shared) return error;
    keep_content(n, uint64_t{1} << i, lift);
  }
}

// Of the pages whose memory was not given back, those that are pinned go home, the others to Standby, if they can be
// moved. (Neither pinned nor shared are some of the last 31 pages that each processor faulted in, which the kernel has
// not put on its lists yet.)
NodeReclaim::Kept NodeReclaim::keep_held(unsigned n, uint64_t held, Lift::Copies copies, Lift& lift) {
  const ClusterId c = lift.clusters[n].id;
  held &= ~dropped_early(n, lift, copies, held);
  if (!shards_->move) {
    keep_content(n, held, lift);
    put_back(n, c, held, lift);
    return {held, 0};
  }
  Kept kept;
  for (uint64_t left = held; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    const uint64_t bit = uint64_t{1} << i;
    bool shared = false;
    const long error = move_lifted(n, c * kClusterPages + i, lift, shared);
    lift.refused += shared;
    // Moved, it is marked still. Who reads it in Standby would wait for ever if the kernel dropped it.
    const bool gone = error == -ENOENT ||
                      (error == 0 && os::make_dirty_if_there(shards_->proc, staging_address(c * kClusterPages + i)) ==
                                         os::Dirty::kGone);
    if (gone) continue;
    kept.back |= bit;
    if (error == 0) {
      kept.standby |= bit;
      continue;
    }
    if (!shared) keep_content(n, bit, lift);
    put_back(n, c, bit, lift);
  }
  return kept;
}

// Whether the kernel dropped a page between marking and copying: copying has put a page of zeros there, and not what
// was copied before. A device may have written zeros, too: then it is a page of this process's own.
bool NodeReclaim::was_dropped(const char* page, const char* copy, const char* before) const {
  return is_zero(copy) && !is_zero(before) && !os::is_own_page(shards_->proc, page);
}

// Of the pages that are there still, those that were dropped. Their copies become what was copied before.
uint64_t NodeReclaim::dropped_early(unsigned n, const Lift& lift, Lift::Copies copies, uint64_t held) {
  uint64_t dropped = 0;
  for (uint64_t left = held; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    char* const now = Lift::copy_of(copies.content, lift.clusters[n].seen, i);
    const char* const before = Lift::copy_of(copies.before, lift.clusters[n].seen, i);
    if (!was_dropped(lift.address(n, i), now, before)) continue;
    memcpy(now, before, kPageSize);
    dropped |= uint64_t{1} << i;
  }
  return dropped;
}

// Maps copies of pages at their addresses.
void NodeReclaim::fill_home(ClusterId c, uint64_t pages, uint64_t seen, char* content) {
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    for (int error = 0;; os::sleep_ms(1)) {
      char* const home = zone_->address(c * kClusterPages + i);
      // Nothing but want of memory is in its way, and there is no other copy.
      if (os::uffd_copy(uffd_of(c), home, Lift::copy_of(content, seen, i), kPageSize, false, error) == kPageSize) break;
      if (error == EEXIST) break;
    }
  }
}

// Puts copies of pages into Standby; returns those that are there.
uint64_t NodeReclaim::stage(ClusterId c, uint64_t pages, uint64_t seen, char* content) {
  uint64_t staged = 0;
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    int error = 0;
    char* const to = staging_address(c * kClusterPages + i);
    if (os::uffd_copy(uffd_of(c), to, Lift::copy_of(content, seen, i), kPageSize, false, error) == kPageSize)
      staged |= uint64_t{1} << i;
  }
  enter_standby(c, staged);
  return staged;
}

// Puts copies of pages into the pool; returns those that are stored.
uint64_t NodeReclaim::store_lifted(uint64_t pages, uint64_t seen, char* content, SwapEntry* entries, uint64_t& rejected,
                                   Compressor& compressor) {
  uint64_t stored = 0;
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    const ZswapPool::Stored result = pool_.store(compressor, policy_.codec, Lift::copy_of(content, seen, i));
    if (result.result == ZswapPool::Result::kStored) {
      entries[i] = SwapEntry(SwapEntry::Kind::kZswap, result.handle);
      stored |= uint64_t{1} << i;
    } else if (result.result == ZswapPool::Result::kIncompressible) {
      rejected |= uint64_t{1} << i;
      count(counters_->zswap_reject_compress);
    } else {
      break;  // the pool is full: compressing the others would most likely be in vain
    }
  }
  return stored;
}

// Lets stored pages of a lifted cluster go; those that were freed meanwhile are forgotten. Returns how many went.
Pages NodeReclaim::commit_lifted(ClusterId c, uint64_t stored, const SwapEntry* entries) {
  const uint64_t leaving = stored & map_[c].allocated.load();
  for (uint64_t left = stored & ~leaving; left != 0; left &= left - 1) drop(&entries[std::countr_zero(left)], 1);
  for (uint64_t left = leaving; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    map_.entry(c * kClusterPages + i) = entries[i];
    if (ZswapPool::is_same_filled(entries[i].handle())) count(counters_->zswap_same_filled);
  }
  count(counters_->zswpout, pages_in(leaving));
  note_evicted(c, leaving);
  map_[c].swapped.fetch_or(leaving);
  zone_->uncharge(c, stored);
  if (leaving != 0) list_zswap(c);
  return Pages(pages_in(leaving));
}

// Decides what becomes of the pages of one cluster, and gives them and it up.
NodeReclaim::Settled NodeReclaim::settle_lifted(unsigned n, Lift::Copies copies, Kept kept, bool may_write,
                                                Workbench& bench) {
  const auto [c, seen, wanted, at_once, missed] = bench.lift.clusters[n];
  const auto [back, standby] = kept;
  uint64_t rejected = 0;
  if (standby != 0) enter_standby(c, standby);
  count(counters_->pglift_back, pages_in(back));
  SwapEntry entries[kClusterPages];
  const uint64_t stored = store_lifted(at_once & ~back, seen, copies.content, entries, rejected, bench.compressor);
  uint64_t home = seen & ~stored & ~back;
  // What the pool does not take is left to a file, if there is one.
  const bool to_file = may_write && files_->writer() != nullptr;
  uint64_t staged = 0;
  if (const uint64_t pages = home & (to_file ? wanted : wanted & ~at_once); pages != 0)
    staged = stage(c, pages, seen, copies.content);
  home &= ~staged;
  if (rejected != 0) note_rejected(c, rejected);
  fill_home(c, home, seen, copies.content);
  if (const uint64_t pinned = back & wanted & ~standby; pinned != 0) {
    // Tried again when their turn comes; until then they are as good as active.
    map_[c].active.fetch_or(pinned, std::memory_order_relaxed);
    count(counters_->pgrotated, pages_in(pinned));
  }
  const Pages gone = commit_lifted(c, stored, entries);
  release(c, seen);
  relist(c);
  return {gone, Pages(pages_in(staged | standby))};
}

}  // namespace weir
