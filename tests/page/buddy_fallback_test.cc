// buddy_fallback_test.cc: whose pages a migratetype takes when its own lists are empty, and when it keeps the pageblock
// (Linux mm/page_alloc.c: fallbacks, __rmqueue_fallback, try_to_claim_block).
#include <gtest/gtest.h>

#include "page/buddy.h"
#include "support/bare_buddy.h"

namespace weir {
namespace {

constexpr MigrateType kUnmovable = MigrateType::kUnmovable;
constexpr MigrateType kMovable = MigrateType::kMovable;
constexpr MigrateType kReclaimable = MigrateType::kReclaimable;

TEST(BuddyFallback, AFreshZoneIsClaimedByWholePageblocks) {
  BareBuddy b(4 * kMaxOrderPages);
  const Pfn pfn = b->take_block(order_of(0), kUnmovable);
  EXPECT_EQ(b.pageblocks(kUnmovable), 2u) << "a block of the largest order is two pageblocks";
  EXPECT_EQ(b.pageblocks(kMovable), 6u);
  EXPECT_EQ(b->nr_stolen_pageblocks(), 1u);
  for (unsigned o = 0; o < kMaxOrder; ++o)
    EXPECT_EQ(b.free_blocks(kUnmovable, o), 1u) << "the rest is on the new lists";
  // The next ones find their own kind.
  const Pfn next = b->take_block(order_of(0), kUnmovable);
  EXPECT_EQ(next & ~Pfn{kMaxOrderPages - 1}, pfn & ~Pfn{kMaxOrderPages - 1});
  EXPECT_EQ(b->nr_stolen_pageblocks(), 1u);
  const Pfn movable = b->take_block(order_of(0), kMovable);
  EXPECT_NE(movable & ~Pfn{kMaxOrderPages - 1}, pfn & ~Pfn{kMaxOrderPages - 1});
  EXPECT_EQ(b.verify(), nullptr);
}

TEST(BuddyFallback, WhatIsFreedGoesToItsPageblocksKind) {
  BareBuddy b(2 * kMaxOrderPages);
  const Pfn base = b.carve(kUnmovable, 0);
  b->give_range(base + 5, Pages(1));
  EXPECT_EQ(b.free_blocks(kUnmovable, 0), 1u);
  EXPECT_EQ(b.free_blocks(kMovable, 0), 0u);
}

// Of all free blocks that could serve, the largest is taken, so that few pageblocks get mixed.
TEST(BuddyFallback, TheLargestBlockIsTaken) {
  BareBuddy b(2 * kMaxOrderPages);
  const Pfn base = b.carve(kUnmovable, 0);
  b->give_range(base + 1, Pages(1));
  b->give_range(base + 32, Pages(32));
  b->give_range(base + 80, Pages(8));
  b.carve(kMovable, 0);
  EXPECT_EQ(b->take_block(order_of(0), kReclaimable), base + 32);
}

struct Preference {
  MigrateType wants, first, second;
};

class FallbackOrder : public testing::TestWithParam<Preference> {};

TEST_P(FallbackOrder, OfTwoBlocksAlike) {
  const Preference p = GetParam();
  BareBuddy b(3 * kMaxOrderPages);
  const Pfn second = b.carve(p.second, 2);
  const Pfn first = b.carve(p.first, 2);
  b->take_block(order_of(kMaxOrder), p.wants);
  b->give_range(second, Pages(4));
  b->give_range(first, Pages(4));
  EXPECT_EQ(b->take_block(order_of(2), p.wants), first);
  EXPECT_EQ(b->take_block(order_of(2), p.wants), second);
  EXPECT_EQ(b->take_block(order_of(2), p.wants), kNoPfn);
  // But a larger block of the second choice goes before a smaller one of the first.
  b->give_range(second, Pages(8));
  b->give_range(first, Pages(4));
  EXPECT_EQ(b->take_block(order_of(2), p.wants), second);
}

INSTANTIATE_TEST_SUITE_P(AsTheKernel, FallbackOrder,
                         testing::Values(Preference{kUnmovable, kReclaimable, kMovable},
                                         Preference{kMovable, kReclaimable, kUnmovable},
                                         Preference{kReclaimable, kUnmovable, kMovable}));

// Movable pages can be moved out again, so they borrow small blocks without claiming anything.
TEST(BuddyFallback, MovableBorrowsSmallBlocks) {
  BareBuddy b(2 * kMaxOrderPages);
  const Pfn base = b.carve(kUnmovable, 3);
  b->take_block(order_of(kMaxOrder), kMovable);
  b->give_range(base, Pages(8));
  const uint64_t stolen = b->nr_stolen_pageblocks();
  EXPECT_EQ(b->take_block(order_of(0), kMovable), base);
  EXPECT_EQ(b->nr_stolen_pageblocks(), stolen);
  EXPECT_EQ(b.pageblocks(kUnmovable), 2u);
  for (unsigned o = 0; o < 3; ++o) {
    EXPECT_EQ(b.free_blocks(kUnmovable, o), 1u) << "the rest stays with its owner";
    EXPECT_EQ(b.free_blocks(kMovable, o), 0u);
  }
  EXPECT_EQ(b.verify(), nullptr);
}

// From order 4 (half a pageblock's order) on, movable users take the pageblock's free pages along, but the pageblock
// itself only when that is at least half of it.
TEST(BuddyFallback, MovableClaimsFromOrderFourOn) {
  BareBuddy b(2 * kMaxOrderPages);
  const Pfn base = b.carve(kUnmovable, 4);
  b->take_block(order_of(kMaxOrder), kMovable);
  b->give_range(base, Pages(16));
  b->give_range(base + 64, Pages(16));
  b->give_range(base + 512, Pages(16));  // in the other pageblock
  const uint64_t stolen = b->nr_stolen_pageblocks();
  const Pfn got = b->take_block(order_of(4), kMovable);
  const Pfn pageblock = got & ~Pfn{kPageblockPages - 1};
  EXPECT_EQ(b->nr_stolen_pageblocks(), stolen) << "too little was free for the pageblock to change";
  EXPECT_EQ(b.pageblocks(kUnmovable), 2u);
  const uint64_t movable = pageblock == base ? 1u : 0u;
  EXPECT_EQ(b.free_blocks(kMovable, 4), movable) << "the free pages beside it came along";
  EXPECT_EQ(b.free_blocks(kUnmovable, 4), 2u - movable);
  EXPECT_EQ(b.verify(), nullptr);
}

TEST(BuddyFallback, HalfAPageblockFreeChangesIt) {
  for (const unsigned free_pages : {240u, 256u}) {
    BareBuddy b(2 * kMaxOrderPages);
    const Pfn base = b.carve(kUnmovable, 4);
    b->take_block(order_of(kMaxOrder), kMovable);
    // Pieces of 16 pages that do not merge into a block of half a pageblock: every one with an odd index, from the top.
    for (unsigned i = 0; i * 16 < free_pages; ++i) b->give_range(base + 16 + i * 32, Pages(16));
    const uint64_t stolen = b->nr_stolen_pageblocks();
    ASSERT_NE(b->take_block(order_of(4), kMovable), kNoPfn);
    EXPECT_EQ(b->nr_stolen_pageblocks() - stolen, free_pages == 256 ? 1u : 0u);
    EXPECT_EQ(b.pageblocks(kUnmovable), free_pages == 256 ? 1u : 2u);
    EXPECT_EQ(b.free_blocks(kMovable, 4), free_pages / 16 - 1);
    EXPECT_EQ(b.verify(), nullptr);
  }
}

// Unmovable and reclaimable users always take the pageblock's free pages, because what they put there stays.
TEST(BuddyFallback, TheUnmovableClaimSmallBlocksToo) {
  for (const MigrateType wants : {kUnmovable, kReclaimable}) {
    BareBuddy b(2 * kMaxOrderPages);
    const Pfn base = b.carve(kMovable, 0);
    b->take_block(order_of(kMaxOrder), wants);
    b->give_range(base + 7, Pages(1));
    b->give_range(base + 100, Pages(1));
    b->give_range(base + 600, Pages(1));
    const Pfn got = b->take_block(order_of(0), wants);
    ASSERT_NE(got, kNoPfn);
    const bool first_pageblock = got < base + kPageblockPages;
    EXPECT_EQ(b.free_blocks(wants, 0), first_pageblock ? 1u : 0u);
    EXPECT_EQ(b.free_blocks(kMovable, 0), first_pageblock ? 1u : 2u);
    EXPECT_EQ(b.pageblocks(kMovable), 2u) << "the pageblocks stay: too little was free";
    EXPECT_EQ(b.verify(), nullptr);
  }
}

TEST(BuddyFallback, WarmBeforeColdAmongTheForeign) {
  BareBuddy b(2 * kMaxOrderPages);
  const Pfn base = b.carve(kUnmovable, 2);
  b->take_block(order_of(kMaxOrder), kMovable);
  b.touch(base + 40, 4);
  b->give_range(base + 40, Pages(4));
  b->give_range(base + 80, Pages(4));  // cold, freed later
  EXPECT_EQ(b->take_block(order_of(2), kMovable), base + 40);
}

TEST(BuddyFallback, NothingAnywhere) {
  BareBuddy b(kMaxOrderPages);
  b.carve(kUnmovable, 5);
  for (const MigrateType type : {kUnmovable, kMovable, kReclaimable})
    EXPECT_EQ(b->take_block(order_of(0), type), kNoPfn);
  b->give_range(0, Pages(32));
  EXPECT_EQ(b->take_block(order_of(6), kMovable), kNoPfn) << "free, but not that large";
}

}  // namespace
}  // namespace weir
