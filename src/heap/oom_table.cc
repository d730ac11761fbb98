#include "heap/oom_table.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "heap/heap_registry.h"
#include "oom/badness.h"
#include "os/thread.h"
#include "os/vm.h"

namespace weir {
namespace {

Pages less(Pages a, Pages b) {
  return a > b ? a - b : Pages(0);
}

// Numbers of another process are looked at before they are used.
OomKill kill_of(uint16_t number, bool is_heap) {
  switch (number) {
    case WEIR_POOL_KILL_ABORT:
      return OomKill::kAbort;
    case WEIR_POOL_KILL_RELEASE:
      return is_heap ? OomKill::kRelease : OomKill::kFail;
    case WEIR_POOL_KILL_SIGNAL:
      return is_heap ? OomKill::kFail : OomKill::kSignal;
    default:
      return OomKill::kFail;
  }
}

OomState state_of(uint16_t number) {
  return number == WEIR_POOL_ROW_RUNS    ? OomState::kRuns
         : number == WEIR_POOL_ROW_DYING ? OomState::kDying
                                         : OomState::kSpent;
}

}  // namespace

OomTable::OomTable(HeapRegistry& heaps, OomAsk& ask, Pages rest_at_last_kill, const PoolDecision* others) {
  size_t room = heaps.nr_places() + 1;
  if (others != nullptr) room += size_t{WEIR_POOL_MEMBERS} * WEIR_POOL_ROWS;
  if (!map(room)) return;
  add_own(heaps, ask, rest_at_last_kill);
  if (others != nullptr) add_others(*others);
  std::sort(entries_, entries_ + nr_, [](const Entry& a, const Entry& b) {
    if (a.candidate.is_heap != b.candidate.is_heap) return b.candidate.is_heap;
    return a.serial < b.serial;
  });
  for (size_t i = 0; i < nr_; ++i) {
    OomCandidate& c = candidates_[i] = entries_[i].candidate;
    c.name = {entries_[i].name, strnlen(entries_[i].name, sizeof(entries_[i].name))};
    if (!is_own(i) || (ask.owner == 0 ? c.is_heap : c.id != ask.owner || !c.is_heap)) continue;
    asking_ = i;
    ask.context.asking = c.name;
    ask.context.oom_score_adj = c.oom_score_adj;
  }
  ask.context.asking_index = asking_;
}

OomTable::~OomTable() {
  if (memory_ != nullptr) os::vm_unmap(memory_, bytes_);
}

bool OomTable::map(size_t room) {
  bytes_ = align_up(room * (sizeof(Entry) + sizeof(OomCandidate)), kPageSize);
  memory_ = os::vm_map(bytes_);
  if (memory_ == nullptr) return false;
  // Only what is used of it becomes memory.
  room_ = room;
  entries_ = static_cast<Entry*>(memory_);
  candidates_ = reinterpret_cast<OomCandidate*>(entries_ + room);
  return true;
}

void OomTable::add_own(HeapRegistry& heaps, const OomAsk& ask, Pages rest_at_last_kill) {
  Entry& rest = *new (&add()) Entry();
  rest.candidate = ask.process;
  rest.candidate.held_at_last_kill = rest_at_last_kill;
  const size_t name = std::min(ask.process.name.size(), sizeof(rest.name) - 1);
  memcpy(rest.name, ask.process.name.data(), name);
  heaps.for_candidates([&](const HeapCandidate& heap) {
    if (nr_ == room_) return;
    Entry& entry = *new (&add()) Entry();
    OomCandidate& c = entry.candidate;
    entry.serial = heap.serial;
    memcpy(entry.name, heap.name, sizeof(entry.name));
    c.id = heap.id.index();
    c.handle = heap.id.bits;
    c.process = ask.process.process;
    c.user = ask.process.user;
    c.is_heap = true;
    c.pages = heap.pages;
    c.swapped = heap.swapped;
    c.oom_score_adj = heap.oom_score_adj;
    c.state = heap.capped ? OomState::kSpent : OomState::kRuns;
    c.kill = heap.kill;
    c.held_at_last_kill = heap.held_at_last_kill;
    rest.candidate.pages = less(rest.candidate.pages, c.pages);
    rest.candidate.swapped = less(rest.candidate.swapped, c.swapped);
  });
}

// -- of other members ------------------------------------------------------------------------------------------------

void OomTable::add_others(const PoolDecision& others) {
  for (unsigned i = 0; i < WEIR_POOL_MEMBERS; ++i) {
    if (!others.is_other(i)) continue;
    uint32_t count = 0;
    const weir_pool_row* rows = others.rows(i, count);
    add_member(others.pool().members[i], i, rows, count);
  }
}

// One that does not answer can still be killed, when it allows that.
void OomTable::add_member(const weir_pool_member& member, unsigned index, const weir_pool_row* rows, uint32_t nr_rows) {
  if (rows != nullptr) {
    for (uint32_t i = 0; i < nr_rows && nr_ < room_; ++i) add_row(member, index, rows[i]);
    return;
  }
  weir_pool_row row = {};
  row.serial = member.joined;
  row.pages = member.used;
  row.swapped = member.swapped;
  row.oom_score_adj = member.oom_score_adj;
  row.kill = member.kill;
  row.state = member.dying != 0                      ? WEIR_POOL_ROW_DYING
              : member.kill == WEIR_POOL_KILL_SIGNAL ? WEIR_POOL_ROW_RUNS
                                                     : WEIR_POOL_ROW_SPENT;
  memcpy(row.name, member.command, sizeof(member.command));
  if (nr_ < room_) add_row(member, index, row);
}

void OomTable::add_row(const weir_pool_member& member, unsigned index, const weir_pool_row& row) {
  Entry& entry = *new (&add()) Entry();
  OomCandidate& c = entry.candidate;
  entry.serial = row.serial;
  entry.member = index;
  entry.joined = member.joined;
  memcpy(entry.name, row.name, sizeof(entry.name));
  c.is_heap = row.heap != 0;
  c.process = member.pid;
  c.id = c.is_heap ? HeapId{row.heap}.index() : member.pid;
  c.handle = row.heap;
  c.user = os::effective_user_id();
  c.pages = Pages(row.pages);
  c.swapped = Pages(row.swapped);
  c.oom_score_adj = std::clamp(int{row.oom_score_adj}, kOomScoreAdjMin, kOomScoreAdjMax);
  c.state = state_of(row.state);
  c.kill = kill_of(row.kill, c.is_heap);
  c.held_at_last_kill = Pages(row.held_at_last_kill);
}

}  // namespace weir
