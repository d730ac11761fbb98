// How pages that lie in short runs leave memory without being lifted (compare lift.cc), where the kernel can mark
// many ranges by one call (Linux 6.14). Lifting interrupts the other processors three times a cluster, because each
// lifted cluster is a mapping; and what lies between, which the program uses, is away meanwhile and has to be copied
// back. Here it is twice for marking a batch, once for each 31 pages that go (shrink_folio_list, which frees so many at
// a time), and twice more for each further page table; and what is between stays.
//
// Pages are made the process's own; held by references, so that the kernel cannot drop them (os/page_refs.h); marked
// (MADV_FREE); copied; held no more; and given back (MADV_PAGEOUT), which the kernel refuses for what was written to
// since it was marked, by the program or by a device, and for whatever anything else refers to. What it refuses becomes
// dirty again, by being moved to its staging address if that is possible; what cannot be written is replaced. So nobody
// is kept from writing meanwhile, and what is written is either in the copy or keeps its page. About devices that have
// pinned a page before, lift.cc has more.
//
// What is copied is what lies at the addresses, which need not be what is held: a page that is shared with a child of a
// fork, or was, is replaced when it is written. The one that replaced it is held by nobody, and a kernel that is short
// of memory could drop it between the mark and the copy; that is why pages are made the process's own before.
//
// Whoever refers to a page here, or populates it, may find that it is gone, because the program dropped it
// (MADV_DONTNEED by a bare system instruction), or the kernel one that was refused. That is a fault that its own
// handler must resolve, of a page that is claimed: it maps the copy, or zeros where there is none yet (refill).
//
// Thread safety: a node's kswapd alone does this, which handles no faults. Pages are claimed, clusters owned.
// Invariants: from marking on, a page is held, or there is a copy of it as new as it is, or it is dirty.
#include <errno.h>

#include <bit>
#include <cstring>

#include "os/pins.h"
#include "os/service_thread.h"
#include "os/uffd.h"
#include "os/vm.h"
#include "reclaim/node.h"

