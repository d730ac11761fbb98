// buddy_test.cc: blocks: splitting, merging, warm before cold, isolation, and that verify finds damage. Fallback
// between migratetypes and runs have files of their own.
#include "page/buddy.h"

#include <gtest/gtest.h>

#include "support/bare_buddy.h"

namespace weir {
namespace {

constexpr MigrateType kMovable = MigrateType::kMovable;

TEST(Buddy, AFreshRangeIsMergedAndMovable) {
  BareBuddy b(4 * kMaxOrderPages);
  EXPECT_EQ(b->nr_free(), Pages(4 * kMaxOrderPages));
  EXPECT_EQ(b->nr_free_resident(), Pages(0));
  EXPECT_EQ(b->managed(), Pages(4 * kMaxOrderPages));
  EXPECT_EQ(b.free_blocks(kMovable, kMaxOrder), 4u);
  EXPECT_EQ(b.pageblocks(kMovable), 8u);
  EXPECT_EQ(b.verify(), nullptr);
}

TEST(Buddy, RangesThatGrowMergeAcrossTheSeam) {
  BareBuddy b(2 * kMaxOrderPages, 256);
  EXPECT_EQ(b.free_blocks(kMovable, 8), 1u);
  b->add_range(256, Pages(16));
  EXPECT_EQ(b.free_blocks(kMovable, 4), 1u);
  EXPECT_EQ(b.verify(), nullptr);
  b->add_range(272, Pages(2 * kMaxOrderPages - 272));
  EXPECT_EQ(b.free_blocks(kMovable, kMaxOrder), 2u);
  EXPECT_EQ(b->nr_free(), Pages(2 * kMaxOrderPages));
  EXPECT_EQ(b.verify(), nullptr);
}

TEST(Buddy, EveryOrderSplitsAndMerges) {
  for (unsigned order = 0; order <= kMaxOrder; ++order) {
    BareBuddy b(kMaxOrderPages);
    const Pfn pfn = b->take_block(order_of(order), kMovable);
    ASSERT_NE(pfn, kNoPfn);
    EXPECT_EQ(pfn % (1u << order), 0u);
    EXPECT_EQ(b.pages[pfn].state, PageState::kBlock);
    EXPECT_EQ(b.pages[pfn].order, order);
    for (unsigned o = 0; o <= kMaxOrder; ++o)
      EXPECT_EQ(b.free_blocks(kMovable, o), o >= order && o < kMaxOrder ? 1u : 0u) << "order " << o;
    EXPECT_EQ(b->nr_free().v, kMaxOrderPages - (1u << order));
    Pages block_pages;
    EXPECT_EQ(b->verify(block_pages), nullptr);
    EXPECT_EQ(block_pages.v, 1u << order);
    b->give_range(pfn, Pages(1u << order));
    EXPECT_EQ(b.free_blocks(kMovable, kMaxOrder), 1u);
    EXPECT_EQ(b.verify(), nullptr);
  }
}

TEST(Buddy, AllPagesOneByOneAndNoMore) {
  BareBuddy b(kMaxOrderPages);
  std::vector<bool> seen(kMaxOrderPages);
  for (unsigned i = 0; i < kMaxOrderPages; ++i) {
    const Pfn pfn = b->take_block(order_of(0), kMovable);
    ASSERT_LT(pfn, kMaxOrderPages);
    ASSERT_FALSE(seen[pfn]);
    seen[pfn] = true;
  }
  for (unsigned o = 0; o <= kMaxOrder; ++o) EXPECT_EQ(b->take_block(order_of(o), kMovable), kNoPfn);
  // Every second page: nothing merges. Then the others: all merges.
  for (Pfn p = 0; p < kMaxOrderPages; p += 2) b->give_range(p, Pages(1));
  EXPECT_EQ(b.free_blocks(kMovable, 0), kMaxOrderPages / 2);
  EXPECT_EQ(b->take_block(order_of(1), kMovable), kNoPfn);
  EXPECT_EQ(b.verify(), nullptr);
  for (Pfn p = 1; p < kMaxOrderPages; p += 2) b->give_range(p, Pages(1));
  EXPECT_EQ(b.free_blocks(kMovable, kMaxOrder), 1u);
  EXPECT_EQ(b.verify(), nullptr);
}

// A block at the end of the range has no buddy there yet.
TEST(Buddy, DoesNotMergeBeyondTheEnd) {
  BareBuddy b(kMaxOrderPages, 512 + 16);
  EXPECT_EQ(b.free_blocks(kMovable, 9), 1u);
  EXPECT_EQ(b.free_blocks(kMovable, 4), 1u);
  EXPECT_EQ(b.verify(), nullptr);
}

TEST(Buddy, WarmBlocksAreTakenFirst) {
  BareBuddy b(2 * kMaxOrderPages);
  const Pfn pfn = b->take_block(order_of(3), kMovable);
  // A neighbour keeps the block from merging into the whole.
  const Pfn other = b->take_block(order_of(3), kMovable);
  b.touch(pfn, 8);
  b->give_range(pfn, Pages(8));
  EXPECT_EQ(b->nr_free_resident(), Pages(8));
  // Cold blocks of order 0 exactly would not do: there are none, but larger cold ones lie closer to the list's front.
  const Pfn got = b->take_block(order_of(0), kMovable);
  EXPECT_EQ(got, pfn);
  EXPECT_EQ(b.pages[got].count, 1u) << "the page taken has memory";
  EXPECT_EQ(b->nr_free_resident(), Pages(7));
  b->give_range(other, Pages(8));
  EXPECT_EQ(b.verify(), nullptr);
}

TEST(Buddy, AWarmLargerBlockGoesBeforeAColdExactOne) {
  BareBuddy b(2 * kMaxOrderPages);
  const Pfn warm = b->take_block(order_of(6), kMovable);
  const Pfn wall = b->take_block(order_of(6), kMovable);
  const Pfn cold = b->take_block(order_of(0), kMovable);
  const Pfn wall2 = b->take_block(order_of(0), kMovable);
  b.touch(warm, 64);
  b->give_range(warm, Pages(64));
  b->give_range(cold, Pages(1));
  EXPECT_EQ(b->take_block(order_of(0), kMovable) & ~Pfn{63}, warm);
  EXPECT_EQ(b.verify(), nullptr);
  b->give_range(wall, Pages(64));
  b->give_range(wall2, Pages(1));
  EXPECT_EQ(b.verify(), nullptr);
}

TEST(Buddy, SplittingKeepsTheHalfWithMemory) {
  BareBuddy b(kMaxOrderPages);
  const Pfn whole = b->take_block(order_of(kMaxOrder), kMovable);
  b.touch(whole + 777, 1);
  b->give_range(whole, Pages(kMaxOrderPages));
  const Pfn got = b->take_block(order_of(0), kMovable);
  EXPECT_EQ(got, whole + 777);
  EXPECT_EQ(b.pages[got].count, 1u);
  EXPECT_EQ(b->nr_free_resident(), Pages(0));
  EXPECT_EQ(b.verify(), nullptr);
}

TEST(Buddy, SplittingKeepsTheLowerHalfWhereBothAreAlike) {
  BareBuddy b(kMaxOrderPages);
  EXPECT_EQ(b->take_block(order_of(0), kMovable), 0u);
  b.touch(0, kMaxOrderPages);  // the page taken and, below, all others by way of their owners
  BareBuddy warm(kMaxOrderPages);
  const Pfn whole = warm->take_block(order_of(kMaxOrder), kMovable);
  warm.touch(whole, kMaxOrderPages);
  warm->give_range(whole, Pages(kMaxOrderPages));
  EXPECT_EQ(warm->take_block(order_of(2), kMovable), 0u);
  EXPECT_EQ(warm->nr_free_resident(), Pages(kMaxOrderPages - 4));
  EXPECT_EQ(warm.verify(), nullptr);
}

TEST(Buddy, TheLastFreedIsTakenFirst) {
  BareBuddy b(kMaxOrderPages);
  b.carve(kMovable, 0);
  for (const Pfn p : {10u, 20u, 30u}) b->give_range(p, Pages(1));
  EXPECT_EQ(b->take_block(order_of(0), kMovable), 30u);
  EXPECT_EQ(b->take_block(order_of(0), kMovable), 20u);
  EXPECT_EQ(b->take_block(order_of(0), kMovable), 10u);
}

TEST(Buddy, IsolatesTheLargestLongestUnusedWarmBlock) {
  BareBuddy b(kMaxOrderPages);
  b.carve(kMovable, 2);
  b.touch(0, kMaxOrderPages);
  b.drop(400, 4);
  for (const Pfn p : {8u, 16u, 24u, 400u}) b->give_range(p, Pages(4));
  for (const Pfn p : {32u, 36u}) b->give_range(p, Pages(4));  // merge to order 3
  EXPECT_EQ(b->nr_free_resident(), Pages(20));
  const Pfn largest = b->isolate_warm(order_of(kMaxOrder));
  EXPECT_EQ(largest, 32u);
  EXPECT_EQ(b.pages[largest].state, PageState::kIsolated);
  EXPECT_EQ(b.verify(), nullptr);
  EXPECT_EQ(b->isolate_warm(order_of(kMaxOrder)), 8u) << "within an order, the one freed first";
  EXPECT_EQ(b->isolate_warm(order_of(1)), kNoPfn) << "none is that small";
  EXPECT_EQ(b->isolate_warm(order_of(2)), 16u);
  EXPECT_EQ(b->isolate_warm(order_of(2)), 24u);
  EXPECT_EQ(b->isolate_warm(order_of(kMaxOrder)), kNoPfn) << "block 400 is cold";
  EXPECT_EQ(b->nr_free_resident(), Pages(0));
  EXPECT_EQ(b->nr_free(), Pages(4));
  b.drop(8, 4);
  b->putback(8);
  b->putback(16);
  EXPECT_EQ(b->nr_free_resident(), Pages(4)) << "only block 16 kept its memory";
  EXPECT_EQ(b.verify(), nullptr);
}

TEST(Buddy, PutbackMergesWithWhatBecameFreeMeanwhile) {
  BareBuddy b(kMaxOrderPages);
  b.carve(kMovable, 9);
  b.touch(0, 512);
  b->give_range(0, Pages(512));
  const Pfn isolated = b->isolate_warm(order_of(kMaxOrder));
  EXPECT_EQ(isolated, 0u);
  b->give_range(512, Pages(512));
  EXPECT_EQ(b.free_blocks(kMovable, 9), 1u) << "an isolated buddy does not merge";
  b->putback(isolated);
  EXPECT_EQ(b.free_blocks(kMovable, kMaxOrder), 1u);
  EXPECT_EQ(b->nr_free_resident(), Pages(512));
  EXPECT_EQ(b.verify(), nullptr);
}

// Each line plants one mistake, which verify must find, and takes it back, after which all must be well again.
TEST(Buddy, VerifyFindsPlantedDamage) {
  BareBuddy b(4 * kMaxOrderPages);
  const Pfn block = b->take_block(order_of(2), kMovable);
  const Pfn run = b->take_run(Pages(5), Pages(1), kMovable);
  const Pfn free = block + 4;  // the buddy of the block, split off and free
  ASSERT_EQ(b.pages[free].state, PageState::kFree);
  ASSERT_EQ(b.pages[free].order, 2);
  ASSERT_EQ(b.verify(), nullptr);
  const auto planted = [&](auto& place, auto wrong, const char* what) {
    const auto right = place;
    place = static_cast<std::remove_reference_t<decltype(place)>>(wrong);
    EXPECT_NE(b.verify(), nullptr) << what;
    place = right;
    ASSERT_EQ(b.verify(), nullptr) << what;
  };
  planted(b.pages[free].count, 1u, "resident pages of a free block");
  planted(b.pages[free].state, PageState::kBody, "a free block without a head");
  planted(b.pages[free].state, PageState::kIsolated, "a free block that claims to be isolated");
  planted(b.pages[free].state, PageState::kBlock, "a free block that claims to be taken");
  planted(b.pages[free].order, 3, "a free block's order");
  planted(b.pages[free].order, 1, "a free block's order");
  planted(b.pages[free].list_type, MigrateType::kReclaimable, "the list a free block is on");
  planted(b.pages[free].next, block, "a list's link forwards");
  planted(b.pages[free].prev, block, "a list's link backwards");
  planted(b.pages[free + 3].state, PageState::kBody, "a free block's tail");
  planted(b.pages[free + 3].order, 1, "a free block's tail");
  planted(b.pages[block].order, 1, "a taken block's order");
  planted(b.pages[block].order, 3, "a taken block's order");
  planted(b.pages[block].state, PageState::kFree, "a taken block that claims to be free");
  planted(b.pages[run].count, 4u, "a run's length");
  planted(b.pages[run].count, 0u, "a run without pages");
  planted(b.pages[run].count, 100000u, "a run past the end");
  planted(b.residency[free / 64], uint64_t{1} << (free % 64), "a resident page");
  planted(b.max_blocks[0], 0u, "the map of the largest blocks");
  planted(b.max_blocks[0], b.max_blocks[0] | 1u << (block / kMaxOrderPages), "the map of the largest blocks");
}

// As after a fork, when the thread that had isolated blocks is not there.
TEST(Buddy, PutbackAllFreesEveryIsolatedBlockAndNothingElse) {
  BareBuddy b(4 * kMaxOrderPages);
  const Pfn block = b->take_block(order_of(3), kMovable);
  const Pfn run = b->take_run(Pages(3000), Pages(1), kMovable);
  ASSERT_NE(block, kNoPfn);
  ASSERT_NE(run, kNoPfn);
  b.touch(run, 1000);
  b->give_range(run, Pages(1000));
  b.pages[run + 1000].state = PageState::kRun;
  b.pages[run + 1000].count = 2000;
  const uint64_t free = b->nr_free().v;
  unsigned isolated = 0;
  while (b->isolate_warm(order_of(kMaxOrder)) != kNoPfn) ++isolated;
  EXPECT_GT(isolated, 1u);
  EXPECT_LT(b->nr_free().v, free);
  b->putback_all();
  EXPECT_EQ(b->nr_free().v, free);
  EXPECT_EQ(b.verify(), nullptr);
  EXPECT_EQ(b.pages[block].state, PageState::kBlock);
  EXPECT_EQ(b.pages[run + 1000].state, PageState::kRun);
}

TEST(Buddy, VerifyFindsUnmergedBuddies) {
  BareBuddy b(kMaxOrderPages);
  b.carve(kMovable, 0);
  b->give_range(2, Pages(1));
  // What give_range(3) would do without merging.
  b.pages[3] = b.pages[2];
  EXPECT_NE(b.verify(), nullptr);
}

}  // namespace
}  // namespace weir
