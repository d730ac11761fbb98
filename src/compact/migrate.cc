// How one object moves (the part of Compactor that does it): closed to its users, copied, opened at its new place, and
// its old pages freed.
//
// Thread safety and invariants: compactor.h.
#include <cstring>

#include "compact/compactor.h"
#include "compact/content.h"
#include "compact/scanners.h"

namespace weir {
namespace {

void clear_stale(Zone& zone, Pfn first, Pfn end) {
  for (Zone::Stretch s = zone.find_stale(first, end); s.first != end; s = zone.find_stale(s.end, end))
    memset(zone.address(s.first), 0, bytes_of(Pages(s.end - s.first)));
}

// Writes only where something else is to be read than is read there already, so that an object which was hardly touched
// stays one: what is only read costs no memory.
void copy_page(const char* from, char* to, bool reads_as_zeros) {
  if (!is_zero_page(from))
    memcpy(to, from, kPageSize);
  else if (!reads_as_zeros && !is_zero_page(to))
    memset(to, 0, kPageSize);
}

// With a limit it is known which pages of an object have content.
void copy_known(Zone& zone, Pfn from, Pages count, Pfn to) {
  const Pfn end = from + static_cast<Pfn>(count.v);
  for (Pfn at = from; at != end;) {
    const Zone::Stretch s = zone.find_content(at, end);
    clear_stale(zone, to + (at - from), to + (s.first - from));
    if (s.first != s.end)
      memcpy(zone.address(to + (s.first - from)), zone.address(s.first), bytes_of(Pages(s.end - s.first)));
    at = s.end;
  }
}

// Without one it is known which pages of its new place may have old content.
void copy_unknown(Zone& zone, Pfn from, Pages count, Pfn to) {
  const Pfn end = to + static_cast<Pfn>(count.v);
  for (Pfn at = to; at != end;) {
    const Zone::Stretch stale = zone.find_stale(at, end);
    for (; at != stale.end; ++at) copy_page(zone.address(from + (at - to)), zone.address(at), at < stale.first);
  }
}

}  // namespace

bool Compactor::is_watched(Pages count) const {
  return reclaimer_ != nullptr && reclaimer_->charges_by_touch(count, true);
}

// For a moment an object is there twice. The kernel wants twice the length to be free as well (compact_gap).
bool Compactor::may_move(Zone& zone, Pages count, const Goal& goal) const {
  if (reclaimer_ == nullptr || reclaimer_->may_take(zone, count + count)) return true;
  return !goal.leaves_away && reclaimer_->wait_for_pages(*reclaimer_->node(zone.node().v), count + count);
}

Compactor::Start Compactor::start_move(Node& node, const MovableRun& run, Pfn to, Pages room) {
  Zone& zone = *node.zone;
  LockGuard guard(mutex_);
  if (!table_.begin_move(run.id, zone.address(run.head))) return Start::kInUse;
  PageRun taken;
  // Another object may have come here since the scanner passed, which is closed now in its place.
  const bool is_same = zone.desc(run.head).count == run.count.v;
  if (!is_same || !zone.take_for_move(to, room, is_watched(room) ? Charge::kOnTouch : Charge::kNow, taken)) {
    table_.end_move(run.id, zone.address(run.head));
    return Start::kTaken;
  }
  node.flight = {.state = Flight::State::kCopying, .id = run.id, .from = run.head, .to = to};
  return Start::kStarted;
}

// As PageSource does it for a new run.
bool Compactor::make_ready(Zone& zone, Pfn to, Pages count) {
  if (is_watched(count)) return reclaimer_->watch(zone, to, count);
  if (reclaimer_ != nullptr) reclaimer_->keep_within_budget(zone);
  return true;
}

void Compactor::free_nobodys(Node& node, Pfn head) {
  Zone& zone = *node.zone;
  const Pages count(zone.desc(head).count);
  const bool dropped = options_.zero_on_free && zone.drop_pages(head, count);
  static_cast<void>(zone.free_run(head, dropped ? Touched::kNo : Touched::kYes));
  LockGuard guard(mutex_);
  node.flight = {};
}

// Where a handler of a signal forked in the middle of this, and its child came back here, the move has been ended.
void Compactor::land(Node& node, const MovableRun& run, Pfn to) {
  Zone& zone = *node.zone;
  {
    LockGuard guard(mutex_);
    if (node.flight.state != Flight::State::kCopying || node.flight.to != to) return;
    zone.mark_movable(to, run.id);
    zone.mark_movable(run.head, kNobodysRun);
    table_.end_move(run.id, zone.address(to));
    node.flight.state = Flight::State::kLanded;
  }
  free_nobodys(node, run.head);
}

void Compactor::call_off(Node& node, const MovableRun& run, Pfn to) {
  {
    LockGuard guard(mutex_);
    if (node.flight.state != Flight::State::kCopying || node.flight.to != to) return;
    table_.end_move(run.id, node.zone->address(run.head));
    // What is left to do is as after a landing, at the other place.
    node.flight = {.state = Flight::State::kLanded, .id = run.id, .from = to, .to = run.head};
  }
  free_nobodys(node, to);
}

// Moves an object as far down as there is room for it.
void Compactor::move_down(Node& node, Scanners& scanners, const MovableRun& run, CompactCounts& counts) {
  // Somebody else may take the place first, but hardly time and again.
  constexpr unsigned kTries = 3;
  for (unsigned tries = 0; tries < kTries; ++tries) {
    const Pfn to = scanners.find_place(run);
    if (to == kNoPfn || move_to(node, run, to, counts) != Start::kTaken) return;
  }
}

Compactor::Start Compactor::move_to(Node& node, const MovableRun& run, Pfn to, CompactCounts& counts) {
  Zone& zone = *node.zone;
  const Start start = start_move(node, run, to, run.count);
  if (start == Start::kInUse) counts.failed += run.count.v;
  if (start != Start::kStarted) return start;
  counts.isolated += run.count.v;
  if (!make_ready(zone, to, run.count)) {
    call_off(node, run, to);
    counts.failed += run.count.v;
    return Start::kInUse;
  }
  zone.limited() ? copy_known(zone, run.head, run.count, to) : copy_unknown(zone, run.head, run.count, to);
  land(node, run, to);
  counts.moved += run.count.v;
  return Start::kStarted;
}

void Compactor::resume_in_child() {
  for (Node& node : nodes_) {
    node.busy.store(0, std::memory_order_relaxed);
    Flight flight;
    {
      LockGuard guard(mutex_);
      flight = node.flight;
      if (flight.state == Flight::State::kNone) continue;
      if (flight.state == Flight::State::kCopying) table_.end_move(flight.id, node.zone->address(flight.from));
    }
    if (flight.state == Flight::State::kSliding) {
      flight.in_child = true;
      end_slide(node, flight);
      continue;
    }
    // Pages that are nobody's: the new ones, or after the landing the old ones, if they were not freed yet.
    const Pfn nobodys = flight.state == Flight::State::kCopying ? flight.to : flight.from;
    if (node.zone->is_nobodys(nobodys)) {
      free_nobodys(node, nobodys);
    } else {
      LockGuard guard(mutex_);
      node.flight = {};
    }
  }
}

}  // namespace weir
