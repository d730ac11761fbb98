#include "heap/oom_killer.h"

#include <algorithm>

#include "heap/heap_registry.h"
#include "os/service_thread.h"
#include "os/vm.h"

namespace weir {
namespace {

// How long a thread waits for the one that decides before it looks for memory by itself again.
constexpr uint64_t kWaitMs = 20;

}  // namespace

// The candidates of one decision, in the order of their creation: first what the program has in no heap.
class OomTable {
 public:
  OomTable(HeapRegistry& heaps, OomAsk& ask, Pages rest_at_last_kill) {
    const uint32_t room = heaps.nr_places() + 1;
    bytes_ = align_up(room * (sizeof(HeapCandidate) + sizeof(OomCandidate)), kPageSize);
    memory_ = os::vm_map(bytes_);
    if (memory_ == nullptr) return;
    heaps_ = static_cast<HeapCandidate*>(memory_);
    candidates_ = reinterpret_cast<OomCandidate*>(heaps_ + room);
    nr_ = 1 + heaps.candidates(heaps_ + 1, room - 1);
    std::sort(heaps_ + 1, heaps_ + nr_, [](const auto& a, const auto& b) { return a.serial < b.serial; });
    make_rest(ask, rest_at_last_kill);
    for (size_t i = 1; i < nr_; ++i) make_heap(ask, i);
    ask.context.asking_index = asking_;
    if (asking_ < nr_) ask.context.oom_score_adj = candidates_[asking_].oom_score_adj;
  }
  ~OomTable() {
    if (memory_ != nullptr) os::vm_unmap(memory_, bytes_);
  }
  OomTable(const OomTable&) = delete;
  OomTable& operator=(const OomTable&) = delete;

  explicit operator bool() const { return memory_ != nullptr; }
  std::span<const OomCandidate> candidates() const { return {candidates_, nr_}; }
  const OomCandidate& operator[](size_t i) const { return candidates_[i]; }
  size_t asking() const { return asking_; }
  HeapId id(size_t i) const { return heaps_[i].id; }
  size_t size() const { return nr_; }
  void set_spent(size_t i) { candidates_[i].state = OomState::kSpent; }
  void note_kill() {
    for (size_t i = 0; i < nr_; ++i) candidates_[i].held_at_last_kill = candidates_[i].pages + candidates_[i].swapped;
  }

 private:
  void make_rest(OomAsk& ask, Pages at_last_kill) {
    OomCandidate& rest = candidates_[0] = ask.process;
    for (size_t i = 1; i < nr_; ++i) {
      rest.pages = less(rest.pages, heaps_[i].pages);
      rest.swapped = less(rest.swapped, heaps_[i].swapped);
    }
    rest.held_at_last_kill = at_last_kill;
    if (ask.owner == 0) asking_ = 0;
  }
  void make_heap(OomAsk& ask, size_t i) {
    const HeapCandidate& heap = heaps_[i];
    OomCandidate& c = candidates_[i] = OomCandidate();
    c.id = heap.id.index();
    c.process = ask.process.process;
    c.user = ask.process.user;
    c.name = heap.name;
    c.is_heap = true;
    c.pages = heap.pages;
    c.swapped = heap.swapped;
    c.oom_score_adj = heap.oom_score_adj;
    c.state = heap.capped ? OomState::kSpent : OomState::kRuns;
    c.kill = heap.kill;
    c.held_at_last_kill = heap.held_at_last_kill;
    if (ask.owner != heap.id.index()) return;
    asking_ = i;
    ask.context.asking = c.name;
  }
  static Pages less(Pages a, Pages b) { return a > b ? a - b : Pages(0); }

