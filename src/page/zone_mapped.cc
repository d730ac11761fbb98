// Runs that the program has from mmap, which it gives back in whatever parts it likes (the part of Zone that deals with
// them). Such a run is divided where a pageblock begins, so that whose a page is can be told by looking back over no
// more than a pageblock's descriptors.
//
// Thread safety: any thread; what belongs to one owner by one thread at a time.
// Invariants: a mapped run lies within one pageblock. Each that a part is taken out of leaves up to two.
#include <algorithm>

#include "base/check.h"
#include "page/zone.h"

namespace weir {

void Zone::become_mapped(Pfn first, Pages count) {
  const Pfn end = first + static_cast<Pfn>(count.v);
  for (Pfn at = first, stop; at < end; at = stop) {
    stop = std::min(end, static_cast<Pfn>((at / kPageblockPages + 1) * kPageblockPages));
    desc(at) = {kMappedRun, 0, stop - at, PageState::kRun, 0, MigrateType::kUnmovable, 0};
  }
}

void Zone::mark_mapped(Pfn head, Pages count) {
  LockGuard guard(mutex_);
  become_mapped(head, count);
}

// Of the mapped run that a page is of; kNoPfn: it is of none.
Pfn Zone::mapped_head(Pfn pfn) const {
  const Pfn first = pfn - pfn % static_cast<Pfn>(kPageblockPages);
  for (Pfn at = pfn;; --at) {
    const PageDesc& d = desc(at);
    if (d.state == PageState::kRun) return (d.next & kMappedRun) != 0 && pfn - at < d.count ? at : kNoPfn;
    if (d.state != PageState::kBody || at == first) return kNoPfn;
  }
}

Pages Zone::mapped_at(Pfn first, Pages most) {
  LockGuard guard(mutex_);
  const uint64_t end = std::min<uint64_t>(first + most.v, arena_.accessible().v);
  uint64_t at = first;
  while (at < end) {
    const Pfn head = mapped_head(static_cast<Pfn>(at));
    if (head == kNoPfn) break;
    at = head + desc(head).count;
  }
  return Pages(std::min(at, std::max<uint64_t>(end, first)) - first);
}

bool Zone::take_mapped(Pfn first, Pages count, PageRun& run) {
  {
    LockGuard guard(mutex_);
    if (first + count.v > arena_.accessible().v || !buddy_.take_range(first, count)) return false;
    run = finish(first, count, Charge::kNow);
    become_mapped(first, count);
  }
  if (limited()) config_.hooks.allocated(config_.hooks.self, first, count);
  return true;
}

void Zone::note_protected(Pfn first, Pages count, bool interrupts) {
  if (interrupts) return note_protected_locked(first, count);
  LockGuard guard(mutex_);
  note_protected_locked(first, count);
}

void Zone::note_protected_locked(Pfn first, Pages count) {
  for (uint64_t at = first, end = first + count.v; at < end;) {
    const Pfn head = mapped_head(static_cast<Pfn>(at));
    if (head == kNoPfn) return;
    desc(head).next |= kProtectedRun;
    at = head + desc(head).count;
  }
}

bool Zone::is_protected(Pfn first, Pages count) {
  LockGuard guard(mutex_);
  for (uint64_t at = first, end = first + count.v; at < end;) {
    const Pfn head = mapped_head(static_cast<Pfn>(at));
    if (head == kNoPfn) return false;
    if ((desc(head).next & kProtectedRun) != 0) return true;
    at = head + desc(head).count;
  }
  return false;
}

void Zone::release_mapped(Pfn first, Pages count) {
  if (limited()) config_.hooks.forget(config_.hooks.self, first, count);
  LockGuard guard(mutex_);
  note_touched(first, count);
  const Pfn end = first + static_cast<Pfn>(count.v);
  for (Pfn at = first, stop; at < end; at = stop) {
    const Pfn head = mapped_head(at);
    WEIR_CHECK(head != kNoPfn);
    const PageDesc whole = desc(head);
    const Pfn behind = head + whole.count;
    stop = std::min(end, behind);
    if (stop < behind) {
      desc(stop) = whole;
      desc(stop).count = behind - stop;
    }
    if (head < at) desc(head).count = at - head;
    buddy_.give_range(at, Pages(stop - at));
  }
  charged_ -= count.v;
  counters_.pgfree += count.v;
  publish();
}

}  // namespace weir
