// victim_test.cc: who is chosen: situations by hand, thousands of random ones against a model that sorts instead of
// searching and reckons in 128 bits, and whole stories in which an exempt candidate leaks.
#include "oom/victim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "oom/badness.h"
#include "support/random.h"

namespace weir {
namespace {

constexpr Pages kTotal(100000);
constexpr size_t kNone = OomDecision::kNone;
constexpr OomHistory kFirst{false}, kAfterAKill{true};

OomCandidate holds(uint64_t pages, int adj = 0, uint64_t swapped = 0) {
  OomCandidate c;
  c.pages = Pages(pages);
  c.swapped = Pages(swapped);
  c.oom_score_adj = adj;
  return c;
}

OomCandidate grown(OomCandidate c, uint64_t held_before) {
  c.held_at_last_kill = Pages(held_before);
  return c;
}

OomCandidate in_state(OomCandidate c, OomState state) {
  c.state = state;
  return c;
}

using Candidates = std::vector<OomCandidate>;

void expect(const OomDecision& d, OomAction action, OomReason reason, size_t victim, size_t leaking = kNone) {
  EXPECT_EQ(d.action, action);
  EXPECT_EQ(d.reason, reason);
  EXPECT_EQ(d.victim, victim);
  EXPECT_EQ(d.leaking, leaking);
}

TEST(SelectVictim, MostPointsAndOfThoseTheLatest) {
  expect(select_victim(Candidates{holds(10), holds(30), holds(20)}, 0, kTotal, false, kFirst), OomAction::kKill,
         OomReason::kMostPoints, 1);
  const OomDecision tie =
      select_victim(Candidates{holds(30), holds(30), holds(10, 0, 20), holds(29)}, 0, kTotal, false, kFirst);
  expect(tie, OomAction::kKill, OomReason::kMostPoints, 2);
  EXPECT_EQ(tie.points, 30);
  expect(select_victim(Candidates{holds(5000), holds(10, 60)}, 0, kTotal, false, kFirst), OomAction::kKill,
         OomReason::kMostPoints, 1);
  // Fewer than no points are still points.
  expect(select_victim(Candidates{holds(1, -900), holds(1, -800), holds(90000, -1000)}, 2, kTotal, false, kFirst),
         OomAction::kKill, OomReason::kMostPoints, 1);
}

TEST(SelectVictim, WhoHasNothingToGiveIsPassedOver) {
  expect(select_victim(Candidates{holds(1), holds(0, 1000)}, 0, kTotal, false, kFirst), OomAction::kKill,
         OomReason::kMostPoints, 0);
  expect(select_victim(Candidates{in_state(holds(500), OomState::kSpent), holds(2)}, 0, kTotal, false, kFirst),
         OomAction::kKill, OomReason::kMostPoints, 1);
  expect(select_victim(Candidates{holds(500, -1000), holds(0)}, 1, kTotal, false, kFirst), OomAction::kFail,
         OomReason::kNobody, kNone);
  expect(select_victim(Candidates{}, kNone, kTotal, true, kFirst), OomAction::kFail, OomReason::kNobody, kNone);
  expect(select_victim(Candidates{}, 3, kTotal, true, kAfterAKill), OomAction::kFail, OomReason::kNobody, kNone);
}

TEST(SelectVictim, TheOneThatAsksIsNotPreferredUnlessSaidSo) {
  const Candidates all{holds(10), holds(30)};
  expect(select_victim(all, 0, kTotal, false, kFirst), OomAction::kKill, OomReason::kMostPoints, 1);
  expect(select_victim(all, 0, kTotal, true, kFirst), OomAction::kKill, OomReason::kAllocating, 0);
  expect(select_victim(all, kNone, kTotal, true, kFirst), OomAction::kKill, OomReason::kMostPoints, 1);
  expect(select_victim(Candidates{holds(10, -1000), holds(30)}, 0, kTotal, true, kFirst), OomAction::kKill,
         OomReason::kMostPoints, 1);
  expect(select_victim(Candidates{holds(0), holds(30)}, 0, kTotal, true, kFirst), OomAction::kKill,
         OomReason::kMostPoints, 1);
}

TEST(SelectVictim, OneAfterTheOther) {
  const Candidates all{holds(10), in_state(holds(30), OomState::kDying), holds(50)};
  expect(select_victim(all, 0, kTotal, false, kFirst), OomAction::kWait, OomReason::kEarlier, 1);
  expect(select_victim(all, 1, kTotal, false, kFirst), OomAction::kFail, OomReason::kAskingDies, kNone);
  expect(select_victim(all, 0, kTotal, true, kFirst), OomAction::kKill, OomReason::kAllocating, 0);
}

TEST(SelectVictim, AnExemptLeakFailsInsteadOfTheOthers) {
  const Candidates leaking{grown(holds(900, -1000), 500), grown(holds(40), 40), grown(holds(30), 10)};
  expect(select_victim(leaking, 0, kTotal, false, kAfterAKill), OomAction::kFail, OomReason::kExemptGrew, kNone, 0);
  expect(select_victim(leaking, 0, kTotal, false, kFirst), OomAction::kKill, OomReason::kMostPoints, 1);
  // Somebody else asks: he gets what he needs, and it is said whose fault it is.
  expect(select_victim(leaking, 2, kTotal, false, kAfterAKill), OomAction::kKill, OomReason::kMostPoints, 1, 0);
  // Others have grown more.
  expect(select_victim(Candidates{grown(holds(900, -1000), 800), holds(101)}, 0, kTotal, false, kAfterAKill),
         OomAction::kKill, OomReason::kMostPoints, 1);
  // As much: failing is milder than killing.
  expect(select_victim(Candidates{grown(holds(900, -1000), 799), holds(101)}, 0, kTotal, false, kAfterAKill),
         OomAction::kFail, OomReason::kExemptGrew, kNone, 0);
  // It has not grown at all.
  expect(
      select_victim(Candidates{grown(holds(900, -1000), 900), grown(holds(101), 500)}, 0, kTotal, false, kAfterAKill),
      OomAction::kKill, OomReason::kMostPoints, 1);
  // Of two, the one that asks.
  expect(select_victim(Candidates{holds(50, -1000), holds(50, -1000), holds(1)}, 1, kTotal, false, kAfterAKill),
         OomAction::kFail, OomReason::kExemptGrew, kNone, 1);
}

// -- the model -------------------------------------------------------------------------------------------------------

__int128 model_held(const OomCandidate& c) {
  return static_cast<__int128>(c.pages.v) + c.swapped.v;
}

struct Ranked {
  size_t index;
  __int128 points;
};

// All who can be chosen, best victim first.
std::vector<Ranked> ranking(const Candidates& all, Pages total) {
  std::vector<Ranked> order;
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].oom_score_adj != -1000 && all[i].state == OomState::kRuns && model_held(all[i]) > 0)
      order.push_back({i, model_held(all[i]) + static_cast<__int128>(all[i].oom_score_adj) * (total.v / 1000)});
  std::sort(order.begin(), order.end(), [](const Ranked& a, const Ranked& b) {
    return a.points != b.points ? a.points > b.points : a.index > b.index;
  });
  return order;
}

