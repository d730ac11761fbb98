// buddy_run_test.cc: runs of any length: from one block, from neighbouring blocks, from many of the largest blocks.
#include <gtest/gtest.h>

#include "page/buddy.h"
#include "support/bare_buddy.h"

namespace weir {
namespace {

constexpr MigrateType kMovable = MigrateType::kMovable;

TEST(BuddyRun, EveryLengthUpToALargestBlock) {
  BareBuddy b(kMaxOrderPages);
  for (uint64_t count = 1; count <= kMaxOrderPages; ++count) {
    const Pfn run = b->take_run(Pages(count), Pages(1), kMovable);
    ASSERT_NE(run, kNoPfn) << count;
    ASSERT_EQ(b.pages[run].state, PageState::kRun);
    ASSERT_EQ(b.pages[run].count, count);
    ASSERT_EQ(b.pages[run].next, 0u) << "the owner's flags start empty";
    ASSERT_EQ(b->nr_free().v, kMaxOrderPages - count) << "not a page more than asked for";
    Pages block_pages;
    ASSERT_EQ(b->verify(block_pages), nullptr);
    ASSERT_EQ(block_pages.v, 0u) << "a run is no block";
    b->give_range(run, Pages(count));
    ASSERT_EQ(b.free_blocks(kMovable, kMaxOrder), 1u);
  }
}

TEST(BuddyRun, AlignmentsUpToALargestBlock) {
  BareBuddy b(4 * kMaxOrderPages);
  b->take_run(Pages(3), Pages(1), kMovable);  // so that the natural place is unaligned
  for (uint64_t align = 1; align <= kMaxOrderPages; align *= 2) {
    for (const uint64_t count : {uint64_t{1}, uint64_t{3}, align, align + 1}) {
      const Pfn run = b->take_run(Pages(count), Pages(align), kMovable);
      ASSERT_NE(run, kNoPfn) << count << " at " << align;
      EXPECT_EQ(run % align, 0u);
      EXPECT_EQ(b.verify(), nullptr);
      b->give_range(run, Pages(count));
    }
  }
}

TEST(BuddyRun, LongRunsTakeTheLowestPlaceThatFits) {
  BareBuddy b(8 * kMaxOrderPages);
  Pfn blocks[8];
  for (Pfn& block : blocks) block = b->take_block(order_of(kMaxOrder), kMovable);
  for (const Pfn free : {0u, 2u, 3u, 5u, 6u, 7u}) b->give_range(free * kMaxOrderPages, Pages(kMaxOrderPages));
  EXPECT_EQ(b->take_run(Pages(3 * kMaxOrderPages), Pages(1), kMovable), 5 * kMaxOrderPages);
  b->give_range(5 * kMaxOrderPages, Pages(3 * kMaxOrderPages));
  const Pfn run = b->take_run(Pages(kMaxOrderPages + 1), Pages(1), kMovable);
  EXPECT_EQ(run, 2 * kMaxOrderPages);
  EXPECT_EQ(b->nr_free().v, 6 * kMaxOrderPages - kMaxOrderPages - 1) << "the rest of the last block is free again";
  EXPECT_EQ(b->take_run(Pages(4 * kMaxOrderPages), Pages(1), kMovable), kNoPfn);
  EXPECT_EQ(b.verify(), nullptr);
}

// Neighbours that are no buddies: pages 3..6 are free in three blocks.
TEST(BuddyRun, IsPutTogetherFromNeighbours) {
  BareBuddy b(kMaxOrderPages);
  b.carve(kMovable, 0);
  b.touch(0, 64);
  b->give_range(3, Pages(4));
  EXPECT_EQ(b.free_blocks(kMovable, 0), 2u);
  EXPECT_EQ(b.free_blocks(kMovable, 1), 1u);
  const Pfn run = b->take_run(Pages(4), Pages(1), kMovable);
  EXPECT_EQ(run, 3u);
  EXPECT_EQ(b.pages[run].count, 4u);
  EXPECT_EQ(b->nr_free(), Pages(0));
  EXPECT_EQ(b.verify(), nullptr);
}

// A larger block stays whole where neighbours of the right size do.
TEST(BuddyRun, NeighboursThatFitGoBeforeALargerBlock) {
  BareBuddy b(kMaxOrderPages);
  b.carve(kMovable, 0);
  b.touch(0, kMaxOrderPages);
  b->give_range(200, Pages(6));
  b->give_range(104, Pages(8));
  EXPECT_EQ(b->take_run(Pages(6), Pages(1), kMovable), 200u);
  EXPECT_EQ(b->take_run(Pages(6), Pages(1), kMovable), 104u) << "now there is only that one";
  EXPECT_EQ(b->take_run(Pages(6), Pages(1), kMovable), kNoPfn);
  EXPECT_EQ(b->nr_free(), Pages(2));
  EXPECT_EQ(b.verify(), nullptr);
}

// A run without memory behind it is no good: cold neighbours are no reason to leave a warm block alone.
TEST(BuddyRun, IsLookedForAroundWarmBlocks) {
  BareBuddy b(kMaxOrderPages);
  b.carve(kMovable, 0);
  b.touch(304, 8);
  b->give_range(200, Pages(6));
  b->give_range(304, Pages(8));
  EXPECT_EQ(b->take_run(Pages(6), Pages(1), kMovable), 304u);
  EXPECT_EQ(b.verify(), nullptr);
}

TEST(BuddyRun, FollowingPagesAreCountedAndTaken) {
  BareBuddy b(2 * kMaxOrderPages);
  const Pfn run = b->take_run(Pages(5), Pages(1), kMovable);
  ASSERT_EQ(b.pages[run + 5].state, PageState::kFree);
  EXPECT_EQ(b->free_at(run + 5, Pages(100)), Pages(100));
  EXPECT_EQ(b->free_at(run, Pages(100)), Pages(0)) << "the run itself is not free";
  const uint64_t free = b->nr_free().v;
  ASSERT_TRUE(b->take_following(run + 5, Pages(20)));
  b.pages[run].count = 25;
  EXPECT_EQ(b->nr_free().v, free - 20);
  EXPECT_EQ(b.verify(), nullptr);
  EXPECT_FALSE(b->take_following(run + 25, Pages(2 * kMaxOrderPages))) << "more than there is";
  EXPECT_EQ(b->nr_free().v, free - 20);
  EXPECT_EQ(b.verify(), nullptr);
}

TEST(BuddyRun, FreeAtStopsAtTheFirstPageTakenAndAtTheEnd) {
  BareBuddy b(kMaxOrderPages);
  b.carve(kMovable, 0);
  b->give_range(10, Pages(7));
  EXPECT_EQ(b->free_at(10, Pages(100)), Pages(7));
  EXPECT_EQ(b->free_at(10, Pages(6)), Pages(6));
  b->give_range(kMaxOrderPages - 2, Pages(2));
  EXPECT_EQ(b->free_at(kMaxOrderPages - 2, Pages(100)), Pages(2));
  EXPECT_EQ(b->free_at(kMaxOrderPages, Pages(100)), Pages(0));
}

TEST(BuddyRun, FreeAtEndCountsWholeLargestBlocks) {
  BareBuddy b(4 * kMaxOrderPages, 3 * kMaxOrderPages + 16);
  EXPECT_EQ(b->free_at_end(), Pages(0)) << "the end is not at a block's edge";
  b->add_range(3 * kMaxOrderPages + 16, Pages(kMaxOrderPages - 16));
  EXPECT_EQ(b->free_at_end(), Pages(4 * kMaxOrderPages));
  Pfn taken[4];
  for (Pfn& pfn : taken) pfn = b->take_block(order_of(kMaxOrder), kMovable);
  EXPECT_EQ(b->free_at_end(), Pages(0));
  b->give_range(3 * kMaxOrderPages, Pages(kMaxOrderPages));
  b->give_range(kMaxOrderPages, Pages(kMaxOrderPages));
  EXPECT_EQ(b->free_at_end(), Pages(kMaxOrderPages));
}

TEST(BuddyRun, PiecesOfARunMayBeGivenBack) {
  BareBuddy b(kMaxOrderPages);
  const Pfn run = b->take_run(Pages(100), Pages(1), kMovable);
  b.pages[run].count = 40;
  b->give_range(run + 40, Pages(60));
  EXPECT_EQ(b->nr_free(), Pages(kMaxOrderPages - 40));
  EXPECT_EQ(b.verify(), nullptr);
  b->give_range(run, Pages(40));
  EXPECT_EQ(b.free_blocks(kMovable, kMaxOrder), 1u);
}

}  // namespace
}  // namespace weir