namespace weir {
namespace {

// Of a page that the program dropped before it was copied.
alignas(kPageSize) constinit const char kZeros[kPageSize] = {};

}  // namespace

// Puts claimed pages of a cluster into the batch. Returns those that are not the caller's any more.
uint64_t NodeReclaim::hold(ClusterId c, uint64_t pages, Lift& lift) {
  const uint64_t here = os::vm_resident_mask(zone_->address(c * kClusterPages), kClusterPages) & pages;
  // What is not there was dropped by the program, or never touched; unless it is in the kernel's swap.
  const uint64_t gone = pages & ~here;
  if (here == 0 || (gone != 0 && os::vm_system_swaps())) return 0;
  // Marking would be refused, and with it that of the others.
  if (os::vm_is_locked(zone_->address(c * kClusterPages), kClusterBytes)) return 0;
  zone_->uncharge(c, gone);
  zone_->charge(c, here);
  if (gone != 0) release(c, gone);
  lift.clusters[lift.count++] = {c, here, here, here, here};
  lift.pages += static_cast<unsigned>(std::popcount(here));
  return pages;
}

// False: not all could be held, or something may be pinned in the way that does not show (lift.cc); nothing was marked.
// Where that turns out later, or there are no copies from the addresses, nothing is given back.
bool NodeReclaim::copy_and_drop_in_place(Lift& lift, const os::VmRange* ranges, unsigned nr) {
  const auto may_be_pinned = [this] { return os::has_registered_pages(shards_->status); };
  lift.refill_from.store(nullptr, std::memory_order_relaxed);
  expect_faults(lift);
  os::vm_unshare_many(ranges, nr);
  const bool held = lift.refs.take(ranges, nr) && !may_be_pinned();
  const bool marked = held && os::vm_mark_many_droppable(ranges, nr);
  const bool copied = held && os::vm_gather(lift.content, ranges, nr) == lift.pages * kPageSize;
  end_faults();
  if (held && !copied)
    lift.refs.copy_out(lift.content);
  else
    lift.refs.drop();
  if (!held) return false;
  if (!marked || !copied || may_be_pinned())
    pause_lifting();
  else
    drop_marked(lift);
  return true;
}

// Whether both can be dropped by one call: what lies between holds nothing.
bool NodeReclaim::are_side_by_side(ClusterId a, ClusterId b) const {
  if (b <= a || b - a > Lift::kMostGap + 1 || !Shards::is_in_one_stripe(a, b)) return false;
  while (++a != b)
    if (zone_->resident_mask(a) != 0) return false;
  return true;
}

// Of clusters side by side as one range, with what lies between: a range of its own interrupts once more.
void NodeReclaim::drop_marked(const Lift& lift) {
  const auto begin_of = [&](const Lift::Cluster& one) {
    return zone_->address(one.id * kClusterPages + static_cast<unsigned>(std::countr_zero(one.seen)));
  };
  for (unsigned n = 0; n < lift.count;) {
    char* const begin = begin_of(lift.clusters[n]);
    const Lift::Cluster* last = &lift.clusters[n];
    while (++n < lift.count && are_side_by_side(last->id, lift.clusters[n].id)) last = &lift.clusters[n];
    char* const end =
        zone_->address((last->id + 1) * kClusterPages) - static_cast<size_t>(std::countl_zero(last->seen)) * kPageSize;
    os::vm_page_out(begin, static_cast<size_t>(end - begin));
  }
}

// Of a page that was marked, did not go, and cannot be written where it is (mprotect), so that the kernel refuses to
// make it dirty: lifts it, and maps a copy. Writing a byte of it to itself by /proc would do as well, if the program
// did not allow itself to write in between, and lose what it wrote. No device writes to what cannot be written, unless
// the program protects a buffer that it has under way. False: it is where it was.
bool NodeReclaim::replace_protected(unsigned n, unsigned page, char* content, Lift& lift) {
  const ClusterId c = lift.clusters[n].id;
  const uint64_t seen = lift.clusters[n].seen;
  if (!lift.map_addresses()) return false;
  char* const home = zone_->address(c * kClusterPages + page);
  char* const away = lift.address(0, page);
  // Refused for want of memory or mappings.
  if (!os::vm_lift(home, away, kPageSize)) return false;
  const bool locked = os::vm_is_locked(away, kPageSize);
  char* const copy = Lift::copy_of(content, seen, page);
  const os::VmRange range = {away, kPageSize};
  // What was dropped before it was lifted is in the copy.
  if (os::vm_resident(away, kPageSize) != Pages(0)) {
    if (!copy_lifted(lift.before, &range, 1)) {
      put_back(0, c, uint64_t{1} << page, lift);
      if (locked) os::vm_lock_when_touched(home, kPageSize);
      return false;
    }
    if (!was_dropped(away, lift.before, copy)) memcpy(copy, lift.before, kPageSize);
  }
  renew_lifted(away, kPageSize);
  fill_home(c, uint64_t{1} << page, seen, content);
  if (locked) os::vm_lock_when_touched(home, kPageSize);
  return true;
}

// Makes a marked page that could not be moved dirty. What comes last loses what the program writes meanwhile, if it has
// no more mappings and changes the protection by a bare system instruction (program_calls.cc).
void NodeReclaim::keep_at_home(unsigned n, unsigned page, char* content, Lift& lift) {
  const ClusterId c = lift.clusters[n].id;
  const uint64_t seen = lift.clusters[n].seen;
  char* const home = zone_->address(c * kClusterPages + page);
  if (os::vm_unshare(home, kPageSize) || replace_protected(n, page, content, lift)) return;
  if (os::make_dirty_if_there(shards_->proc, home) == os::Dirty::kMade) return;
  // Gone, or that cannot be told; what is there may be newer than the copy.
  const os::VmRange here = {home, kPageSize};
  static_cast<void>(os::vm_gather(Lift::copy_of(content, seen, page), &here, 1));
  if (os::vm_purge(home, kPageSize)) fill_home(c, uint64_t{1} << page, seen, content);
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
  for (uint64_t left = stay; left != 0; left &= left - 1)
    keep_at_home(n, static_cast<unsigned>(std::countr_zero(left)), content, lift);
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
      // It is there when the fault was resolved meanwhile; and protected, if it had kept a copy when it was freed.
      if (os::uffd_copy(uffd_of(c), zone_->address(pfn), content, kPageSize, false, error) != kPageSize) {
        static_cast<void>(os::uffd_write_protect(uffd_of(c), zone_->address(pfn), kPageSize, false));
        os::uffd_wake(uffd_of(c), zone_->address(pfn), kPageSize);
      }
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
