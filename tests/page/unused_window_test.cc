// unused_window_test.cc: the least that was free over the last ticks.
#include "page/unused_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

namespace weir {
namespace {

constexpr unsigned kTicks = UnusedWindow::kTicks;

TEST(UnusedWindow, NothingIsSurplusBeforeAWholeWindow) {
  UnusedWindow w;
  for (unsigned i = 0; i < kTicks; ++i) EXPECT_EQ(w.tick(100), 0u) << "tick " << i;
  EXPECT_EQ(w.tick(100), 100u);
}

TEST(UnusedWindow, OneUseHoldsItBackForAWindow) {
  UnusedWindow w;
  for (unsigned i = 0; i <= kTicks; ++i) w.tick(100);
  w.note(30);  // 70 pages were used for a moment
  w.note(80);
  for (unsigned i = 0; i < kTicks; ++i) EXPECT_EQ(w.tick(100), 30u) << "tick " << i;
  EXPECT_EQ(w.tick(100), 100u);
}

TEST(UnusedWindow, NeverMoreThanIsFreeNow) {
  UnusedWindow w;
  for (unsigned i = 0; i <= kTicks; ++i) w.tick(100);
  EXPECT_EQ(w.tick(7), 7u) << "pages that went without being noted";
}

TEST(UnusedWindow, ForgetsWhatWasGivenBack) {
  UnusedWindow w;
  for (unsigned i = 0; i <= kTicks; ++i) w.tick(100);
  w.forget(60);
  EXPECT_EQ(w.tick(40), 40u);
  w.forget(1000);
  EXPECT_EQ(w.tick(500), 0u);
}

TEST(UnusedWindow, TheWindowIsWithinTheDecayTime) {
  EXPECT_LT(kTicks, UnusedWindow::kTicksPerDecay);
  EXPECT_GE(kTicks * 10, UnusedWindow::kTicksPerDecay * 7);
}

// Against a model that keeps the least free of every tick.
TEST(UnusedWindow, AgreesWithAModel) {
  std::mt19937_64 random(1);
  UnusedWindow w;
  std::deque<uint64_t> least(kTicks, 0);
  uint64_t now = 0, current = 0;
  for (int i = 0; i < 10000; ++i) {
    const uint64_t what = random() % 8;
    if (what < 3) {
      now += random() % 50;
    } else if (what < 6) {
      now -= random() % (now + 1);
      w.note(now);
      current = std::min(current, now);
    } else {
      least.push_back(std::min(current, now));
      least.pop_front();
      current = now;
      const uint64_t surplus = std::min(now, *std::min_element(least.begin(), least.end()));
      ASSERT_EQ(w.tick(now), surplus) << i;
      w.forget(surplus);
      now -= surplus;
      current -= std::min(current, surplus);
      for (uint64_t& l : least) l -= std::min(l, surplus);
    }
  }
}

}  // namespace
}  // namespace weir