  void* memory_ = nullptr;
  size_t bytes_ = 0;
  HeapCandidate* heaps_ = nullptr;
  OomCandidate* candidates_ = nullptr;
  size_t nr_ = 0;
  size_t asking_ = OomDecision::kNone;
};

namespace {

void report(OomTable& table, const OomDecision& decision, OomAsk& ask) {
  const bool heap_loses = decision.victim < table.size() && table[decision.victim].is_heap;
  if (ask.decided != nullptr && ask.decided(heap_loses))
    report_oom(ask.context, table.candidates(), decision, ask.sink);
}

Pages held(const OomCandidate& c) {
  return c.pages + c.swapped;
}

}  // namespace

OomVerdict OomKiller::out_of_memory(OomAsk& ask) {
  if (busy_.exchange(1, std::memory_order_acquire) != 0) {
    os::futex_wait_ms(busy_, 1, kWaitMs);
    return OomVerdict::kTryAgain;
  }
  OomVerdict verdict = OomVerdict::kFail;
  if (OomTable table(heaps_, ask, rest_at_last_kill_); table) verdict = choose(table, ask);
  busy_.store(0, std::memory_order_release);
  port::futex_wake(busy_, INT32_MAX);
  return verdict;
}

OomVerdict OomKiller::choose(OomTable& table, OomAsk& ask) {
  const Pages total = ask.context.limit + ask.context.swap_total;
  // Each time round another candidate is spent.
  for (;;) {
    const OomDecision decision =
        select_victim(table.candidates(), table.asking(), total, ask.kill_allocating, {killed_before_});
    if (decision.leaking != OomDecision::kNone && table[decision.leaking].is_heap)
      heaps_.cap(table.id(decision.leaking), held(table[decision.leaking]));
    if (decision.action != OomAction::kKill) {
      report(table, decision, ask);
      return OomVerdict::kFail;
    }
    switch (carry_out(table, decision, ask)) {
      case Done::kTryAgain:
        return OomVerdict::kTryAgain;
      case Done::kFail:
        return OomVerdict::kFail;
      case Done::kAbort:
        return OomVerdict::kAbort;
      case Done::kNextVictim:
        table.set_spent(decision.victim);
    }
  }
}

OomKiller::Done OomKiller::carry_out(OomTable& table, const OomDecision& decision, OomAsk& ask) {
  const OomCandidate& victim = table[decision.victim];
  const bool asks = decision.victim == table.asking();
  switch (victim.kill) {
    case OomKill::kRelease:
      return release(table, decision, ask);
    case OomKill::kAbort:
      report(table, decision, ask);
      return Done::kAbort;
    case OomKill::kFail:
    case OomKill::kSignal:
      break;
  }
  // Of what lies in no heap, an allocation that fails is all there is to it, and only its own.
  if (!victim.is_heap && !asks) return Done::kNextVictim;
  report(table, decision, ask);
  if (victim.is_heap) {
    heaps_.cap(table.id(decision.victim), held(victim));
    remember(table, OomDecision::kNone);
  }
  return asks ? Done::kFail : Done::kNextVictim;
}

// Its owner is asked first, and may have freed enough.
OomKiller::Done OomKiller::release(OomTable& table, const OomDecision& decision, OomAsk& ask) {
  const HeapId id = table.id(decision.victim);
  const Pages wanted = ask.context.wanted;
  switch (heaps_.ask_owner(id, wanted)) {
    case HeapRegistry::Answer::kStays:
      return Done::kNextVictim;
    case HeapRegistry::Answer::kFreed:
      return Done::kTryAgain;
    case HeapRegistry::Answer::kMayGo:
      break;
  }
  report(table, decision, ask);
  static_cast<void>(heaps_.empty_heap(id));
  remember(table, decision.victim);
  return Done::kTryAgain;
}

// What everybody holds at a kill is what growth is measured by.
void OomKiller::remember(OomTable& table, size_t victim) {
  killed_before_ = true;
  table.note_kill();
  rest_at_last_kill_ = held(table[0]);
  for (size_t i = 1; i < table.size(); ++i)
    if (i != victim) heaps_.note_kill(table.id(i), held(table[i]));
}

}  // namespace weir
