#include "oom/victim.h"

#include "oom/badness.h"

namespace weir {
namespace {

uint64_t held(const OomCandidate& c) {
  uint64_t sum;
  return __builtin_add_overflow(c.pages.v, c.swapped.v, &sum) ? UINT64_MAX : sum;
}

// 0 for who has shrunk.
uint64_t growth(const OomCandidate& c) {
  return held(c) > c.held_at_last_kill.v ? held(c) - c.held_at_last_kill.v : 0;
}

bool is_exempt(const OomCandidate& c) {
  return c.oom_score_adj <= kOomScoreAdjMin;
}

bool can_be_chosen(const OomCandidate& c) {
  return !is_exempt(c) && c.state == OomState::kRuns && held(c) != 0;
}

// The exempt candidate that has grown most: who asks before others that have grown as much, and those before
// candidates that are not exempt.
size_t find_leaking(std::span<const OomCandidate> candidates, size_t asking, OomHistory history) {
  if (!history.killed_before) return OomDecision::kNone;
  uint64_t most = 0;
  for (const OomCandidate& c : candidates)
    if (growth(c) > most) most = growth(c);
  if (most == 0) return OomDecision::kNone;
  const auto leaks = [&](size_t i) { return is_exempt(candidates[i]) && growth(candidates[i]) == most; };
  if (asking < candidates.size() && leaks(asking)) return asking;
  for (size_t i = 0; i < candidates.size(); ++i)
    if (leaks(i)) return i;
  return OomDecision::kNone;
}

size_t find_dying(std::span<const OomCandidate> candidates) {
  for (size_t i = 0; i < candidates.size(); ++i)
    if (candidates[i].state == OomState::kDying) return i;
  return OomDecision::kNone;
}

int64_t points_of(const OomCandidate& c, Pages total) {
  return oom_badness(c.pages, c.swapped, c.oom_score_adj, total);
}

}  // namespace

OomDecision select_victim(std::span<const OomCandidate> candidates, size_t asking, Pages total, bool kill_allocating,
                          OomHistory history) {
  OomDecision decision;
  decision.leaking = find_leaking(candidates, asking, history);
  const auto choose = [&](OomAction action, OomReason reason, size_t victim) {
    decision.action = action;
    decision.reason = reason;
    decision.victim = victim;
    if (victim != OomDecision::kNone) decision.points = points_of(candidates[victim], total);
    return decision;
  };
  const bool known = asking < candidates.size();
  if (known && candidates[asking].state == OomState::kDying)
    return choose(OomAction::kFail, OomReason::kAskingDies, OomDecision::kNone);
  if (known && kill_allocating && can_be_chosen(candidates[asking]))
    return choose(OomAction::kKill, OomReason::kAllocating, asking);
  if (const size_t dying = find_dying(candidates); dying != OomDecision::kNone)
    return choose(OomAction::kWait, OomReason::kEarlier, dying);
  if (known && decision.leaking == asking) return choose(OomAction::kFail, OomReason::kExemptGrew, OomDecision::kNone);
  size_t victim = OomDecision::kNone;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!can_be_chosen(candidates[i])) continue;
    if (victim == OomDecision::kNone || points_of(candidates[i], total) >= points_of(candidates[victim], total))
      victim = i;
  }
  if (victim == OomDecision::kNone) return choose(OomAction::kFail, OomReason::kNobody, victim);
  return choose(OomAction::kKill, OomReason::kMostPoints, victim);
}

}  // namespace weir
