// slot_map_test.cc: what the slot map hands out, and what it keeps for the children of forks.
#include "swap/slot_map.h"

#include <gtest/gtest.h>

#include <deque>
#include <set>
#include <utility>
#include <vector>

#include "support/open_slot_map.h"

namespace weir {
namespace {

constexpr unsigned kCluster = SlotMap::kClusterSlots;

TEST(SlotMap, RunsFollowOneAnother) {
  OpenMap map(1 << 16);
  uint64_t next = 0;
  for (unsigned want : {64, 16, 16, 16, 16, 64, 40, 24}) {
    const Slots run = map.alloc(want);
    EXPECT_EQ(run.first, next);
    EXPECT_EQ(run.count, want);
    next += want;
  }
  EXPECT_EQ(map.stats().used, next);
  EXPECT_EQ(map.verify(), nullptr);
}

TEST(SlotMap, ShortRunsShareClustersOfTheirOwn) {
  OpenMap map(1 << 16);
  std::set<uint64_t> short_clusters, long_clusters;
  for (unsigned i = 0; i < 64; ++i) {
    for (unsigned k = 0; k < 3; ++k) short_clusters.insert(map.alloc(1).first / kCluster);
    const Slots run = map.alloc(32);
    ASSERT_EQ(run.count, 32u);
    long_clusters.insert(run.first / kCluster);
  }
  EXPECT_LE(short_clusters.size(), 3u * 64 / kCluster + 2);
  for (uint64_t c : short_clusters) EXPECT_EQ(long_clusters.count(c), 0u) << "cluster " << c;
  EXPECT_EQ(long_clusters.size(), 64u * 32 / kCluster);
  EXPECT_EQ(map.verify(), nullptr);
}

TEST(SlotMap, SmallUseStaysInASmallPartOfTheFile) {
  OpenMap map(uint64_t{1} << 30);
  std::deque<Slots> live;
  for (unsigned i = 0; i < 100000; ++i) {
    live.push_back(map.alloc(16));
    ASSERT_EQ(live.back().count, 16u);
    if (live.size() > 100) {
      map.free(live.front().first, live.front().count);
      live.pop_front();
    }
  }
  EXPECT_EQ(map.size(), SlotMap::kStep);
}

TEST(SlotMap, GrowsToItsCapacityAndIsFull) {
  const uint64_t capacity = SlotMap::kStep + 1000;  // not a multiple of a cluster
  OpenMap map(capacity);
  uint64_t total = 0;
  for (Slots run; (run = map.alloc(64)).count != 0;) {
    ASSERT_EQ(run.first, total);
    total += run.count;
  }
  EXPECT_EQ(total, capacity);
  EXPECT_EQ(map.alloc(1).count, 0u);
  EXPECT_EQ(map.alloc(0).count, 0u);
  map.free(12345, 1);
  const Slots last = map.alloc(64);
  EXPECT_EQ(last.first, 12345u);
  EXPECT_EQ(last.count, 1u);
  EXPECT_EQ(map.alloc(1).count, 0u);
  EXPECT_EQ(map.verify(), nullptr);
}

TEST(SlotMap, ABrokenMapStillGivesTheLongestItSees) {
  OpenMap map(kCluster * 8);
  while (map.alloc(64).count != 0) {
  }
  for (uint64_t i = 0; i < kCluster * 8; i += 2) map.free(i, 1);
  EXPECT_EQ(map.alloc(64).count, 1u);
  map.free(kCluster * 3 + 21, 1);  // joins 20, 21 and 22
  EXPECT_EQ(map.alloc(64).count, 3u);
  EXPECT_EQ(map.verify(), nullptr);
}

TEST(SlotMap, LargeFilesCostNothingUnused) {
  OpenMap map(SlotMap::kMaxSlots);
  EXPECT_EQ(map.stats().capacity, SlotMap::kMaxSlots);
  EXPECT_EQ(map.alloc(64).count, 64u);
  EXPECT_EQ(map.size(), SlotMap::kStep);
  SlotMap refused;
  EXPECT_TRUE(refused.open(uint64_t{1} << 40)) << "cut to what there are numbers for";
  EXPECT_EQ(refused.stats().capacity, SlotMap::kMaxSlots);
  refused.close();
}

TEST(SlotMap, RetiredSlotsNeverComeBack) {
  OpenMap map(kCluster * 2);
  const Slots run = map.alloc(64);
  map.retire(run.first + 5);
  map.free(run.first, 5);
  map.free(run.first + 6, 58);
  uint64_t total = 0;
  for (Slots next; (next = map.alloc(64)).count != 0; total += next.count)
    EXPECT_TRUE(run.first + 5 < next.first || run.first + 5 >= next.first + next.count);
  EXPECT_EQ(total, kCluster * 2 - 1u);
  EXPECT_EQ(map.stats().retired, 1u);
}

TEST(SlotMap, OnAFullDiskOnlyWrittenClustersAreHandedOut) {
  OpenMap map(SlotMap::kStep * 2);
  Slots runs[10];
  for (Slots& run : runs) run = map.alloc(64);
  for (unsigned i = 0; i < 8; ++i) map.note_written(runs[i].first, 64);
  map.starve(runs[9].first, 64);
  EXPECT_EQ(map.alloc(64).count, 0u);
  EXPECT_EQ(map.alloc(1).count, 0u);
  map.free(runs[2].first, 64);
  map.free(runs[5].first + 10, 20);
  map.free(runs[8].first, 64);  // never written
  EXPECT_EQ(map.alloc(64).first, runs[2].first);
  EXPECT_EQ(map.alloc(20).first, runs[5].first + 10);
  EXPECT_EQ(map.alloc(1).count, 0u);
  EXPECT_EQ(map.verify(), nullptr);
  EXPECT_FALSE(map.feed_some(64));
  EXPECT_EQ(map.alloc(64).count, 64u);
}

TEST(SlotMap, StarvedSlotsWaitAndStopGrowth) {
  OpenMap map(SlotMap::kStep * 2);
  for (uint64_t i = 0; i < SlotMap::kStep; i += 64) ASSERT_EQ(map.alloc(64).count, 64u);
  map.note_written(0, SlotMap::kStep);
  map.starve(0, 64);
  map.starve(640, 30);
  EXPECT_TRUE(map.has_starved());
  EXPECT_EQ(map.alloc(64).count, 0u);
  EXPECT_EQ(map.size(), SlotMap::kStep);
  EXPECT_EQ(map.verify(), nullptr);
  EXPECT_TRUE(map.feed_some(30));
  EXPECT_EQ(map.stats().starved, 64u);
  EXPECT_EQ(map.alloc(64).count, 30u);
  EXPECT_FALSE(map.feed_some(64));
  EXPECT_EQ(map.alloc(64).count, 64u);
  EXPECT_EQ(map.alloc(64).first, SlotMap::kStep) << "grows again";
}

TEST(SlotMap, CleaningTakesFreeWrittenClustersFromTheEnd) {
  OpenMap map(kCluster * 100);
  for (unsigned i = 0; i < 10; ++i) {
    const Slots run = map.alloc(64);
    if (i != 7) map.note_written(run.first, run.count);
  }
  EXPECT_EQ(map.take_unclean(0, 99).slots, 0u) << "all in use";
  map.free(0, 10 * kCluster);
  EXPECT_EQ(map.stats().written_free, 9u * kCluster);
  auto taken = map.take_unclean(3 * kCluster, 99);
  EXPECT_EQ(taken.first_slot, 8u * kCluster);
  EXPECT_EQ(taken.slots, 2u * kCluster);
  EXPECT_EQ(map.stats().cleaning, taken.slots);
  EXPECT_EQ(map.verify(), nullptr);
  map.put_clean(taken, true);
  taken = map.take_unclean(3 * kCluster, 99);
  EXPECT_EQ(taken.first_slot, 3u * kCluster) << "7 was never written; 3 to 6 exceed the 3 that are kept";
  EXPECT_EQ(taken.slots, 4u * kCluster);
  map.put_clean(taken, false);
  EXPECT_EQ(map.stats().written_free, 7u * kCluster);
  EXPECT_EQ(map.take_unclean(7 * kCluster, 99).slots, 0u);
  taken = map.take_unclean(0, 2);
  EXPECT_EQ(taken.first_slot, 5u * kCluster);
  EXPECT_EQ(taken.slots, 2u * kCluster);
  map.put_clean(taken, true);
  EXPECT_EQ(map.verify(), nullptr);
}

void thaw_all(SlotMap& map, uint64_t fork) {
  ASSERT_TRUE(map.thaw(fork));
  while (map.thaw_some(fork, 3)) ASSERT_EQ(map.verify(), nullptr);
}

TEST(SlotMap, AChildKeepsWhatItCouldSeeAndNoMore) {
  OpenMap map(kCluster * 4);
  const Slots a = map.alloc(64);
  const uint64_t old_child = map.freeze();
  const Slots b = map.alloc(64);
  map.free(b.first, 64);
  EXPECT_EQ(map.stats().held, 0u) << "came after the fork";
  map.free(a.first, 64);
  EXPECT_EQ(map.stats().held, 64u);
  const Slots c = map.alloc(64);
  EXPECT_NE(c.first, a.first);
  const uint64_t young_child = map.freeze();
  map.free(c.first, 64);
  EXPECT_EQ(map.stats().held, 128u);
  thaw_all(map, young_child);
  EXPECT_EQ(map.stats().held, 64u) << "the old child never saw c";
  thaw_all(map, old_child);
  EXPECT_EQ(map.stats().held, 0u);
  EXPECT_EQ(map.stats().available, kCluster * 4u);
  EXPECT_FALSE(map.thaw(old_child));
  EXPECT_FALSE(map.thaw(4711));
}

TEST(SlotMap, TheOlderOfTwoChildrenHoldsWhatBothSaw) {
  OpenMap map(kCluster * 4);
  const Slots a = map.alloc(64);
  const uint64_t first = map.freeze();
  const Slots b = map.alloc(64);
  const uint64_t second = map.freeze();
  EXPECT_NE(first, second);
  map.free(a.first, 64);
  map.free(b.first, 64);
  thaw_all(map, second);
  EXPECT_EQ(map.stats().held, 64u) << "a, for the first";
  EXPECT_EQ(map.verify(), nullptr);
  thaw_all(map, first);
  EXPECT_EQ(map.stats().held, 0u);
}

TEST(SlotMap, StormsOfForksShareAnEntry) {
  OpenMap map(kCluster * 4);
  const Slots a = map.alloc(64);
  const uint64_t fork = map.freeze();
  for (int i = 0; i < 10000; ++i) ASSERT_EQ(map.freeze(), fork);
  EXPECT_EQ(map.stats().forks, 1u);
  map.free(a.first, 64);
  for (int i = 0; i < 10000; ++i) ASSERT_TRUE(map.thaw(fork));
  EXPECT_FALSE(map.thaw_some(fork, 100));
  EXPECT_EQ(map.stats().held, 64u);
  thaw_all(map, fork);
  EXPECT_EQ(map.stats().held, 0u);
}

TEST(SlotMap, MoreForksThanEntries) {
  OpenMap map(1 << 16);
  std::vector<std::pair<uint64_t, Slots>> children;
  for (int i = 0; i < 500; ++i) {
    const Slots run = map.alloc(4);
    children.push_back({map.freeze(), run});
  }
  EXPECT_EQ(map.verify(), nullptr);
  for (const auto& [fork, run] : children) map.free(run.first, run.count);
  EXPECT_EQ(map.stats().held, 2000u);
  for (size_t i = 0; i + 1 < children.size(); ++i) thaw_all(map, children[i].first);
  EXPECT_GT(map.stats().held, 0u) << "the last child lives";
  thaw_all(map, children.back().first);
  EXPECT_EQ(map.stats().held, 0u);
  EXPECT_EQ(map.stats().forks, 0u);
  EXPECT_EQ(map.verify(), nullptr);
}

}  // namespace
}  // namespace weir
