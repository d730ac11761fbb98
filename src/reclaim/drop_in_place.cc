// How pages that lie in many short runs leave memory without being lifted (compare lift.cc), where the kernel can mark
// many ranges by one call (Linux 6.14). Lifting interrupts the other processors three times a cluster, because each
// lifted cluster is a mapping; and what lies between, which the program uses, is away meanwhile and has to be copied
// back. Here it is five times for all clusters of a stripe that lie side by side, and what is between can be read.
//
// The pages are write-protected, so that the program cannot change them; copied; marked (MADV_FREE); copied once more,
// because a device may have written to them meanwhile; and given back, which the kernel refuses for whatever anything
// else refers to (MADV_PAGEOUT). What it refuses becomes dirty again, by being moved to its staging address if that is
// possible. Nothing can be pinned anew for writing, because that is a write. About what devices write that have pinned
// a page before, lift.cc has more.
//
// Whoever copies or populates a page here may find that it is gone: the kernel may drop marked pages by itself, and the
// program all of them (MADV_DONTNEED). That is a fault that its own handler must resolve, of a page that is claimed: it
// maps the copy, or zeros where there is none yet (refill).
//
// Thread safety: a node's kswapd alone does this, which handles no faults. Pages are claimed, clusters owned.
// Invariants: from guarding on, until that ends, only devices change pages. A marked page that did not go is dirty
//             before guarding ends or another copy of it is forgotten.
#include <errno.h>

#include <bit>

#include "os/pins.h"
#include "os/service_thread.h"
#include "os/uffd.h"
#include "os/vm.h"
#include "reclaim/node.h"

