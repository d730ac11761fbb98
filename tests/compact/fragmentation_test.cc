// fragmentation_test.cc: the kernel's measures of how far free memory is broken up, with numbers worked out by hand
// from the formulas of mm/vmstat.c and mm/compaction.c.
#include "compact/fragmentation.h"

#include <gtest/gtest.h>

namespace weir {
namespace {

BuddyStats blocks(std::initializer_list<std::pair<unsigned, uint64_t>> of_orders) {
  BuddyStats free;
  // Types make no difference.
  unsigned type = 0;
  for (const auto& [order, count] : of_orders) free.free_blocks[type++ % kNrMigrateTypes][order] += count;
  return free;
}

TEST(Fragmentation, IndexOfARequestThatWouldSucceed) {
  EXPECT_EQ(fragmentation_index(blocks({{9, 1}}), Pages(512)), kWouldSucceed);
  EXPECT_EQ(fragmentation_index(blocks({{9, 1}}), Pages(257)), kWouldSucceed) << "rounded up to a power of two";
  EXPECT_EQ(fragmentation_index(blocks({{10, 1}, {0, 100}}), Pages(1)), kWouldSucceed);
}

TEST(Fragmentation, IndexTowardsThousandIsFragmentation) {
  // 1000 - (1000 + 512 * 1000 / 512) / 512
  EXPECT_EQ(fragmentation_index(blocks({{0, 512}}), Pages(512)), 997);
  // 1000 - (1000 + 1024 * 1000 / 512) / 4
  EXPECT_EQ(fragmentation_index(blocks({{8, 4}}), Pages(512)), 250);
  // Longer than any block: 1000 - (1000 + 8 * 1024 * 1000 / 4096) / 8
  EXPECT_EQ(fragmentation_index(blocks({{10, 8}}), Pages(4096)), 625);
}

TEST(Fragmentation, IndexTowardsZeroIsLackOfMemory) {
  EXPECT_EQ(fragmentation_index({}, Pages(2)), 0);
  // 1000 - (1000 + 2 * 1000 / 512) / 2
  EXPECT_EQ(fragmentation_index(blocks({{0, 2}}), Pages(512)), 499);
  // As the kernel has it, a little below zero: 1000 - (1000 + 1 * 1000 / 512) / 1.
  EXPECT_EQ(fragmentation_index(blocks({{0, 1}}), Pages(512)), -1);
}

TEST(Fragmentation, ScoreIsTheShareBelowAPageblock) {
  EXPECT_EQ(fragmentation_score({}), 0u);
  EXPECT_EQ(fragmentation_score(blocks({{0, 7}, {8, 3}})), 100u);
  EXPECT_EQ(fragmentation_score(blocks({{9, 3}, {10, 1}})), 0u);
  EXPECT_EQ(fragmentation_score(blocks({{9, 1}, {8, 6}})), 75u);
}

TEST(Fragmentation, WhereCompactionBeginsAndEnds) {
  const auto expect = [](unsigned proactiveness, unsigned low, unsigned high) {
    const ScoreMarks marks = score_marks(proactiveness);
    EXPECT_EQ(marks.low, low) << proactiveness;
    EXPECT_EQ(marks.high, high) << proactiveness;
  };
  expect(20, 80, 90);
  expect(5, 95, 100);
  expect(1, 99, 100);
  expect(95, 5, 15);
  expect(100, 5, 15);
}

}  // namespace
}  // namespace weir
