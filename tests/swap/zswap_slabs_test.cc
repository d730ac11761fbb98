// Slots: no two overlap, memory is counted as the system counts it, full slabs are preferred, empty ones go back.
#include "swap/zswap_slabs.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

#include "os/vm.h"
#include "support/random.h"

namespace weir::zswap {
namespace {

constexpr Pages kNoLimit{~uint64_t{0}};

class ZswapSlabs : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(slabs_->init(size_t{256} << 20)); }
  void TearDown() override { slabs_->destroy(); }
  size_t take(size_t bytes, Pages limit = kNoLimit) {
    const size_t place = slabs_->take(bytes, limit);
    if (place != Slabs::kNoPlace) memset(slabs_->memory() + place, 1, bytes);
    return place;
  }
  void expect_verified(uint64_t taken) {
    uint64_t found = 0;
    EXPECT_EQ(slabs_->verify(found), nullptr) << slabs_->verify(found);
    EXPECT_EQ(found, taken);
  }
  // Pages of the pool that really hold memory, without descriptors.
  uint64_t really_resident() { return os::vm_resident(slabs_->memory(), slabs_->accessible_bytes()).v; }
  Pages purge_all(Pages keep) {
    SlabRun runs[64];
    Pages given;
    for (unsigned n; (n = slabs_->isolate(keep, runs, 64)) != 0;)
      for (unsigned i = 0; i < n; ++i) {
        EXPECT_TRUE(slabs_->purge(runs[i]));
        given += slabs_->finish(runs[i], true);
      }
    return given;
  }
  std::unique_ptr<Slabs> slabs_ = std::make_unique<Slabs>();
};

TEST(ZswapClasses, SizesRiseAndFitTheSlab) {
  ASSERT_LE(kClasses.count, kMaxClasses);
  for (unsigned c = 0; c < kClasses.count; ++c) {
    const size_t size = kClasses.size[c], slots = kClasses.slots[c];
    if (c != 0) {
      EXPECT_GT(size, size_t{kClasses.size[c - 1]});
    }
    EXPECT_EQ(size % 16, 0u);
    EXPECT_LE(slots, kMaxSlots);
    EXPECT_LE(size * slots, kSlabBytes);
    // What is left over in the pages that the slab reaches.
    const size_t reached = bytes_of(pages_of(size * slots));
    EXPECT_LT(reached - size * slots, reached / 50) << "class of " << size;
  }
  for (size_t bytes = 1; bytes <= kMaxSlot; ++bytes) {
    const unsigned c = class_of(bytes);
    ASSERT_GE(kClasses.size[c], bytes);
    if (c != 0) {
      ASSERT_LT(kClasses.size[c - 1], bytes);
    }
  }
}

// Most entries of some classes go, at random: what is left moves together until little can be won, without taking
// memory, and what is emptied can be had back.
TEST_F(ZswapSlabs, EntriesMoveTogether) {
  Random random(17);
  std::vector<size_t> places;
  for (size_t bytes : {300, 1500, 1500, 3000})
    for (unsigned i = 0; i < 3000; ++i) places.push_back(take(bytes));
  EXPECT_LE(slabs_->packable(), Pages(0));
  std::vector<size_t> left;
  for (size_t place : places) {
    if (random.below(100) < 30) {
      left.push_back(place);
    } else {
      ASSERT_TRUE(slabs_->give(place));
    }
  }
  const Pages before = slabs_->resident(), could = slabs_->packable();
  ASSERT_GT(could.v, before.v / 2);
  unsigned moves = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t& place : left) {
      const size_t to = slabs_->take_fuller(place);
      if (to == Slabs::kNoPlace) continue;
      ASSERT_NE(to / kSlabBytes, place / kSlabBytes);
      ASSERT_TRUE(slabs_->give(place));
      place = to;
      moved = true;
      ASSERT_LE(++moves, left.size() * 8) << "entries go round";
    }
  }
  EXPECT_EQ(slabs_->resident(), before);
  expect_verified(left.size());
  for (size_t place : left) ASSERT_TRUE(slabs_->is_taken(place));
  EXPECT_LT(slabs_->packable().v, could.v / 8);
  EXPECT_GT(purge_all(Pages(0)).v, could.v * 7 / 8);
  expect_verified(left.size());
}

TEST_F(ZswapSlabs, NothingMovesThatDoesNotHelp) {
  EXPECT_EQ(slabs_->take_fuller(0), Slabs::kNoPlace) << "nothing is there";
  const size_t alone = take(1500);
  EXPECT_EQ(slabs_->take_fuller(alone), Slabs::kNoPlace) << "the only slab of its class";
  EXPECT_EQ(slabs_->take_fuller(alone + 16), Slabs::kNoPlace) << "not the place of an entry";
  std::vector<size_t> places;
  for (unsigned i = 0; i < 2000; ++i) places.push_back(take(700));
  for (unsigned i = 0; i < 40; ++i) ASSERT_TRUE(slabs_->give(places[i * 50]));
  for (unsigned i = 1; i < 2000; ++i) {
    if (i % 50 == 0) continue;
    ASSERT_EQ(slabs_->take_fuller(places[i]), Slabs::kNoPlace) << "a fiftieth is free: " << i;
  }
}

