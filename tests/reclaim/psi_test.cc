// psi_test.cc: pressure by a clock of the test's own: totals and averages against an independent computation with real
// numbers over random stalls, the text, and triggers against the stalls as they were.
#include "reclaim/psi.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/random.h"

namespace weir {
namespace {

constexpr uint64_t kSecond = 1'000'000'000, kMs = 1'000'000;

double as_double(Psi::Percent p) {
  return static_cast<double>(p.whole) + static_cast<double>(p.hundredths) / 100;
}

TEST(Psi, SomeAndFull) {
  Psi psi;
  psi.start(5 * kSecond);
  psi.begin_stall(6 * kSecond, 2);  // one of two
  psi.update(7 * kSecond, 2);
  EXPECT_EQ(psi.total_ns(Psi::kSome), kSecond);
  EXPECT_EQ(psi.total_ns(Psi::kFull), 0u);
  psi.begin_stall(8 * kSecond, 2);  // both
  psi.end_stall(9 * kSecond, 2);
  EXPECT_EQ(psi.total_ns(Psi::kSome), 3 * kSecond);
  EXPECT_EQ(psi.total_ns(Psi::kFull), kSecond);
  psi.update(10 * kSecond, 1);  // the other one has ended
  psi.end_stall(11 * kSecond, 1);
  EXPECT_EQ(psi.total_ns(Psi::kSome), 5 * kSecond);
  EXPECT_EQ(psi.total_ns(Psi::kFull), 2 * kSecond);
  psi.update(20 * kSecond, 1);
  EXPECT_EQ(psi.total_ns(Psi::kSome), 5 * kSecond);
  EXPECT_EQ(psi.nr_stalled(), 0u);
  // More stalled than known: threads that never allocated.
  psi.begin_stall(21 * kSecond, 0);
  psi.end_stall(22 * kSecond, 0);
  EXPECT_EQ(psi.total_ns(Psi::kFull), 3 * kSecond);
  // A time that was read a little earlier, and an end without a beginning.
  psi.end_stall(21 * kSecond, 0);
  psi.update(22 * kSecond, 0);
  EXPECT_EQ(psi.total_ns(Psi::kFull), 3 * kSecond);
  EXPECT_EQ(psi.nr_stalled(), 0u);
}

TEST(Psi, Text) {
  Psi psi;
  Line line;
  psi.format(line);
  EXPECT_EQ(line.view(),
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
  line.clear();
  psi.start(0);
  psi.begin_stall(0, 2);
  psi.update(2 * kSecond, 2);
  psi.format(line);
  // 1 - 1677/2048, 1 - 1981/2048, 1 - 2034/2048 of 100%, cut to hundredths.
  EXPECT_EQ(line.view(),
            "some avg10=18.11 avg60=3.27 avg300=0.68 total=2000000\n"
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
}

TEST(Psi, StalledAllTheTimeIsAHundredPercent) {
  Psi psi;
  psi.start(0);
  psi.begin_stall(0, 1);
  for (uint64_t now = 0; now <= 3600 * kSecond; now += 2 * kSecond) psi.update(now, 1);
  for (const Psi::Kind kind : {Psi::kSome, Psi::kFull})
    for (unsigned i = 0; i < Psi::kNrAverages; ++i) EXPECT_EQ(as_double(psi.average(kind, i)), 100.0) << i;
  // Nobody came by for an hour in which nothing happened.
  psi.end_stall(3600 * kSecond, 1);
  psi.update(7200 * kSecond, 1);
  for (unsigned i = 0; i < Psi::kNrAverages; ++i) EXPECT_LT(as_double(psi.average(Psi::kSome, i)), 0.1) << i;
}

// Random stalls of several threads; the same times summed up interval by interval, and averaged in real numbers.
class Replay {
 public:
  explicit Replay(uint64_t seed) : random_(seed) {}

  void run() {
    psi_.start(now_);
    for (int step = 0; step < 20000; ++step) {
      pass(random_.below(4) == 0 ? random_.below(3 * kSecond) : random_.below(100 * kMs));
      const uint64_t what = random_.below(10);
      if (what == 0) threads_ = 1 + random_.below(6);
      if (what < 5 && stalled_ < threads_) {
        ++stalled_;
        psi_.begin_stall(now_, threads_);
      } else if (what < 9 && stalled_ != 0) {
        --stalled_;
        psi_.end_stall(now_, threads_);
      } else {
        if (stalled_ > threads_) threads_ = stalled_;
        psi_.update(now_, threads_);
      }
      if (what == 0) psi_.update(now_, threads_);
      look();
      if (testing::Test::HasFatalFailure()) return;
    }
  }

 private:
  // Time passes, with updates as kswapd makes them.
  void pass(uint64_t ns) {
    for (const uint64_t end = now_ + ns; now_ < end;) {
      const uint64_t step = std::min<uint64_t>(end - now_, 50 * kMs);
      if (stalled_ != 0) some_ += step;
      if (stalled_ != 0 && stalled_ >= threads_) full_ += step;
      now_ += step;
      psi_.update(now_, threads_);
      average();
    }
  }
  void average() {
    if (now_ < next_) return;
    const double period = static_cast<double>(now_ - last_) / kSecond;
    const double totals[] = {static_cast<double>(some_), static_cast<double>(full_)};
    constexpr double kOver[] = {10, 60, 300};
    for (int kind = 0; kind < 2; ++kind) {
      const double percent = (totals[kind] - before_[kind]) / kSecond / period * 100;
      before_[kind] = totals[kind];
      for (int i = 0; i < 3; ++i) {
        const double decay = std::exp(-2 / kOver[i]);
        averages_[kind][i] = averages_[kind][i] * decay + percent * (1 - decay);
      }
    }
    last_ = now_;
    next_ += 2 * kSecond;
  }
  void look() {
    ASSERT_EQ(psi_.total_ns(Psi::kSome), some_);
    ASSERT_EQ(psi_.total_ns(Psi::kFull), full_);
    for (int kind = 0; kind < 2; ++kind)
      for (unsigned i = 0; i < 3; ++i)
        // Samples are whole percents, constants have 11 bits.
        ASSERT_NEAR(as_double(psi_.average(static_cast<Psi::Kind>(kind), i)), averages_[kind][i], 1.1)
            << "kind " << kind << " average " << i;
  }

  Random random_;
  Psi psi_;
  uint64_t now_ = 77 * kSecond, last_ = now_, next_ = now_ + 2 * kSecond;
  uint64_t threads_ = 3, stalled_ = 0, some_ = 0, full_ = 0;
  double before_[2] = {}, averages_[2][3] = {};
};

TEST(Psi, AgreesWithRealNumbers) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Replay(seed).run();
    if (HasFatalFailure()) return;
  }
}

// -- triggers --------------------------------------------------------------------------------------------------------

TEST(PsiTrigger, OncePerWindowWhileItLasts) {
  PsiTrigger trigger;
  trigger.start(0, 0, 100 * kMs, kSecond);
  unsigned events = 0;
  // Half of the time stalled: five times the threshold.
  for (uint64_t now = 50 * kMs; now <= 10 * kSecond; now += 50 * kMs)
    if (trigger.update(now, now / 2)) ++events;
  EXPECT_GE(events, 9u);
  EXPECT_LE(events, 10u);
}

TEST(PsiTrigger, NeverBelowTheThreshold) {
  PsiTrigger trigger;
  trigger.start(0, 0, 200 * kMs, kSecond);
  for (uint64_t now = 50 * kMs; now <= 100 * kSecond; now += 50 * kMs)
    ASSERT_FALSE(trigger.update(now, now / 10)) << now;
}

// Bursts at random. An event must have had stalls for it: within a window before it, or two, because what a window
// had is spread evenly over it. And a window full of stalls must be told.
TEST(PsiTrigger, TellsWhatHappened) {
  constexpr uint64_t kTick = 50 * kMs;
  unsigned events = 0;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    const uint64_t window = PsiTrigger::kLeastWindowNs + random.below(3 * kSecond);
    const uint64_t threshold = window / 20 + random.below(window / 2);
    PsiTrigger trigger;
    std::vector<uint64_t> totals = {0};  // at each tick
    trigger.start(0, 0, threshold, window);
    uint64_t last_event = 0, burst = 0, untold_since = 0;
    bool ever = false;
    for (uint64_t tick = 1; tick < 4000; ++tick) {
      if (burst == 0 && random.below(60) == 0) burst = random.below(40);
      const uint64_t stalled = burst != 0 ? kTick * (1 + random.below(4)) / 4 : 0;
      if (burst != 0) --burst;
      totals.push_back(totals.back() + stalled);
      const uint64_t now = tick * kTick;
      const auto grown = [&](uint64_t span) {
        const uint64_t ticks = span / kTick + 1;
        return totals[tick] - totals[tick > ticks ? tick - ticks : 0];
      };
      if (trigger.update(now, totals.back())) {
        ASSERT_TRUE(!ever || now - last_event >= window);
        // What was put off to the end of the last event's window counts too.
        ASSERT_GE(2 * grown(3 * window), threshold);
        last_event = untold_since = now;
        ever = true;
        ++events;
      }
      // Stalls worth two thresholds in one window are told before the next two are over.
      if (grown(window) < 2 * threshold) untold_since = now;
      ASSERT_LE(now - untold_since, 2 * window + 2 * kTick) << "seed " << seed;
    }
  }
  EXPECT_GT(events, 500u);
}

}  // namespace
}  // namespace weir
