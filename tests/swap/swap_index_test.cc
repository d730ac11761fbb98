// swap_index_test.cc: the set of numbers beside std::set.
#include "swap/swap_index.h"

#include <gtest/gtest.h>

#include <set>

#include "support/random.h"

namespace weir {
namespace {

class SwapIndexTest : public testing::TestWithParam<uint64_t> {};

TEST_P(SwapIndexTest, AgreesWithASet) {
  const uint64_t capacity = GetParam();
  SwapIndex index;
  ASSERT_TRUE(index.open(capacity));
  std::set<uint64_t> model;
  Random random(capacity);
  for (unsigned step = 0; step < 20000; ++step) {
    // Numbers crowd at both ends, and the set grows and shrinks in turns.
    const uint64_t span = random.below(3) == 0 ? capacity : std::min<uint64_t>(capacity, 200);
    const uint64_t i = random.below(2) == 0 ? random.below(span) : capacity - 1 - random.below(span);
    if (random.below(100) < (step / 5000 % 2 == 0 ? 70u : 20u)) {
      index.insert(i);
      model.insert(i);
    } else {
      index.erase(i);
      model.erase(i);
    }
    ASSERT_EQ(index.test(i), model.count(i) == 1);
    const uint64_t from = random.below(capacity + 2);
    const auto next = model.lower_bound(from);
    ASSERT_EQ(index.find_from(from), next == model.end() ? SwapIndex::kNone : *next) << "from " << from;
    const uint64_t first = model.empty() ? SwapIndex::kNone : *model.begin();
    ASSERT_EQ(index.find_around(from), next == model.end() ? first : *next);
    ASSERT_EQ(index.find_last(), model.empty() ? SwapIndex::kNone : *model.rbegin());
  }
  EXPECT_TRUE(index.verify());
  index.close();
}

INSTANTIATE_TEST_SUITE_P(Capacities, SwapIndexTest, testing::Values(1, 63, 64, 65, 4096, 4097, 300000, 1 << 26));

TEST(SwapIndex, RefusesMoreThanItsLevelsReach) {
  SwapIndex index;
  EXPECT_FALSE(index.open((uint64_t{1} << 30) + 1));
}

}  // namespace
}  // namespace weir
