// What the heaps are to the other members of a pool (the part of HeapRegistry that tells and obeys them).
#include <algorithm>
#include <cstring>

#include "base/port.h"
#include "base/print.h"
#include "heap/heap_registry.h"
#include "oom/badness.h"
#include "oom/record.h"
#include "os/thread.h"

namespace weir {
namespace {

constexpr uint16_t number_of(OomKill kill) {
  return kill == OomKill::kRelease ? WEIR_POOL_KILL_RELEASE
         : kill == OomKill::kAbort ? WEIR_POOL_KILL_ABORT
                                   : WEIR_POOL_KILL_FAIL;
}

uint64_t growth(const HeapCandidate& heap) {
  const Pages held = heap.pages + heap.swapped;
  return held > heap.held_at_last_kill ? (held - heap.held_at_last_kill).v : 0;
}

void fill(weir_pool_row& row, const HeapCandidate& heap) {
  row = {};
  row.heap = heap.id.bits;
  row.serial = heap.serial;
  row.pages = heap.pages.v;
  row.swapped = heap.swapped.v;
  row.held_at_last_kill = heap.held_at_last_kill.v;
  row.oom_score_adj = heap.oom_score_adj;
  row.kill = number_of(heap.kill);
  row.state = heap.capped ? WEIR_POOL_ROW_SPENT : WEIR_POOL_ROW_RUNS;
  memcpy(row.name, heap.name, sizeof(row.name));
}

uint64_t less(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;
}

}  // namespace

uint32_t HeapRegistry::pool_rows(weir_pool_row* rows, uint32_t most, Pages total) {
  int64_t points[WEIR_POOL_ROWS];
  uint32_t count = 1;
  HeapCandidate exempt;  // that has grown most
  for_candidates([&](const HeapCandidate& heap) {
    rows[0].pages = less(rows[0].pages, heap.pages.v);
    rows[0].swapped = less(rows[0].swapped, heap.swapped.v);
    const int64_t own = oom_badness(heap.pages, heap.swapped, heap.oom_score_adj, total);
    if (own == kOomNever && growth(heap) > growth(exempt)) exempt = heap;
    uint32_t at = count;
    if (count == most) at = static_cast<uint32_t>(std::min_element(points + 1, points + count) - points);
    // Of equals the later one is chosen.
    const bool better = count < most || own > points[at] || (own == points[at] && heap.serial > rows[at].serial);
    if (!better) return;
    fill(rows[at], heap);
    points[at] = own;
    if (count < most) ++count;
  });
  rows[0].held_at_last_kill = oom_.rest_at_last_kill().v;
  const bool told = std::any_of(rows + 1, rows + count, [&](const auto& row) { return row.heap == exempt.id.bits; });
  if (exempt.id && !told) fill(*(rows + (std::min_element(points + 1, points + count) - points)), exempt);
  return count;
}

// Who decided has written a report to its own standard error.
void HeapRegistry::tell_of_choice(HeapId id, const weir_pool_order& order) {
  HeapCandidate heap;
  for_candidates([&](const HeapCandidate& each) {
    if (each.id == id) heap = each;
  });
  OomCandidate chosen;
  chosen.process = static_cast<uint64_t>(os::process_id());
  chosen.handle = id.bits;
  chosen.is_heap = true;
  chosen.name = heap.name;
  chosen.pages = heap.pages;
  chosen.swapped = heap.swapped;
  chosen.oom_score_adj = heap.oom_score_adj;
  chosen.kill = heap.kill;
  const weir_victim victim = record_of(chosen, order.points, chosen.process, order.by);
  if (reclaimer() != nullptr) reclaimer()->note_oom(&victim);
  if (!allocator_->options().oom_dump_tasks) return;
  Line line;
  line.text("weir: pool ").text(allocator_->options().pool.view()).text(" is out of memory for process ");
  line.dec(order.by).text(": heap ").text(heap.name).text(" of this process was chosen, with ").sdec(order.points);
  line.text(" points\n").write_to(2);
}

// By the thread that may run callbacks.
weir_pool_order_result HeapRegistry::carry_out(const weir_pool_order& order, const uint64_t& state) {
  const HeapId id{order.heap};
  if (!find_open(id)) return WEIR_POOL_FREED;
  if (order.kill == WEIR_POOL_KILL_RELEASE) {
    const Answer answer = ask_owner(id, Pages(order.wanted));
    if (answer == Answer::kFreed) return WEIR_POOL_FREED;
    // Its owner may have thought too long.
    if (answer == Answer::kStays || __atomic_load_n(&state, __ATOMIC_ACQUIRE) != order.state) return WEIR_POOL_STAYS;
  }
  tell_of_choice(id, order);
  if (order.kill == WEIR_POOL_KILL_RELEASE) static_cast<void>(empty_heap(id));
  if (order.kill == WEIR_POOL_KILL_FAIL) cap(id, Pages(order.wanted));
  if (order.kill == WEIR_POOL_KILL_ABORT) port::abort_process();
  return WEIR_POOL_DONE;
}

PoolMember::Hooks HeapRegistry::pool_hooks() {
  PoolMember::Hooks h;
  h.self = this;
  h.rows = [](void* self, weir_pool_row* rows, uint32_t most, Pages total) {
    return static_cast<HeapRegistry*>(self)->pool_rows(rows, most, total);
  };
  h.note_kill = [](void* self, Pages held) { static_cast<HeapRegistry*>(self)->oom_.note_kill_of_other(held); };
  h.carry_out = [](void* self, const weir_pool_order& order, const uint64_t& state) {
    return static_cast<HeapRegistry*>(self)->carry_out(order, state);
  };
  return h;
}

}  // namespace weir