// Who has grown more than everybody that is not exempt; `asking` first.
std::optional<size_t> model_leaking(const Candidates& all, size_t asking, bool killed_before) {
  if (!killed_before) return std::nullopt;
  std::vector<std::pair<__int128, size_t>> order;
  for (size_t i = 0; i < all.size(); ++i) order.push_back({model_held(all[i]) - all[i].held_at_last_kill.v, i});
  std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first > b.first;
    const bool exempt_a = all[a.second].oom_score_adj == -1000, exempt_b = all[b.second].oom_score_adj == -1000;
    if (exempt_a != exempt_b) return exempt_a;
    if ((a.second == asking) != (b.second == asking)) return a.second == asking;
    return a.second < b.second;
  });
  if (order.empty() || order[0].first <= 0 || all[order[0].second].oom_score_adj != -1000) return std::nullopt;
  return order[0].second;
}

struct Expected {
  OomAction action;
  OomReason reason;
  size_t victim;
};

Expected model(const Candidates& all, size_t asking, Pages total, bool kill_allocating, bool killed_before) {
  const bool asked = asking < all.size();
  if (asked && all[asking].state == OomState::kDying) return {OomAction::kFail, OomReason::kAskingDies, kNone};
  const std::vector<Ranked> order = ranking(all, total);
  const bool asking_can =
      std::any_of(order.begin(), order.end(), [&](const Ranked& each) { return each.index == asking; });
  if (kill_allocating && asking_can) return {OomAction::kKill, OomReason::kAllocating, asking};
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].state == OomState::kDying) return {OomAction::kWait, OomReason::kEarlier, i};
  if (asked && model_leaking(all, asking, killed_before) == asking)
    return {OomAction::kFail, OomReason::kExemptGrew, kNone};
  if (order.empty()) return {OomAction::kFail, OomReason::kNobody, kNone};
  return {OomAction::kKill, OomReason::kMostPoints, order[0].index};
}

