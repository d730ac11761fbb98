// Runs that may be moved to other pages, and what compaction needs to know of a zone: where they lie, and where free
// pages do (the part of Zone that deals with them).
//
// Thread safety: any thread. Invariants: the lock is held for a pageblock's worth of descriptors at a time, as the
// kernel's scanners give theirs up (mm/compaction.c, isolate_migratepages_block, isolate_freepages_block).
#include <algorithm>

#include "base/bitmap.h"
#include "page/zone.h"

namespace weir {

void Zone::become_movable(Pfn head, uint32_t id) {
  PageDesc& d = desc(head);
  if (d.movable == 0) movable_runs_.fetch_add(1, std::memory_order_relaxed);
  d.movable = 1;
  d.prev = id;
}

void Zone::forget_movable(Pfn head) {
  desc(head).movable = 0;
  movable_runs_.fetch_sub(1, std::memory_order_relaxed);
}

// Whether a run begins here that is an object's.
bool Zone::is_objects(Pfn pfn) const {
  const PageDesc& d = desc(pfn);
  return d.state == PageState::kRun && d.movable != 0 && d.prev != kNobodysRun;
}

void Zone::mark_movable(Pfn head, uint32_t id) {
  LockGuard guard(mutex_);
  become_movable(head, id);
}

bool Zone::is_nobodys(Pfn head) {
  LockGuard guard(mutex_);
  const PageDesc& d = desc(head);
  return d.state == PageState::kRun && d.movable != 0 && d.prev == kNobodysRun;
}

bool Zone::is_partly_away(Pfn head, Pages count) const {
  if (!limited()) return false;
  const Pfn end = head + static_cast<Pfn>(count.v);
  constexpr Pfn kWord = bitmap::kWordBits;
  for (Pfn at = head, next; at < end; at = next) {
    next = std::min(end, (at / kWord + 1) * kWord);
    const uint64_t away = config_.hooks.content(config_.hooks.self, at / kWord, false) & ~resident_mask(at / kWord);
    if ((away >> at % kWord & bitmap::low_mask(next - at)) != 0) return true;
  }
  return false;
}

// Where what begins here ends. Inside of something, which one is when it changed since it was looked at last, nothing
// begins: that is passed over page by page.
Pfn Zone::behind(Pfn pfn) const {
  const PageDesc& d = desc(pfn);
  switch (d.state) {
    case PageState::kRun:
      return pfn + d.count;
    case PageState::kFree:
    case PageState::kBlock:
    case PageState::kIsolated:
      return pfn + (Pfn{1} << d.order);
    case PageState::kBody:
    case PageState::kFreeTail:
      break;
  }
  return pfn + 1;
}

MovableRun Zone::find_movable(Pfn first, Pfn end) {
  LockGuard guard(mutex_);
  end = std::min<Pfn>(end, static_cast<Pfn>(arena_.accessible().v));
  for (Pfn at = first; at < end; at = behind(at)) {
    if (is_objects(at)) return {at, Pages(desc(at).count), desc(at).prev};
  }
  return {};
}

bool Zone::scan_free(FreeScan& scan) {
  LockGuard guard(mutex_);
  const Pfn end = std::min<Pfn>(scan.end, static_cast<Pfn>(arena_.accessible().v));
  for (uint64_t looks = 0; scan.at < end; ++looks) {
    if (looks == kPageblockPages) return true;
    if (desc(scan.at).state != PageState::kFree) {
      scan.at = behind(scan.at);
      continue;
    }
    const Pages free = buddy_.free_at(scan.at, scan.count);
    scan.scanned += free.v;
    if (scan.passed == kNoPfn && free >= scan.least) scan.passed = scan.at;
    if (free >= scan.count) {
      scan.found = scan.at;
      return false;
    }
    scan.at += static_cast<Pfn>(free.v);
  }
  return false;
}

bool Zone::scan_slide(SlideScan& scan) {
  LockGuard guard(mutex_);
  const Pfn end = static_cast<Pfn>(arena_.accessible().v);
  scan.run = {};
  scan.gap = kNoPfn;
  Pfn at = scan.at;
  for (uint64_t looks = 0; at < end && looks < kPageblockPages; ++looks) {
    const bool is_free = desc(at).state == PageState::kFree;
    if (is_free && scan.gap == kNoPfn) scan.gap = at;
    if (scan.gap != kNoPfn && is_objects(at)) scan.run = {at, Pages(desc(at).count), desc(at).prev};
    at = behind(at);
    if (scan.run.head != kNoPfn) break;
    if (!is_free) scan.gap = kNoPfn;
  }
  // Free pages are looked at again, together with what follows them, unless there were no others.
  const bool has_more_behind = at < end && scan.run.head == kNoPfn && scan.gap != kNoPfn && scan.gap != scan.at;
  scan.at = has_more_behind ? scan.gap : at;
  return scan.run.head == kNoPfn && at < end;
}

void Zone::slide_run(Pfn to, Pfn from, Pages count, uint32_t id) {
  const Pages distance(from - to);
  const Pfn tail = to + static_cast<Pfn>(count.v);
  LockGuard guard(mutex_);
  forget_movable(from);
  desc(from).state = PageState::kBody;
  buddy_.become_run(to, count);
  become_movable(to, id);
  charged_ -= distance.v;
  counters_.pgfree += distance.v;
  note_touched(tail, distance);
  buddy_.give_range(tail, distance);
  publish();
}

bool Zone::take_for_move(Pfn first, Pages count, Charge charge, PageRun& run) {
  {
    LockGuard guard(mutex_);
    if (first + count.v > arena_.accessible().v || !buddy_.take_range(first, count)) return false;
    buddy_.become_run(first, count);
    become_movable(first, kNobodysRun);
    run = finish(first, count, charge);
  }
  if (limited()) config_.hooks.allocated(config_.hooks.self, first, count);
  return true;
}

uint64_t Zone::count_movable() const {
  uint64_t found = 0;
  for (Pfn at = 0, end = static_cast<Pfn>(arena_.accessible().v); at < end; at = behind(at))
    found += desc(at).state == PageState::kRun && desc(at).movable != 0;
  return found;
}

bool Zone::has_together(Pages count) {
  LockGuard guard(mutex_);
  return buddy_.has_run(count);
}

BuddyStats Zone::free_blocks() {
  LockGuard guard(mutex_);
  BuddyStats stats;
  buddy_.collect(stats);
  return stats;
}

void Zone::note_compaction(const CompactCounts& counts, bool daemon) {
  LockGuard guard(mutex_);
  counters_.compact_migrate_scanned += counts.migrate_scanned;
  counters_.compact_free_scanned += counts.free_scanned;
  if (daemon) {
    counters_.compact_daemon_migrate_scanned += counts.migrate_scanned;
    counters_.compact_daemon_free_scanned += counts.free_scanned;
  }
  counters_.compact_isolated += counts.isolated;
  counters_.pgmigrate_success += counts.moved;
  counters_.pgmigrate_fail += counts.failed;
  publish_rest();
}

void Zone::note_compaction(Compaction event) {
  LockGuard guard(mutex_);
  switch (event) {
    case Compaction::kStall:
      ++counters_.compact_stall;
      break;
    case Compaction::kSuccess:
      ++counters_.compact_success;
      break;
    case Compaction::kFail:
      ++counters_.compact_fail;
      break;
    case Compaction::kDaemonWake:
      ++counters_.compact_daemon_wake;
      break;
  }
  publish_rest();
}

}  // namespace weir