TEST_F(ZswapSlabs, SetFindsMembers) {
  SlabSet set;
  ASSERT_TRUE(set.init(100000));
  EXPECT_EQ(set.next(0), SlabSet::kNone);
  for (uint32_t i : {3u, 63u, 64u, 4096u, 70000u, 99999u}) set.add(i);
  EXPECT_EQ(set.next(0), 3u);
  EXPECT_EQ(set.next(4), 63u);
  EXPECT_EQ(set.next(64), 64u);
  EXPECT_EQ(set.next(65), 4096u);
  EXPECT_EQ(set.next(4097), 70000u);
  set.remove(70000);
  EXPECT_EQ(set.next(4097), 99999u);
  set.remove(99999);
  EXPECT_EQ(set.next(4097), SlabSet::kNone);
  EXPECT_EQ(set.next(100000), SlabSet::kNone);
  set.destroy();
}

TEST_F(ZswapSlabs, RandomUseNeverOverlapsAndIsCountedExactly) {
  Random random(11);
  std::map<size_t, size_t> taken;  // place -> bytes
  for (unsigned step = 0; step < 60000; ++step) {
    // Waves of filling and emptying.
    const bool fill = random.below(100) < (step / 10000 % 2 == 0 ? 70u : 30u);
    if (fill || taken.empty()) {
      const size_t bytes = 1 + random.below(kMaxSlot);
      const size_t place = take(bytes);
      ASSERT_NE(place, Slabs::kNoPlace);
      const auto after = taken.lower_bound(place);
      if (after != taken.end()) {
        ASSERT_LE(place + bytes, after->first);
      }
      if (after != taken.begin()) {
        ASSERT_LE(std::prev(after)->first + std::prev(after)->second, place);
      }
      taken.emplace(place, bytes);
    } else {
      auto at = taken.lower_bound(random.below(taken.rbegin()->first + 1));
      ASSERT_TRUE(slabs_->is_taken(at->first));
      ASSERT_TRUE(slabs_->give(at->first));
      ASSERT_FALSE(slabs_->is_taken(at->first));
      ASSERT_FALSE(slabs_->give(at->first));
      taken.erase(at);
    }
    if (step % 5000 == 0) {
      expect_verified(taken.size());
      ASSERT_LE(really_resident(), slabs_->resident().v);
      purge_all(Pages(step % 400));
      expect_verified(taken.size());
      ASSERT_LE(really_resident(), slabs_->resident().v);
      // Slots reach into pages that a short entry does not touch, and that is all the difference there may be.
      ASSERT_GE(really_resident() + slabs_->resident().v / 10 + 64, slabs_->resident().v);
    }
  }
  for (const auto& [place, bytes] : taken) ASSERT_TRUE(slabs_->give(place));
  expect_verified(0);
  const Pages before = slabs_->resident(), empty = slabs_->empty();
  EXPECT_EQ(purge_all(Pages(0)), empty);
  EXPECT_EQ(slabs_->resident(), before - empty);
  EXPECT_EQ(really_resident(), 0u);
}

TEST_F(ZswapSlabs, ForeignPlacesAreRefused) {
  const size_t place = take(1000);
  EXPECT_FALSE(slabs_->give(place + 16));
  EXPECT_FALSE(slabs_->give(place + kClasses.size[class_of(1000)]));
  EXPECT_FALSE(slabs_->give(kSlabBytes));
  EXPECT_FALSE(slabs_->give(size_t{1} << 40));
  EXPECT_TRUE(slabs_->give(place));
}

TEST_F(ZswapSlabs, FullestSlabIsFilledFirst) {
  const unsigned slots = kClasses.slots[class_of(2000)];
  std::vector<size_t> places;
  for (unsigned i = 0; i < 2 * slots; ++i) places.push_back(take(2000));
  // The first slab loses three of its entries, the second all but one: new ones go to the first.
  for (unsigned i = 0; i < 3; ++i) ASSERT_TRUE(slabs_->give(places[i]));
  for (unsigned i = slots + 1; i < 2 * slots; ++i) ASSERT_TRUE(slabs_->give(places[i]));
  for (unsigned i = 0; i < 3; ++i) EXPECT_LT(take(2000), kSlabBytes);
  EXPECT_GE(take(2000), kSlabBytes);
}

TEST_F(ZswapSlabs, LimitIsKeptToThePage) {
  for (size_t bytes : {60, 700, 2000, 3000}) {
    const Pages limit = slabs_->resident() + Pages(100);
    uint64_t taken = 0;
    while (take(bytes, limit) != Slabs::kNoPlace) ++taken;
    EXPECT_LE(slabs_->resident(), limit);
    EXPECT_GE(slabs_->resident() + Pages(2), limit);
    EXPECT_GE(taken * bytes, 88 * kPageSize * bytes / kClasses.size[class_of(bytes)]);
  }
}

