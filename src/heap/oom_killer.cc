#include "heap/oom_killer.h"

#include <optional>

#include "base/port.h"
#include "heap/heap_registry.h"
#include "heap/oom_table.h"
#include "os/proc.h"
#include "os/service_thread.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// How often a thread looks whether the one that decides is done.
constexpr uint64_t kWaitMs = 20;
// And how long it waits for that before it looks for memory by itself again: a process that was chosen may take as long
// to end. (Until then nobody has decided that there is none.)
constexpr uint64_t kMostWaitMs = Reclaimer::kTermMs + 2000;

void report(OomTable& table, const OomDecision& decision, OomAsk& ask) {
  const OomCandidate* victim = decision.victim < table.size() ? &table[decision.victim] : nullptr;
  if (ask.decided != nullptr && ask.decided(victim, decision))
    report_oom(ask.context, table.candidates(), decision, ask.sink);
}

Pages held(const OomCandidate& c) {
  return c.pages + c.swapped;
}

// What all members hold, and may hold.
void add_pool(OomAsk& ask, const PoolDecision& others) {
  const auto load = [](const uint64_t& number) { return Pages(__atomic_load_n(&number, __ATOMIC_RELAXED)); };
  ask.context.limit = load(others.pool().limit);
  for (unsigned i = 0; i < WEIR_POOL_MEMBERS; ++i) {
    if (!others.is_other(i)) continue;
    const weir_pool_member& m = others.pool().members[i];
    ask.context.used += load(m.used);
    ask.context.swap_total += load(m.swap_total);
    ask.context.swap_used += load(m.swap_used);
  }
}

weir_pool_kill number_of(OomKill kill) {
  switch (kill) {
    case OomKill::kFail:
      return WEIR_POOL_KILL_FAIL;
    case OomKill::kAbort:
      return WEIR_POOL_KILL_ABORT;
    case OomKill::kRelease:
      return WEIR_POOL_KILL_RELEASE;
    case OomKill::kSignal:
      return WEIR_POOL_KILL_SIGNAL;
  }
  return WEIR_POOL_KILL_FAIL;
}

PoolDecision::Victim victim_of(const OomTable& table, size_t i, OomKill kill, Pages wanted) {
  PoolDecision::Victim victim;
  victim.member = table.member(i);
  victim.joined = table.joined(i);
  victim.kill = number_of(kill);
  victim.heap = table[i].handle;
  victim.wanted = wanted.v;
  return victim;
}

}  // namespace

OomVerdict OomKiller::out_of_memory(OomAsk& ask) {
  const uint64_t end = os::now_ms() + kMostWaitMs;
  if (busy_.exchange(1, std::memory_order_acquire) != 0) {
    while (busy_.load(std::memory_order_relaxed) != 0 && os::now_ms() < end) os::futex_wait_ms(busy_, 1, kWaitMs);
    return OomVerdict::kTryAgain;
  }
  const OomVerdict verdict = decide(ask);
  busy_.store(0, std::memory_order_release);
  port::futex_wake(busy_, INT32_MAX);
  return verdict;
}

OomVerdict OomKiller::decide(OomAsk& ask) {
  std::optional<PoolDecision> others;
  if (ask.reclaimer != nullptr) {
    others.emplace(*ask.reclaimer);
    if (others->state() == PoolDecision::State::kBusy) {
      os::sleep_ms(kWaitMs);
      return OomVerdict::kTryAgain;
    }
    if (others->state() == PoolDecision::State::kAlone) others.reset();
  }
  if (others && others->has_room(ask.context.wanted)) return OomVerdict::kTryAgain;
  if (others) add_pool(ask, *others);
  OomTable table(heaps_, ask, rest_at_last_kill_, others ? &*others : nullptr);
  return table ? choose(table, ask, others ? &*others : nullptr) : OomVerdict::kFail;
}

OomVerdict OomKiller::choose(OomTable& table, OomAsk& ask, PoolDecision* others) {
  const Pages total = ask.context.limit + ask.context.swap_total;
  // Each time round another candidate is spent.
  for (;;) {
    const OomDecision decision =
        select_victim(table.candidates(), table.asking(), total, ask.kill_allocating, {killed_before_});
    cap_leaking(table, decision.leaking, others);
    if (decision.action == OomAction::kWait && others != nullptr && !table.is_own(decision.victim)) {
      others->wait_for_end(table.member(decision.victim));
      others->take_over(table.member(decision.victim));
      return OomVerdict::kTryAgain;
    }
    if (decision.action != OomAction::kKill) {
      report(table, decision, ask);
      return OomVerdict::kFail;
    }
    const bool own = table.is_own(decision.victim);
    const Done done = own ? carry_out(table, decision, ask) : carry_out_elsewhere(table, decision, ask, *others);
    if (own && others != nullptr && done == Done::kTryAgain) others->note_kill();
    switch (done) {
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

void OomKiller::cap_leaking(OomTable& table, size_t leaking, PoolDecision* others) {
  if (leaking == OomDecision::kNone || !table[leaking].is_heap) return;
  if (table.is_own(leaking)) return heaps_.cap(table.id(leaking), held(table[leaking]));
  static_cast<void>(others->kill(victim_of(table, leaking, OomKill::kFail, held(table[leaking]))));
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
    case OomKill::kSignal:
      // It has nobody to wait for but itself: its allocations fail until it ends.
      report(table, decision, ask);
      if (heaps_.reclaimer() != nullptr) heaps_.reclaimer()->end_process();
      return Done::kFail;
    case OomKill::kFail:
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

// A process is killed for others only if it says so (oom=kill): one that would be aborted, or fail, does so for itself.
OomKiller::Done OomKiller::carry_out_elsewhere(OomTable& table, const OomDecision& decision, OomAsk& ask,
                                               PoolDecision& others) {
  const OomCandidate& chosen = table[decision.victim];
  if (!chosen.is_heap && chosen.kill != OomKill::kSignal) return Done::kNextVictim;
  const Pages wanted = chosen.kill == OomKill::kFail ? held(chosen) : ask.context.wanted;
  PoolDecision::Victim victim = victim_of(table, decision.victim, chosen.kill, wanted);
  victim.points = decision.points;
  // A process gets its signal whatever it says to that; a heap's owner may not agree.
  if (!chosen.is_heap) report(table, decision, ask);
  const PoolDecision::Answer answer = others.kill(victim);
  if (answer == PoolDecision::Answer::kStays || answer == PoolDecision::Answer::kNone) return Done::kNextVictim;
  if (chosen.is_heap && answer == PoolDecision::Answer::kDone) report(table, decision, ask);
  if (answer == PoolDecision::Answer::kDone) {
    remember(table, decision.victim);
    others.note_kill();
  }
  if (chosen.kill == OomKill::kFail) return Done::kNextVictim;
  others.take_over(table.member(decision.victim));
  return Done::kTryAgain;
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
  for (size_t i = 0; i < table.size(); ++i) {
    if (!table.is_own(i) || i == victim) continue;
    if (table[i].is_heap)
      heaps_.note_kill(table.id(i), held(table[i]));
    else
      rest_at_last_kill_ = held(table[i]);
  }
}

// -- of decisions of other members -----------------------------------------------------------------------------------

void OomKiller::note_kill_of_other(Pages all) {
  Pages in_heaps;
  heaps_.note_kill_of_all(in_heaps);
  killed_before_ = true;
  rest_at_last_kill_ = all > in_heaps ? all - in_heaps : Pages(0);
}

}  // namespace weir
