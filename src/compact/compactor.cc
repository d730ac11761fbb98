#include "compact/compactor.h"

#include <limits.h>

#include <algorithm>

#include "base/port.h"
#include "compact/scanners.h"
#include "os/service_thread.h"

namespace weir {
namespace {

// COMPACT_MAX_DEFER_SHIFT: at most 64 allocations in a row, or rounds of kcompactd, are left alone.
constexpr unsigned kMostDeferShift = 6;

// A compaction of some GiB takes a second.
constexpr uint64_t kWaitMs = 100;
constexpr unsigned kMostWaits = 10;

}  // namespace

MovableId Compactor::adopt(Zone& zone, Pfn head, size_t bytes) {
  LockGuard guard(mutex_);
  const MovableId id = table_.make();
  if (!id) return id;
  table_.publish(id, zone.address(head), bytes);
  zone.mark_movable(head, id.index());
  return id;
}

void Compactor::release(MovableId id, Zone& zone, Pfn head) {
  {
    LockGuard guard(mutex_);
    // Before the place in the table is somebody else's.
    zone.mark_movable(head, kNobodysRun);
    table_.give_up(id);
  }
  const bool dropped = options_.zero_on_free && zone.drop_pages(head, Pages(zone.desc(head).count));
  static_cast<void>(zone.free_run(head, dropped ? Touched::kNo : Touched::kYes));
}

bool Compactor::Goal::is_reached(Zone& zone) const {
  if (together.v != 0) return zone.has_together(together);
  return score != 0 && fragmentation_score(zone.free_blocks()) <= score;
}

Compactor::Outcome Compactor::compact(Node& node, const Goal& goal) {
  uint32_t nobody = 0;
  if (!node.busy.compare_exchange_strong(nobody, os::thread_id(), std::memory_order_acquire)) return {};
  CompactCounts counts;
  const bool reached = sink(node, goal, counts) || slide(node, goal, counts);
  node.zone->note_compaction(counts, goal.daemon);
  node.busy.store(0, std::memory_order_release);
  port::futex_wake(node.busy, INT_MAX);
  return {true, reached, Pages(counts.moved)};
}

// When another thread is at it, that one may reach the goal, too. It may also be waiting for somebody who waits for
// this one: a shrinker that needs memory.
Compactor::Outcome Compactor::compact_in_turn(Node& node, const Goal& goal) {
  for (unsigned waits = 0;; ++waits) {
    const Outcome outcome = compact(node, goal);
    const uint32_t other = node.busy.load(std::memory_order_relaxed);
    if (outcome.done || waits == kMostWaits || other == os::thread_id()) return outcome;
    if (other != 0) os::futex_wait_ms(node.busy, other, kWaitMs);
    if (goal.is_reached(*node.zone)) return {false, true, Pages(0)};
  }
}

// Objects from the top go to gaps at the bottom. True: the goal is reached.
bool Compactor::sink(Node& node, const Goal& goal, CompactCounts& counts) {
  Zone& zone = *node.zone;
  Scanners scanners(zone, counts);
  while (scanners.next_pageblock()) {
    const uint64_t moved_before = counts.moved;
    for (MovableRun run = scanners.next_object(); run.head != kNoPfn; run = scanners.next_object()) {
      if (goal.leaves_away && zone.is_partly_away(run.head, run.count)) continue;
      if (!may_move(zone, run.count, goal)) return false;
      move_down(node, scanners, run, counts);
    }
    if (counts.moved != moved_before && goal.is_reached(zone)) return true;
  }
  return false;
}

// Objects from the bottom on slide down to the ones before, so that the gaps between them come together. True: the goal
// is reached.
bool Compactor::slide(Node& node, const Goal& goal, CompactCounts& counts) {
  Zone& zone = *node.zone;
  uint64_t moved_before = counts.moved;
  for (SlideScan scan;;) {
    while (zone.scan_slide(scan)) {
    }
    const MovableRun& run = scan.run;
    if (run.head == kNoPfn) return counts.moved != moved_before && goal.is_reached(zone);
    counts.migrate_scanned += run.count.v;
    counts.free_scanned += run.head - scan.gap;
    if (goal.leaves_away && zone.is_partly_away(run.head, run.count)) continue;
    if (!may_move(zone, run.count, goal)) return false;
    const bool fits = run.head - scan.gap >= run.count.v;
    const Start done = fits ? move_to(node, run, scan.gap, counts) : slide_to(node, run, scan.gap, counts);
    if (done != Start::kStarted) continue;
    // The gap is above the object now.
    scan.at = scan.gap + static_cast<Pfn>(run.count.v);
    // Looking at all lists for every page would take longer than moving it.
    if (counts.moved - moved_before < kPageblockPages) continue;
    moved_before = counts.moved;
    if (goal.is_reached(zone)) return true;
  }
}

// Linux compaction_deferred; and where so much was freed meanwhile, what failed then says nothing any more.
bool Compactor::is_deferred(Node& node, Pages count, Pages free) {
  LockGuard guard(mutex_);
  Deferral& d = node.deferral;
  if (count < d.least || free >= d.free + count) return false;
  if (++d.considered >= 1u << d.shift) {
    d.considered = 1u << d.shift;
    return false;
  }
  return true;
}

// Linux defer_compaction and compaction_defer_reset.
void Compactor::note_result(Node& node, Pages count, Pages free, bool success) {
  node.zone->note_compaction(success ? Zone::Compaction::kSuccess : Zone::Compaction::kFail);
  LockGuard guard(mutex_);
  Deferral& d = node.deferral;
  d.considered = 0;
  if (success) {
    d.shift = 0;
    if (count >= d.least) d.least = Pages(count.v + 1);
    return;
  }
  d.free = free;
  if (d.shift < kMostDeferShift) ++d.shift;
  if (count < d.least) d.least = count;
}

bool Compactor::try_to_compact(Zone& zone, Pages count) {
  Node& node = nodes_[zone.node().v];
  if (node.zone == nullptr || !zone.has_movable() || count.v < 2) return false;
  const BuddyStats free = zone.free_blocks();
  // As in __compaction_suitable: what fails because memory is short is not helped by moving things around.
  const int index = fragmentation_index(free, count);
  if (index == kWouldSucceed) return true;
  const Pages nr_free = free_pages(free);
  if (index <= options_.extfrag_threshold || nr_free < count || is_deferred(node, count, nr_free)) return false;
  zone.note_compaction(Zone::Compaction::kStall);
  Outcome outcome;
  Goal goal;
  // For a short one more than it needs, or the next would be here at once.
  goal.together = Pages(std::max<uint64_t>(count.v, kPageblockPages));
  // The cheaper way first, as the kernel's async mode; then with what has to be brought back for it.
  for (const bool leaves_away : {true, false}) {
    goal.leaves_away = leaves_away;
    if (!zone.limited() && !leaves_away) break;
    outcome = compact_in_turn(node, goal);
    if (!outcome.done || outcome.reached) break;
  }
  // Others may have taken it already; then it is tried again.
  const bool success = outcome.reached || zone.has_together(count);
  if (outcome.done) note_result(node, count, nr_free, success);
  return success;
}

Pages Compactor::compact_all() {
  Pages moved;
  for (Node& node : nodes_)
    if (node.zone != nullptr && node.zone->has_movable()) moved += compact(node, {}).moved;
  return moved;
}

// Unless so much has changed since then that something else may come of it: more is free, or it is in more pieces, by
// as much as lies between the two marks.
bool Compactor::is_left_out(Node& node, Pages free, unsigned score) {
  if (node.rounds_to_skip == 0 || free.v >= node.free_in_vain.v + kPageblockPages) return false;
  if (score > node.score_in_vain + kBetweenMarks) return false;
  --node.rounds_to_skip;
  return true;
}

void Compactor::compact_ahead() {
  const auto proactiveness = static_cast<unsigned>(options_.compaction_proactiveness);
  if (proactiveness == 0) return;
  const ScoreMarks marks = score_marks(proactiveness);
  for (Node& node : nodes_) {
    if (node.zone == nullptr || !node.zone->has_movable()) continue;
    const BuddyStats free = node.zone->free_blocks();
    const unsigned before = fragmentation_score(free);
    if (before <= marks.high || is_left_out(node, free_pages(free), before)) continue;
    node.zone->note_compaction(Zone::Compaction::kDaemonWake);
    Goal goal;
    goal.score = marks.low;
    goal.daemon = true;
    const Outcome outcome = compact(node, goal);
    if (!outcome.done) continue;
    // Nothing gained: as in kcompactd, the next look is 64 times as late. Not where as much was moved as would have
    // helped: the program has freed more meanwhile.
    const unsigned after = fragmentation_score(node.zone->free_blocks());
    const bool in_vain = outcome.moved.v < kPageblockPages && after >= before;
    node.rounds_to_skip = in_vain ? 1u << kMostDeferShift : 0;
    node.free_in_vain = free_pages(free);
    node.score_in_vain = after;
  }
}

bool Compactor::holds(const Zone& zone, const char* address) {
  const char* const begin = zone.address(0);
  return address >= begin && static_cast<size_t>(address - begin) < bytes_of(zone.accessible_estimate());
}

Compactor::Node* Compactor::node_of(const char* address) {
  for (Node& node : nodes_)
    if (node.zone != nullptr && holds(*node.zone, address)) return &node;
  return nullptr;
}

const char* Compactor::verify_locked() {
  const bool all = table_.for_all([this](uint32_t index, const char* address) WEIR_NO_TSA {
    const Node* const node = node_of(address);
    return node != nullptr && node->zone->holds_object(node->zone->pfn_of(address), index);
  });
  return all ? nullptr : "an object with a handle is not where its handle says";
}

}  // namespace weir