TEST_F(ZswapSlabs, AtTheLimitHolesOfLargerClassesAndEmptySlabsServe) {
  std::vector<size_t> larger;
  for (unsigned i = 0; i < 100; ++i) larger.push_back(take(2000));
  const Pages limit = slabs_->resident();
  while (take(2000, limit) != Slabs::kNoPlace) {
  }
  EXPECT_EQ(take(1900, limit), Slabs::kNoPlace);
  ASSERT_TRUE(slabs_->give(larger[7]));
  EXPECT_EQ(take(1900, limit), larger[7]);
  EXPECT_EQ(take(1900, limit), Slabs::kNoPlace);
  for (unsigned i = 0; i < 100; ++i)
    if (i != 7) {
      ASSERT_TRUE(slabs_->give(larger[i]));
    }
  ASSERT_GT(slabs_->empty().v, 16u);
  // Any class can use what was emptied.
  EXPECT_NE(take(100, limit), Slabs::kNoPlace);
  EXPECT_NE(take(3500, limit), Slabs::kNoPlace);
  EXPECT_LE(slabs_->resident(), limit);
}

TEST_F(ZswapSlabs, NeighboursGoBackInOneRun) {
  const unsigned slots = kClasses.slots[class_of(3000)];
  std::vector<size_t> places;
  for (unsigned i = 0; i < 40 * slots; ++i) places.push_back(take(3000));
  // Slab 20 stays in use.
  for (unsigned i = 0; i < 40 * slots; ++i)
    if (i / slots != 20) {
      ASSERT_TRUE(slabs_->give(places[i]));
    }
  SlabRun runs[8];
  ASSERT_EQ(slabs_->isolate(Pages(0), runs, 8), 2u);
  EXPECT_EQ(runs[0].first, 0u);
  EXPECT_EQ(runs[0].count, 20u);
  EXPECT_EQ(runs[1].first, 21u);
  EXPECT_EQ(runs[1].count, 19u);
  expect_verified(slots);
  // What is isolated is nobody's.
  EXPECT_GE(take(3000), 40 * kSlabBytes);
  EXPECT_TRUE(slabs_->purge(runs[0]));
  EXPECT_EQ(slabs_->finish(runs[0], true), Pages(20 * 16));
  // A refusal by the system loses nothing.
  EXPECT_EQ(slabs_->finish(runs[1], false), Pages(0));
  EXPECT_EQ(slabs_->empty(), Pages(19 * 16));
  expect_verified(slots + 1);
  // Slabs without memory in between are no reason for a second call.
  std::vector<size_t> again;
  for (unsigned i = 0; i < 25 * slots; ++i) again.push_back(take(3000));
  for (size_t place : again) ASSERT_TRUE(slabs_->give(place));
  EXPECT_LE(slabs_->isolate(Pages(0), runs, 8), 2u);
  slabs_->after_fork_in_child();
  expect_verified(slots + 1);
}

TEST_F(ZswapSlabs, KeepsWhatItIsToldTo) {
  std::vector<size_t> places;
  for (unsigned i = 0; i < 800; ++i) places.push_back(take(3000));
  for (size_t place : places) ASSERT_TRUE(slabs_->give(place));
  EXPECT_GT(slabs_->empty(), Pages(500));
  purge_all(Pages(200));
  EXPECT_LE(slabs_->empty(), Pages(200));
  EXPECT_GT(slabs_->empty(), Pages(200 - 16));
  // The next stores take it: no more memory than before.
  const Pages before = slabs_->resident();
  for (unsigned i = 0; i < 200; ++i) EXPECT_NE(take(3000), Slabs::kNoPlace);
  EXPECT_EQ(slabs_->resident(), before);
}

TEST(ZswapSlabsSpace, EndOfAddressSpaceIsARefusal) {
  auto slabs = std::make_unique<Slabs>();
  ASSERT_TRUE(slabs->init(10 * kSlabBytes));
  uint64_t taken = 0;
  while (slabs->take(kMaxSlot, kNoLimit) != Slabs::kNoPlace) ++taken;
  EXPECT_EQ(taken, 10 * kMinSlots);
  EXPECT_EQ(slabs->take(1, kNoLimit), Slabs::kNoPlace);
  EXPECT_TRUE(slabs->give(kSlabBytes));
  EXPECT_EQ(slabs->take(kMaxSlot, kNoLimit), kSlabBytes);
  slabs->destroy();
  EXPECT_FALSE(slabs->init(0));
  EXPECT_FALSE(slabs->init(size_t{1} << 60));
  ASSERT_TRUE(slabs->init(kSlabBytes));
  EXPECT_NE(slabs->take(1, kNoLimit), Slabs::kNoPlace);
  slabs->destroy();
}

}  // namespace
}  // namespace weir::zswap
