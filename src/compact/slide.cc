// How an object moves to where its old and its new pages overlap (the part of Compactor that does it): by way of memory
// outside of the arena, because a child that is forked in the middle must find all of it somewhere.
//
// Thread safety and invariants: compactor.h.
#include <cstring>
#include <new>

#include "base/bitmap.h"
#include "compact/compactor.h"
#include "compact/content.h"
#include "os/vm.h"

namespace weir {

// The content of an object, and which of its pages have any.
class Compactor::Bounce {
 public:
  // Null: there is no memory.
  static Bounce* make(Pages count) {
    void* const memory = os::vm_map(header_bytes(count) + bytes_of(count));
    return memory != nullptr ? new (memory) Bounce(count) : nullptr;
  }
  void drop() { os::vm_unmap(this, header_bytes(count_) + bytes_of(count_)); }

  void fill(Zone& zone, Pfn from) {
    const Pfn end = from + static_cast<Pfn>(count_.v);
    for (Pfn at = from; at != end;) {
      const Zone::Stretch known = zone.limited() ? zone.find_content(at, end) : Zone::Stretch{at, end};
      for (at = known.first; at != known.end; ++at) {
        if (!zone.limited() && is_zero_page(zone.address(at))) continue;
        bitmap::set(bits(), at - from);
        memcpy(page(at - from), zone.address(at), kPageSize);
      }
    }
  }
  void spill(Zone& zone, Pfn to) {
    for (Pfn i = 0; i < count_.v; ++i) {
      char* const there = zone.address(to + i);
      if (bitmap::test(bits(), i))
        memcpy(there, page(i), kPageSize);
      else if (may_have_content(zone, to + i) && !is_zero_page(there))
        memset(there, 0, kPageSize);
    }
  }

 private:
  explicit Bounce(Pages count) : count_(count) {}
  static size_t header_bytes(Pages count) {
    return align_up(sizeof(Bounce) + count.v / 8 + sizeof(uint64_t), kPageSize);
  }
  uint64_t* bits() { return reinterpret_cast<uint64_t*>(this + 1); }
  char* page(Pfn i) { return reinterpret_cast<char*>(this) + header_bytes(count_) + (size_t{i} << kPageShift); }

  const Pages count_;
};

// Below it are free pages, fewer than it has, from `to` on.
Compactor::Start Compactor::slide_to(Node& node, const MovableRun& run, Pfn to, CompactCounts& counts) {
  Zone& zone = *node.zone;
  // With a limit, what lies outside counts nowhere: no more than a limit may be passed by for a moment.
  if (reclaimer_ != nullptr && run.count.v >= Reclaimer::kWatchedRun) return Start::kInUse;
  const Pages gap(run.head - to);
  const Start start = start_move(node, run, to, gap);
  if (start == Start::kInUse) counts.failed += run.count.v;
  if (start != Start::kStarted) return start;
  counts.isolated += run.count.v;
  Bounce* const bounce = make_ready(zone, to, gap) ? Bounce::make(run.count) : nullptr;
  if (bounce == nullptr) {
    call_off(node, run, to);
    counts.failed += run.count.v;
    return Start::kInUse;
  }
  bounce->fill(zone, run.head);
  Flight flight;
  {
    LockGuard guard(mutex_);
    if (node.flight.state != Flight::State::kCopying || node.flight.to != to) return Start::kInUse;
    node.flight.state = Flight::State::kSliding;
    node.flight.bounce = bounce;
    node.flight.count = run.count;
    flight = node.flight;
  }
  end_slide(node, flight);
  counts.moved += run.count.v;
  return Start::kStarted;
}

void Compactor::end_slide(Node& node, const Flight& flight) {
  Zone& zone = *node.zone;
  flight.bounce->spill(zone, flight.to);
  const Pages gap(flight.from - flight.to);
  zone.forget(flight.to + static_cast<Pfn>(flight.count.v), gap);
  {
    LockGuard guard(mutex_);
    // As in land().
    if (node.flight.state != Flight::State::kSliding || node.flight.to != flight.to) return;
    zone.slide_run(flight.to, flight.from, flight.count, flight.id);
    table_.end_move(flight.id, zone.address(flight.to));
    node.flight = {};
  }
  // In the child of a fork it stays: the thread that forked may have been at it, and go on.
  if (!flight.in_child) flight.bounce->drop();
}

}  // namespace weir
