// rounds_test.cc: pages that come back soon again and again stay longer, each page for itself.
#include "reclaim/rounds.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace weir {
namespace {

constexpr uint64_t kAll = ~uint64_t{0};

class RoundsTest : public testing::Test {
 protected:
  uint64_t age(uint64_t pages = kAll, unsigned haste = 0) { return rounds_.age(active_, pages, haste); }
  void came_soon(uint64_t page, int times = 1) {
    for (int i = 0; i < times; ++i) rounds_.came_soon(active_, page);
  }
  unsigned left(uint64_t page) const { return rounds_.left(active_, page); }

  std::atomic<uint64_t> active_{0};
  Rounds rounds_{};
};

TEST_F(RoundsTest, TheOftenerTheLonger) {
  EXPECT_EQ(left(1), 0u);
  came_soon(1);
  EXPECT_EQ(left(1), Rounds::kOnce);
  came_soon(1);
  EXPECT_EQ(left(1), Rounds::kTwice);
  for (int i = 0; i < 3; ++i) {
    came_soon(1);
    EXPECT_EQ(left(1), Rounds::kMost);
  }
  EXPECT_EQ(active_.load(), 1u);
}

TEST_F(RoundsTest, WhatComesLateStartsAnew) {
  came_soon(1, 3);
  for (unsigned i = 0; i < Rounds::kMost; ++i) age();
  rounds_.came_late(1);
  EXPECT_EQ(left(1), 0u);
  came_soon(1);
  EXPECT_EQ(left(1), Rounds::kOnce);
}

TEST_F(RoundsTest, ARoundTakesOne) {
  came_soon(1);
  came_soon(2, 2);
  came_soon(4, 3);
  for (unsigned round = 1; round <= Rounds::kMost; ++round) {
    const uint64_t before = active_.load(), ended = age();
    EXPECT_EQ(ended, before & ~active_.load());
    EXPECT_EQ(left(1), 0u);
    EXPECT_EQ(left(2), round < Rounds::kTwice ? Rounds::kTwice - round : 0u);
    EXPECT_EQ(left(4), Rounds::kMost - round);
  }
  EXPECT_EQ(active_.load(), 0u);
  EXPECT_EQ(age(), 0u);
}

TEST_F(RoundsTest, OthersStayAsTheyAre) {
  came_soon(1, 3);
  came_soon(2, 3);
  age(1);
  EXPECT_EQ(left(1), Rounds::kMost - 1);
  EXPECT_EQ(left(2), Rounds::kMost);
  rounds_.forget(active_, 2);
  EXPECT_EQ(left(2), 0u);
  EXPECT_EQ(left(1), Rounds::kMost - 1);
  came_soon(2);
  EXPECT_EQ(left(2), Rounds::kOnce) << "what it was before is forgotten, too";
}

TEST_F(RoundsTest, HasteHalves) {
  came_soon(1, 3);
  age(kAll, 1);
  EXPECT_EQ(left(1), 4u);
  age(kAll, 2);
  EXPECT_EQ(left(1), 1u);
  EXPECT_EQ(age(kAll, 1), 1u);
  came_soon(2, 3);
  age(kAll, 8);
  EXPECT_EQ(left(2), 1u) << "a page that is active has one more turn, whatever the haste";
}

// What somebody else made active, because it is pinned, say, has a turn more.
TEST_F(RoundsTest, ActiveAloneIsARound) {
  active_.fetch_or(1);
  EXPECT_EQ(left(1), 1u);
  EXPECT_EQ(age(), 1u);
  EXPECT_EQ(left(1), 0u);
  // Also when it was another page before.
  came_soon(1, 3);
  rounds_.forget(active_, 1);
  active_.fetch_or(1);
  EXPECT_EQ(left(1), 1u);
}

// Against counters that are numbers.
TEST_F(RoundsTest, AsAModelSays) {
  std::mt19937_64 random(1);
  std::map<unsigned, unsigned> model, soon;
  for (int step = 0; step < 20000; ++step) {
    const unsigned i = static_cast<unsigned>(random() % 64);
    const uint64_t page = uint64_t{1} << i;
    switch (random() % 4) {
      case 0:
        came_soon(page);
        model[i] = soon[i] == 0 ? Rounds::kOnce : soon[i] == 1 ? Rounds::kTwice : Rounds::kMost;
        soon[i] += soon[i] < 2;
        break;
      case 1:
        rounds_.came_late(page);
        soon[i] = 0;
        break;
      default: {
        const uint64_t pages = random();
        const unsigned haste = static_cast<unsigned>(random() % 4);
        age(pages, haste);
        for (auto& [n, rounds] : model)
          if ((pages >> n & 1) != 0 && rounds != 0)
            rounds = rounds == 1 ? 0 : haste == 0 ? rounds - 1 : ((rounds - 1) >> haste) + 1;
      }
    }
    for (const auto& [n, rounds] : model) ASSERT_EQ(left(uint64_t{1} << n), rounds) << step << ", page " << n;
  }
}

}  // namespace
}  // namespace weir