// Few different numbers, so that ties are frequent.
OomCandidate any_candidate(Random& random) {
  const auto few = [&] { return random.below(4) == 0 ? random.below(100000) : random.below(6) * 100; };
  OomCandidate c = holds(few(), 0, random.below(2) * few());
  constexpr int kAdjustments[] = {-1000, -1000, -999, -500, -10, 0, 0, 0, 0, 10, 500, 1000};
  c.oom_score_adj = kAdjustments[random.below(std::size(kAdjustments))];
  c.held_at_last_kill = Pages(few());
  const uint64_t state = random.below(20);
  c.state = state == 0 ? OomState::kDying : state < 3 ? OomState::kSpent : OomState::kRuns;
  return c;
}

TEST(SelectVictim, AgreesWithTheModel) {
  Random random(2);
  unsigned actions[3] = {}, reasons[6] = {};
  for (int i = 0; i < 100000; ++i) {
    Candidates all;
    const uint64_t count = random.below(12);
    for (uint64_t n = 0; n < count; ++n) all.push_back(any_candidate(random));
    const size_t asking = random.below(8) == 0 ? kNone : random.below(count + 1);
    const Pages total(random.below(3) == 0 ? random.below(2000) : random.below(1000000));
    const bool kill_allocating = random.below(4) == 0, killed_before = random.below(2) == 0;
    const OomDecision got = select_victim(all, asking, total, kill_allocating, {killed_before});
    const Expected want = model(all, asking, total, kill_allocating, killed_before);
    ASSERT_EQ(got.action, want.action) << "situation " << i;
    ASSERT_EQ(got.reason, want.reason) << "situation " << i;
    ASSERT_EQ(got.victim, want.victim) << "situation " << i;
    ASSERT_EQ(got.leaking, model_leaking(all, asking, killed_before).value_or(kNone)) << "situation " << i;
    if (got.action == OomAction::kKill) {
      const OomCandidate& victim = all[got.victim];
      ASSERT_EQ(got.points, oom_badness(victim.pages, victim.swapped, victim.oom_score_adj, total));
      ASSERT_NE(got.points, kOomNever);
    }
    ++actions[static_cast<size_t>(got.action)];
    ++reasons[static_cast<size_t>(got.reason)];
  }
  for (const unsigned seen : actions) EXPECT_GT(seen, 1000u);
  for (const unsigned seen : reasons) EXPECT_GT(seen, 500u) << "every reason was among them";
}

// Heaps that hold what they need, and one exempt one that leaks whatever it can get. Whoever asks, at most one of them
// goes before the leak is told from the rest.
TEST(SelectVictim, ALeakDoesNotKillOneAfterTheOther) {
  constexpr uint64_t kLimit = 10000, kHeaps = 8;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    Candidates all;
    for (uint64_t i = 0; i < kHeaps; ++i) all.push_back(holds(500 + random.below(200)));
    const size_t leak = random.below(kHeaps);
    all[leak].oom_score_adj = -1000;
    OomHistory history;
    size_t refused = kNone;  // whose allocations fail
    unsigned kills = 0, failures = 0;
    for (int step = 0; step < 5000; ++step) {
      // Mostly the leak asks; the others give back what they took before.
      const size_t asking = random.below(4) != 0 ? leak : random.below(kHeaps);
      if (asking == refused) {
        ++failures;
        continue;
      }
      const uint64_t wanted = 1 + random.below(20);
      uint64_t used = 0;
      for (const OomCandidate& c : all) used += c.pages.v;
      if (used + wanted <= kLimit) {
        all[asking].pages += Pages(wanted);
        if (asking != leak) all[asking].pages -= Pages(wanted);
        continue;
      }
      const OomDecision decision = select_victim(all, asking, Pages(kLimit), false, history);
      if (decision.leaking != kNone) refused = decision.leaking;
      if (decision.action == OomAction::kFail) {
        ++failures;
        continue;
      }
      ASSERT_NE(decision.victim, leak);
      all[decision.victim].pages = Pages(0);
      for (OomCandidate& c : all) c.held_at_last_kill = c.pages + c.swapped;
      history.killed_before = true;
      ++kills;
    }
    ASSERT_LE(kills, 2u) << "seed " << seed;
    ASSERT_GT(failures, 100u) << "seed " << seed << ": the leak goes on, and fails";
  }
}

}  // namespace
}  // namespace weir