namespace weir {
namespace {

uint64_t present_runs(uint64_t mask) {
  return static_cast<uint64_t>(std::popcount(mask & ~(mask << 1)));
}

// Of a page that the program dropped before it was copied.
alignas(kPageSize) constinit const char kZeros[kPageSize] = {};

}  // namespace

// Puts claimed pages of a cluster into the batch; those in `idle` are to leave memory. Returns those that are not the
// caller's any more.
uint64_t NodeReclaim::hold(ClusterId c, uint64_t pages, uint64_t idle, uint64_t at_once, Lift& lift) {
  const uint64_t resident = zone_->resident_mask(c);
  uint64_t guarded = 0;
  for (BitRun run = next_run(pages, 0); run.first < kClusterPages; run = next_run(pages, run.end))
    if (present_runs(idle & resident & run_mask(run)) > (lift.joined ? 0 : 1)) guarded |= run_mask(run);
  if (guarded == 0) return 0;
  const uint64_t here = os::vm_resident_mask(zone_->address(c * kClusterPages), kClusterPages) & guarded;
  // What is not there was dropped by the program, or never touched; unless it is in Standby, or the kernel's swap.
  const uint64_t gone = guarded & ~here & ~map_[c].standby.load();
  if ((here & idle) == 0 || ((resident & gone) != 0 && os::vm_system_swaps())) return 0;
  // Marking would be refused, and with it that of the others.
  if (os::vm_is_locked(zone_->address(c * kClusterPages), kClusterBytes)) return 0;
  zone_->uncharge(c, gone);
  zone_->charge(c, here);
  const uint64_t leaving = here & idle;
  lift.clusters[lift.count++] = {c, leaving, leaving, leaving & at_once, guarded, leaving};
  lift.pages += static_cast<unsigned>(std::popcount(leaving));
  return guarded;
}

// The claimed pages of a batch, as ranges of one stripe each; returns how many.
unsigned NodeReclaim::guarded_ranges(const Lift& lift, os::VmRange* ranges) const {
  unsigned nr = 0;
  for (unsigned n = 0; n < lift.count; ++n) {
    const ClusterId c = lift.clusters[n].id;
    const uint64_t guarded = lift.clusters[n].guarded;
    for (BitRun run = next_run(guarded, 0); run.first < kClusterPages; run = next_run(guarded, run.end)) {
      char* const begin = zone_->address(c * kClusterPages + run.first);
      const size_t bytes = (run.end - run.first) * kPageSize;
      const bool joined = nr != 0 && static_cast<char*>(ranges[nr - 1].address) + ranges[nr - 1].bytes == begin &&
                          (run.first != 0 || Shards::is_in_one_stripe(c, c - 1));
      if (joined)
        ranges[nr - 1].bytes += bytes;
      else
        ranges[nr++] = {begin, bytes};
    }
  }
  return nr;
}

// Write-protects the claimed pages of a batch, or ends that. False: it was refused somewhere.
bool NodeReclaim::guard(const Lift& lift, bool on) {
  os::VmRange ranges[Lift::kMostRanges];
  const unsigned nr = guarded_ranges(lift, ranges);
  bool all = true;
  for (unsigned i = 0; i < nr; ++i) {
    const int uffd = uffd_of(cluster_of(zone_->pfn_of(ranges[i].address)));
    long result;
    // While the program's mappings change.
    while ((result = os::uffd_write_protect(uffd, ranges[i].address, ranges[i].bytes, on)) == -EAGAIN) os::yield();
    all = all && result >= 0;
  }
  return all;
}

void NodeReclaim::drop_marked(const Lift& lift) {
  os::VmRange ranges[Lift::kMostRanges];
  const unsigned nr = guarded_ranges(lift, ranges);
  for (unsigned i = 0; i < nr; ++i) os::vm_drop_marked(ranges[i].address, ranges[i].bytes);
}

// Of pages that were marked and did not go: moves them to their staging addresses, if that can be, and makes the others
// dirty.
NodeReclaim::Kept NodeReclaim::keep_where_it_is(unsigned n, uint64_t held, char* content, Lift& lift) {
  const ClusterId c = lift.clusters[n].id;
  uint64_t stay = 0;
  for (BitRun run = next_run(held, 0); run.first < kClusterPages; run = next_run(held, run.end))
    stay |= move_run_out(c, run.first, run.end);
  // Moved, they are marked still.
  uint64_t there = 0;
  for (uint64_t left = held & ~stay; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    if (os::make_dirty_if_there(shards_->proc, staging_address(c * kClusterPages + i)) != os::Dirty::kGone)
      there |= uint64_t{1} << i;
  }
  for (uint64_t left = stay; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    char* const page = zone_->address(c * kClusterPages + i);
    static_cast<void>(os::uffd_write_protect(uffd_of(c), page, kPageSize, false));
    if (os::vm_unshare(page, kPageSize)) continue;
    // It cannot be written (mprotect), by a device neither.
    if (os::vm_purge(page, kPageSize)) fill_home(c, uint64_t{1} << i, lift.clusters[n].seen, content);
  }
  lift.refused += static_cast<unsigned>(std::popcount(stay | there));
  return {stay | there, there};
}

// What was not given back; from now on only that may be missed.
void NodeReclaim::find_held(Lift& lift, uint64_t* held) {
  for (unsigned n = 0; n < lift.count; ++n) {
    Lift::Cluster& cluster = lift.clusters[n];
    held[n] = os::vm_resident_mask(zone_->address(cluster.id * kClusterPages), kClusterPages);
    cluster.missed = held[n] & cluster.seen;
  }
  // It has what a device wrote between the copies.
  lift.refill_from.store(lift.content, std::memory_order_relaxed);
  expect_faults(lift);
}

// From now on handlers map what this thread misses of the batch.
void NodeReclaim::expect_faults(const Lift& lift) {
  evictor_.store(lift.thread, std::memory_order_relaxed);
  in_place_.store(&lift);
}

// After this no handler maps a page of the batch any more, not even for a fault that was resolved meanwhile.
void NodeReclaim::end_faults() {
  in_place_.store(nullptr);
  while (refilling_.load() != 0) os::yield();
}

bool NodeReclaim::refill_from(const Lift& lift, Pfn pfn) {
  const ClusterId c = cluster_of(pfn);
  char* copies = lift.refill_from.load(std::memory_order_relaxed);
  for (unsigned n = 0; n < lift.count; ++n) {
    const Lift::Cluster& cluster = lift.clusters[n];
    if (cluster.id == c && (cluster.missed & page_bit(pfn)) != 0) {
      const char* const content = copies != nullptr ? Lift::copy_of(copies, cluster.seen, pfn % kClusterPages) : kZeros;
      int error = 0;
      // (It is there when the fault was resolved meanwhile.)
      if (os::uffd_copy(uffd_of(c), zone_->address(pfn), content, kPageSize, false, error) != kPageSize)
        os::uffd_wake(uffd_of(c), zone_->address(pfn), kPageSize);
      return true;
    }
    if (copies != nullptr) copies += static_cast<size_t>(std::popcount(cluster.seen)) * kPageSize;
  }
  return false;
}

bool NodeReclaim::refill(uint32_t thread, Pfn pfn) {
  // Everybody else's faults touch no counter that handlers share. (The evictor's comes after it said who it is.)
  if (thread == 0 || thread != evictor_.load(std::memory_order_relaxed)) return false;
  refilling_.fetch_add(1);
  const Lift* const lift = in_place_.load();
  const bool done = lift != nullptr && thread == lift->thread && refill_from(*lift, pfn);
  refilling_.fetch_sub(1);
  return done;
}

}  // namespace weir
