// zone_test.cc: pages of a node with real memory behind them: accounting, runs, and memory going back to the system.
#include "page/zone.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "support/memory_lock.h"
#include "support/pattern.h"
#include "support/private_zone.h"

namespace weir {
namespace {

constexpr MigrateType kMovable = MigrateType::kMovable;
constexpr MigrateType kUnmovable = MigrateType::kUnmovable;
constexpr Pages kCapacity(64 * kMaxOrderPages);

Order order_of(unsigned o) {
  return Order(static_cast<uint8_t>(o));
}
Pages purge_all(Zone& zone) {
  return zone.purge(Pages(~uint64_t{0}), order_of(kMaxOrder), Zone::Metadata::kAlso);
}

TEST(Zone, StartsSmall) {
  PrivateZone z(kCapacity);
  const ZoneStats s = z->stats();
  EXPECT_EQ(s.accessible, Pages(256));
  EXPECT_EQ(s.capacity, kCapacity);
  EXPECT_EQ(s.managed, kCapacity);
  EXPECT_EQ(s.free, kCapacity);
  EXPECT_EQ(s.charged, Pages(0));
  EXPECT_EQ(s.free_resident, Pages(0));
  EXPECT_EQ(s.arena_grow, 1u);
  EXPECT_GT(s.watermarks.low, s.watermarks.min);
  EXPECT_EQ(z.verify(), nullptr);
}

TEST(Zone, ChargesExactlyWhatIsGivenOut) {
  PrivateZone z(kCapacity);
  const PageRun block = z->alloc_block(order_of(3), kUnmovable);
  const PageRun run = z->alloc_run(Pages(77), Pages(1), kMovable);
  ASSERT_TRUE(block && run);
  EXPECT_EQ(block.resident, Pages(0)) << "fresh from the system";
  ZoneStats s = z->stats();
  EXPECT_EQ(s.charged, Pages(8 + 77));
  EXPECT_EQ(s.free, kCapacity - s.charged);
  EXPECT_EQ(s.pgalloc_normal, 85u);
  EXPECT_EQ(z.verify(), nullptr);
  z->free_block(block.head, order_of(3), 0b101);
  EXPECT_TRUE(z->free_run(run.head));
  s = z->stats();
  EXPECT_EQ(s.charged, Pages(0));
  EXPECT_EQ(s.pgfree, 85u);
  EXPECT_EQ(s.free_resident, Pages(2 + 77)) << "as the owners told";
  EXPECT_EQ(z->free_resident_estimate(), Pages(79));
  EXPECT_EQ(z.verify(), nullptr);
}

TEST(Zone, TellsHowMuchMayHoldOldData) {
  PrivateZone z(kCapacity);
  const PageRun first = z->alloc_run(Pages(64), Pages(1), kMovable);
  z->shrink_run(first.head, Pages(64), Pages(32), Touched::kNo);
  ASSERT_TRUE(z->free_run(first.head, Touched::kYes));
  const PageRun again = z->alloc_run(Pages(64), Pages(1), kMovable);
  EXPECT_EQ(again.head, first.head);
  EXPECT_EQ(again.resident, Pages(32));
  const Zone::Stretch s = z->find_content(again.head, again.head + 64);
  EXPECT_EQ(s.first, again.head);
  EXPECT_EQ(s.end, again.head + 32);
  EXPECT_EQ(z->find_content(s.end, again.head + 64).first, again.head + 64) << "none: at the end";
}

TEST(Zone, FreeRunRefusesWhatIsNoRun) {
  PrivateZone z(kCapacity);
  const PageRun run = z->alloc_run(Pages(8), Pages(1), kMovable);
  const PageRun block = z->alloc_block(order_of(2), kUnmovable);
  EXPECT_FALSE(z->free_run(run.head + 1));
  EXPECT_FALSE(z->free_run(block.head));
  EXPECT_FALSE(z->free_run(static_cast<Pfn>(kCapacity.v)));
  ASSERT_TRUE(z->free_run(run.head));
  EXPECT_FALSE(z->free_run(run.head)) << "a second time";
  EXPECT_EQ(z->stats().charged, Pages(4));
  EXPECT_EQ(z.verify(), nullptr);
}

TEST(Zone, GrowsToItsCapacityAndNotBeyond) {
  PrivateZone z(Pages(4 * kMaxOrderPages));
  uint64_t pages = 0;
  while (const PageRun block = z->alloc_block(order_of(4), kUnmovable)) {
    EXPECT_EQ(block.head % 16, 0u);
    pages += 16;
  }
  EXPECT_EQ(pages, 4 * kMaxOrderPages) << "all of it can be had";
  EXPECT_FALSE(z->alloc_run(Pages(1), Pages(1), kMovable));
  EXPECT_EQ(z->stats().accessible, Pages(4 * kMaxOrderPages));
  EXPECT_EQ(z.verify(), nullptr);
}

TEST(Zone, EveryPageCanBeHadSingly) {
  PrivateZone z(Pages(2 * kMaxOrderPages));
  uint64_t pages = 0;
  while (z->alloc_run(Pages(1), Pages(1), kMovable)) ++pages;
  EXPECT_EQ(pages, 2 * kMaxOrderPages);
  EXPECT_EQ(z.verify(), nullptr);
}

TEST(Zone, RefusesTheImpossible) {
  PrivateZone z(Pages(4 * kMaxOrderPages));
  EXPECT_FALSE(z->alloc_run(Pages(0), Pages(1), kMovable));
  EXPECT_FALSE(z->alloc_run(Pages(4 * kMaxOrderPages + 1), Pages(1), kMovable));
  EXPECT_FALSE(z->alloc_run(Pages(1), Pages(uint64_t{1} << 40), kMovable));
  EXPECT_FALSE(z->alloc_run(Pages(uint64_t{1} << 51), Pages(uint64_t{1} << 50), kMovable));
  EXPECT_EQ(z->stats().charged, Pages(0));
  EXPECT_TRUE(z->alloc_run(Pages(3 * kMaxOrderPages), Pages(1), kMovable)) << "but nearly all of it at once";
}

// Addresses, not page numbers: arenas themselves are aligned to the largest block only.
TEST(Zone, AlignsAddresses) {
  for (const bool bare : {false, true}) {
    if (bare && kTsan) continue;
    PrivateZone z(Pages(256 * kMaxOrderPages), bare);
    ASSERT_TRUE(z->alloc_run(Pages(1), Pages(1), kMovable));
    for (uint64_t align = 1; align <= 32 * kMaxOrderPages; align *= 2) {
      for (const uint64_t count : {uint64_t{1}, uint64_t{5}, uint64_t{kMaxOrderPages + 3}}) {
        const uint64_t before = z->stats().charged.v;
        const PageRun run = z->alloc_run(Pages(count), Pages(align), kMovable);
        ASSERT_TRUE(run) << count << " at " << align;
        EXPECT_EQ(reinterpret_cast<uintptr_t>(z->address(run.head)) % (align * kPageSize), 0u)
            << count << " at " << align;
        EXPECT_EQ(z->stats().charged.v - before, count);
        ASSERT_EQ(z.verify(), nullptr);
        ASSERT_TRUE(align % 3 != 1 || z->free_run(run.head));
      }
    }
  }
}

TEST(Zone, ExtendsIntoFreePagesAndIntoNewOnes) {
  PrivateZone z(kCapacity);
  const PageRun run = z->alloc_run(Pages(10), Pages(1), kMovable);
  ASSERT_TRUE(z->extend_run(run.head, Pages(10), Pages(20)));
  EXPECT_EQ(z->desc(run.head).count, 30u);
  EXPECT_EQ(z->stats().charged, Pages(30));
  // To the end of the arena and beyond it.
  const uint64_t beyond = z->stats().accessible.v - run.head - 30 + 500;
  ASSERT_TRUE(z->extend_run(run.head, Pages(30), Pages(beyond)));
  EXPECT_EQ(z->stats().charged, Pages(30 + beyond));
  EXPECT_EQ(z.verify(), nullptr);
  write_pattern(z->address(run.head), bytes_of(Pages(30 + beyond)), 1);
  EXPECT_FALSE(z->extend_run(run.head, Pages(30 + beyond), kCapacity)) << "more than the arena has";
  EXPECT_EQ(z->stats().charged, Pages(30 + beyond));
  ASSERT_TRUE(z->free_run(run.head));
  EXPECT_EQ(z->stats().charged, Pages(0));
  EXPECT_EQ(z.verify(), nullptr);
}

TEST(Zone, DoesNotExtendIntoANeighbour) {
  PrivateZone z(kCapacity);
  const PageRun run = z->alloc_run(Pages(16), Pages(1), kMovable);
  ASSERT_TRUE(z->extend_run(run.head, Pages(16), Pages(16)));
  z->shrink_run(run.head, Pages(32), Pages(16));
  const PageRun neighbour = z->alloc_run(Pages(8), Pages(1), kMovable);
  ASSERT_EQ(neighbour.head, run.head + 16) << "the warm pages just given back";
  EXPECT_FALSE(z->extend_run(run.head, Pages(16), Pages(1)));
  EXPECT_EQ(z->desc(run.head).count, 16u);
  ASSERT_TRUE(z->free_run(neighbour.head));
  EXPECT_TRUE(z->extend_run(run.head, Pages(16), Pages(1)));
  EXPECT_EQ(z.verify(), nullptr);
}

TEST(Zone, ShrinksAndSplits) {
  PrivateZone z(kCapacity);
  const PageRun run = z->alloc_run(Pages(100), Pages(1), kMovable);
  write_pattern(z->address(run.head), 100 * kPageSize, 1);
  z->shrink_run(run.head, Pages(100), Pages(60));
  EXPECT_EQ(z->stats().charged, Pages(60));
  EXPECT_EQ(z->stats().free_resident, Pages(40));
  EXPECT_TRUE(check_pattern(z->address(run.head), 60 * kPageSize, 100 * kPageSize, 1));
  z->desc(run.head).next = 1;  // the owner's flags
  const Pfn rest = z->split_run(run.head, Pages(60), Pages(7));
  EXPECT_EQ(rest, run.head + 7);
  EXPECT_EQ(z->desc(rest).count, 53u);
  EXPECT_EQ(z->desc(rest).next, 1u) << "flags go along";
  EXPECT_EQ(z->stats().charged, Pages(53));
  EXPECT_EQ(z.verify(), nullptr);
  EXPECT_FALSE(z->free_run(run.head));
  EXPECT_TRUE(z->free_run(rest));
  EXPECT_EQ(z->stats().charged, Pages(0));
  EXPECT_EQ(z.verify(), nullptr);
}

TEST(Zone, PurgeGivesMemoryBackAndNotMoreThanToldRoughly) {
  PrivateZone z(kCapacity);
  constexpr uint64_t kPages = 4 * kMaxOrderPages;
  const PageRun run = z->alloc_run(Pages(kPages), Pages(1), kMovable);
  write_pattern(z->address(run.head), bytes_of(Pages(kPages)), 1);
  memset(z->address(run.head), 1, bytes_of(Pages(kPages)));
  EXPECT_EQ(z.resident(run.head, Pages(kPages)), Pages(kPages));
  ASSERT_TRUE(z->free_run(run.head));
  EXPECT_EQ(z->stats().free_resident, Pages(kPages));
  const Pages some = z->purge(Pages(1500), order_of(kMaxOrder), Zone::Metadata::kStays);
  EXPECT_GE(some.v, 1500u);
  EXPECT_LE(some.v, 1500 + kMaxOrderPages) << "by whole blocks";
  EXPECT_EQ(z.resident(run.head, Pages(kPages)).v, kPages - some.v);
  EXPECT_EQ(z->stats().free_resident.v, kPages - some.v);
  EXPECT_EQ(purge_all(*z).v, kPages - some.v);
  EXPECT_EQ(z.resident(run.head, Pages(kPages)), Pages(0));
  EXPECT_EQ(z->stats().pgpurged, kPages);
  EXPECT_EQ(purge_all(*z), Pages(0)) << "nothing is left";
  EXPECT_EQ(z.verify(), nullptr);
}

TEST(Zone, PurgeKeepsToSmallBlocksWhenTold) {
  PrivateZone z(kCapacity);
  const PageRun large = z->alloc_run(Pages(kMaxOrderPages), Pages(kMaxOrderPages), kMovable);
  const PageRun wall = z->alloc_run(Pages(kMaxOrderPages), Pages(kMaxOrderPages), kMovable);
  const PageRun small = z->alloc_run(Pages(8), Pages(8), kMovable);
  const PageRun wall2 = z->alloc_run(Pages(8), Pages(8), kMovable);
  ASSERT_TRUE(large && wall && small && wall2);
  ASSERT_TRUE(z->free_run(large.head));
  ASSERT_TRUE(z->free_run(small.head));
  const uint64_t before = z->stats().free_resident.v;
  const Pages purged = z->purge(Pages(~uint64_t{0}), order_of(5), Zone::Metadata::kStays);
  EXPECT_EQ(z->stats().free_resident.v, before - purged.v);
  EXPECT_GE(z->stats().free_resident.v, kMaxOrderPages);
}

TEST(Zone, LockedMemoryIsRefusedAndKept) {
  PrivateZone z(kCapacity);
  const PageRun run = z->alloc_run(Pages(256), Pages(1), kMovable);
  memset(z->address(run.head), 1, 256 * kPageSize);
  if (!lock_memory(z->address(run.head), kPageSize)) GTEST_SKIP() << "memory cannot be locked here";
  ASSERT_TRUE(z->free_run(run.head));
  purge_all(*z);
  EXPECT_GT(z->stats().purge_fail, 0u);
  EXPECT_EQ(z.verify(), nullptr);
  ASSERT_TRUE(unlock_memory(z->address(run.head), kPageSize));
  purge_all(*z);
  EXPECT_EQ(z->stats().free_resident, Pages(0));
}

TEST(Zone, DecayGivesBackWhatWasUnusedForAWindow) {
  PrivateZone z(kCapacity);
  const PageRun run = z->alloc_run(Pages(512), Pages(1), kMovable);
  const PageRun busy = z->alloc_run(Pages(100), Pages(1), kMovable);
  ASSERT_TRUE(z->free_run(run.head));
  ASSERT_TRUE(z->free_run(busy.head));
  uint64_t given_back = 0;
  for (unsigned tick = 0; tick < 3 * UnusedWindow::kTicks; ++tick) {
    // Some is used in every tick, and stays.
    const PageRun used = z->alloc_run(Pages(100), Pages(1), kMovable);
    EXPECT_TRUE(z->free_run(used.head));
    given_back += z->decay_tick(Pages(0)).v;
    EXPECT_TRUE(tick >= UnusedWindow::kTicks || given_back == 0) << "tick " << tick;
  }
  EXPECT_GE(given_back, 512 - 128u);
  EXPECT_GE(z->stats().free_resident.v, 100u) << "what is used again and again stays";
  EXPECT_EQ(z.verify(), nullptr);
}

TEST(Zone, DecayTakesPagesThatWereUnusedElsewhere) {
  PrivateZone z(kCapacity);
  const PageRun block = z->alloc_block(order_of(4), kUnmovable);
  z->free_block(block.head, order_of(4), 0xffff);
  EXPECT_GE(z->decay_tick(Pages(16)).v, 16u) << "they have waited already";
  EXPECT_EQ(z->stats().free_resident, Pages(0));
}

TEST(Zone, DropPagesOfABlockInUse) {
  PrivateZone z(kCapacity);
  const PageRun block = z->alloc_block(order_of(4), kUnmovable);
  memset(z->address(block.head), 1, 16 * kPageSize);
  ASSERT_TRUE(z->drop_pages(block.head + 4, Pages(8)));
  EXPECT_EQ(z.resident(block.head, Pages(16)), Pages(8));
  EXPECT_TRUE(is_zero(z->address(block.head + 4), 8 * kPageSize));
  z->free_block(block.head, order_of(4), 0xf00f);
  EXPECT_EQ(z->stats().free_resident, Pages(8));
  EXPECT_EQ(z.verify(), nullptr);
}

TEST(Zone, MovesARunByItsPageTables) {
  if (kTsan) GTEST_SKIP() << "the sanitizer has no shadow for bare space";
  PrivateZone z(kCapacity);
  const PageRun from = z->alloc_run(Pages(300), Pages(1), kMovable);
  const PageRun to = z->alloc_run(Pages(1000), Pages(1), kMovable);
  write_pattern(z->address(from.head), 300 * kPageSize, 1);
  memset(z->address(to.head), 'x', 1000 * kPageSize);
  ASSERT_EQ(z->move_run(from.head, Pages(300), to.head), Zone::Move::kMoved);
  EXPECT_TRUE(check_pattern(z->address(to.head), 300 * kPageSize, 300 * kPageSize, 1));
  EXPECT_EQ(z->stats().charged, Pages(1000)) << "the old run is free";
  EXPECT_EQ(z->stats().pgmoved, 300u);
  EXPECT_EQ(z.verify(), nullptr);
  // What is free again is ordinary memory.
  const PageRun again = z->alloc_run(Pages(300), Pages(1), kMovable);
  memset(z->address(again.head), 1, 300 * kPageSize);
  ASSERT_TRUE(z->renew_mapping(to.head, Pages(1000)));
  EXPECT_TRUE(is_zero(z->address(to.head), 1000 * kPageSize));
  ASSERT_TRUE(z->free_run(to.head, Touched::kNo));
  EXPECT_EQ(z.verify(), nullptr);
}

// Mappings of this process that start in [first, first + bytes).
unsigned count_mappings(const void* first, size_t bytes) {
  std::ifstream maps("/proc/self/maps");
  unsigned count = 0;
  for (std::string line; std::getline(maps, line);) {
    const uintptr_t start = std::stoull(line, nullptr, 16);
    count += start - reinterpret_cast<uintptr_t>(first) < bytes;
  }
  return count;
}

class ZoneRenewal : public testing::TestWithParam<HugePages> {};

// A renewed mapping must have all the properties of its neighbours (advice on huge pages, node), or it would stay a
// mapping of its own for ever; the system allows a process some ten thousand.
TEST_P(ZoneRenewal, LeavesNoMappingsBehind) {
  if (kTsan) GTEST_SKIP() << "the sanitizer has no shadow for bare space";
  PrivateZone z(kCapacity, true, GetParam());
  const PageRun all = z->alloc_run(Pages(40 * kMaxOrderPages), Pages(1), kMovable);
  ASSERT_TRUE(z->free_run(all.head, Touched::kNo));
  const unsigned before = count_mappings(z->address(0), bytes_of(kCapacity));
  for (int round = 0; round < 8; ++round) {
    const PageRun from = z->alloc_run(Pages(300), Pages(1), kMovable);
    const PageRun to = z->alloc_run(Pages(1000), Pages(1), kMovable);
    write_pattern(z->address(from.head), 300 * kPageSize, 1);
    ASSERT_EQ(z->move_run(from.head, Pages(300), to.head), Zone::Move::kMoved);
    ASSERT_TRUE(z->renew_mapping(to.head, Pages(1000)));
    ASSERT_TRUE(z->free_run(to.head, Touched::kNo));
  }
  EXPECT_EQ(count_mappings(z->address(0), bytes_of(kCapacity)), before);
}

INSTANTIATE_TEST_SUITE_P(HugePages, ZoneRenewal,
                         testing::Values(HugePages::kNever, HugePages::kDense, HugePages::kAlways));

// In reserved space a hole could be filled by somebody else while the pages move.
TEST(Zone, NeverMovesInReservedSpace) {
  PrivateZone z(kCapacity, false);
  const PageRun from = z->alloc_run(Pages(300), Pages(1), kMovable);
  const PageRun to = z->alloc_run(Pages(500), Pages(1), kMovable);
  write_pattern(z->address(from.head), 300 * kPageSize, 1);
  EXPECT_EQ(z->move_run(from.head, Pages(300), to.head), Zone::Move::kFailed);
  EXPECT_TRUE(check_pattern(z->address(from.head), 300 * kPageSize, 300 * kPageSize, 1));
  EXPECT_EQ(z->stats().charged, Pages(800)) << "both runs are still the caller's";
}

// When resident pages do not fit what is asked for, they go back as fresh ones are taken.
TEST(Zone, ExchangesPagesThatDoNotFit) {
  PrivateZone z(Pages(256 * kMaxOrderPages));
  // Of 256 runs, the second half is free and warm: 64 MiB in pieces of 64 pages.
  Pfn pieces[256];
  for (Pfn& piece : pieces) piece = z->alloc_run(Pages(128), Pages(128), kMovable).head;
  for (const Pfn piece : pieces) z->shrink_run(piece, Pages(128), Pages(64));
  const uint64_t before = z->stats().free_resident.v;
  ASSERT_EQ(before, 256 * 64u);
  const PageRun run = z->alloc_run(Pages(4000), Pages(1), kMovable);
  ASSERT_TRUE(run);
  EXPECT_EQ(run.resident, Pages(0));
  EXPECT_LE(z->stats().free_resident.v, before - 3900) << "about as much as the new run may take";
  EXPECT_EQ(z.verify(), nullptr);
  // But some MiB of free memory always stay.
  while (z->stats().accessible.v < 200 * kMaxOrderPages) ASSERT_TRUE(z->alloc_run(Pages(8000), Pages(1), kMovable));
  EXPECT_GE(z->stats().free_resident.v, 2048u);
}

}  // namespace
}  // namespace weir
