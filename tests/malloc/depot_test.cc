// depot_test.cc: slabs of one class: refill, the transfer cache, memory that goes back when it is not used, and lanes.
#include "malloc/node_depots.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "os/vm.h"
#include "support/memory_lock.h"
#include "support/private_allocator.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{256} << 20;
constexpr unsigned kTicks = UnusedWindow::kTicks;

// The depots of one class, as a thread of this lane uses them.
struct ClassDepots {
  NodeDepots& depots;
  size_t size_class;
  unsigned lane = 0;

  unsigned refill(void** out, unsigned want) const { return depots.refill(size_class, out, want, lane, false); }
  BadFree flush(void* const* objects, unsigned count) const { return depots.flush(size_class, objects, count, lane); }
  BadFree flush_checked(void* const* objects, unsigned count) const {
    return depots.flush_checked(size_class, objects, count);
  }
  FreeVerdict check(void* object) const { return depots.check(size_class, object); }
  BadFree decay_tick(Pages& released) const { return depots.decay_tick(released); }
  BadFree release_all() const { return depots.release_all(); }
  DepotStats stats() const { return depots.stats(size_class); }
};

class DepotTest : public testing::Test {
 protected:
  void SetUp() override {
    a_.options().thp = Thp::kNever;
    ASSERT_TRUE(a_.start(kCapacity));
  }
  ClassDepots depot(size_t size, unsigned lane = 0) {
    a_->depots(NodeId(0)).open_lane(lane);
    return {a_->depots(NodeId(0)), class_of_size(size), lane};
  }
  Zone& zone() { return a_->pages().zone(NodeId(0)); }
  std::vector<void*> take(const ClassDepots& d, unsigned want) {
    std::vector<void*> got(want);
    got.resize(d.refill(got.data(), want));
    return got;
  }
  static BadFree give(const ClassDepots& d, const std::vector<void*>& objects, unsigned batch) {
    for (size_t i = 0; i < objects.size(); i += batch) {
      const size_t n = std::min<size_t>(batch, objects.size() - i);
      const BadFree bad = d.flush(objects.data() + i, static_cast<unsigned>(n));
      if (bad.object != nullptr) return bad;
    }
    return {};
  }
  void tick(const ClassDepots& d) {
    Pages released;
    EXPECT_EQ(d.decay_tick(released).object, nullptr);
  }

  PrivateAllocator a_;
};

TEST_F(DepotTest, RefillsFromOneSlabTheLowestAddressLast) {
  const ClassDepots d = depot(64);
  const std::vector<void*> got = take(d, 10);
  ASSERT_EQ(got.size(), 10u);
  for (unsigned i = 1; i < 10; ++i) EXPECT_EQ(static_cast<char*>(got[i - 1]) - static_cast<char*>(got[i]), 64);
  const DepotStats s = d.stats();
  EXPECT_EQ(s.slabs, 1u);
  EXPECT_EQ(s.free_objects, kSizeClasses[class_of_size(64)].objects - 10u);
  EXPECT_EQ(a_->verify(), nullptr);
}

TEST_F(DepotTest, MayGiveFewerThanWantedButNeverNone) {
  const ClassDepots d = depot(8192);
  unsigned total = 0;
  while (total < 50) {
    const std::vector<void*> got = take(d, 7);
    ASSERT_GE(got.size(), 1u);
    total += static_cast<unsigned>(got.size());
  }
  EXPECT_EQ(a_->verify(), nullptr);
}

TEST_F(DepotTest, WhatIsGivenBackIsHandedOnWithoutTouchingSlabs) {
  const ClassDepots d = depot(64);
  const std::vector<void*> got = take(d, 20);
  const uint64_t free = d.stats().free_objects;
  ASSERT_EQ(give(d, got, 20).object, nullptr);
  EXPECT_EQ(d.stats().transfer_objects, 20u);
  EXPECT_EQ(d.stats().free_objects, free);
  std::vector<void*> again = take(d, 20);
  EXPECT_EQ(again, got) << "the same objects in the same order";
  EXPECT_EQ(a_->verify(), nullptr);
}

TEST_F(DepotTest, TheTransferCacheIsBounded) {
  const ClassDepots d = depot(64);
  const unsigned batch = kSizeClasses[class_of_size(64)].batch;
  std::vector<void*> all;
  for (unsigned i = 0; i < 20; ++i) {
    const std::vector<void*> got = take(d, batch);
    all.insert(all.end(), got.begin(), got.end());
  }
  ASSERT_EQ(give(d, all, batch).object, nullptr);
  EXPECT_EQ(d.stats().transfer_objects, 4u * batch);
  EXPECT_EQ(a_->verify(), nullptr);
}

TEST_F(DepotTest, EmptySlabsGoToTheZoneButOne) {
  const ClassDepots d = depot(1024);
  std::vector<void*> all;
  for (unsigned i = 0; i < 40; ++i) {
    const std::vector<void*> got = take(d, 16);
    all.insert(all.end(), got.begin(), got.end());
  }
  const uint64_t charged = zone().stats().charged.v;
  EXPECT_EQ(charged, d.stats().slabs * 4);
  ASSERT_EQ(d.flush_checked(all.data(), static_cast<unsigned>(all.size())).object, nullptr);
  EXPECT_EQ(d.stats().slabs, 1u);
  EXPECT_EQ(zone().stats().charged, Pages(4));
  EXPECT_EQ(a_->verify(), nullptr);
  EXPECT_EQ(d.release_all().object, nullptr);
  EXPECT_EQ(zone().stats().charged, Pages(0));
  for (const void* object : all) EXPECT_EQ(a_->map().class_at(a_->map().offset_of(object)), 0u);
  EXPECT_EQ(a_->verify(), nullptr);
}

TEST_F(DepotTest, FlushCheckedNamesTheCulprit) {
  const ClassDepots d = depot(64);
  std::vector<void*> got = take(d, 4);
  EXPECT_EQ(d.check(got[0]), FreeVerdict::kOk);
  ASSERT_EQ(d.flush_checked(got.data(), 1).object, nullptr);
  EXPECT_EQ(d.check(got[0]), FreeVerdict::kDoubleFree);
  const BadFree twice = d.flush_checked(got.data(), 1);
  EXPECT_EQ(twice.object, got[0]);
  EXPECT_EQ(twice.verdict, FreeVerdict::kDoubleFree);
  void* inside = static_cast<char*>(got[1]) + 16;
  EXPECT_EQ(d.check(inside), FreeVerdict::kInsideObject);
  const BadFree bad = d.flush_checked(&inside, 1);
  EXPECT_EQ(bad.object, inside);
  EXPECT_EQ(bad.verdict, FreeVerdict::kInsideObject);
}

// What the transfer cache took unseen comes to light when it reaches its slab.
TEST_F(DepotTest, ADoubleFreeInTheTransferCacheIsFoundByDecay) {
  const ClassDepots d = depot(64);
  std::vector<void*> got = take(d, 4);
  got[3] = got[0];
  ASSERT_EQ(give(d, got, 4).object, nullptr);
  BadFree bad;
  for (unsigned i = 0; i < 3 && bad.object == nullptr; ++i) {
    Pages released;
    bad = d.decay_tick(released);
  }
  EXPECT_EQ(bad.object, got[0]);
  EXPECT_EQ(bad.verdict, FreeVerdict::kDoubleFree);
}

TEST_F(DepotTest, DecayReturnsUnusedTransfers) {
  const ClassDepots d = depot(64);
  ASSERT_EQ(give(d, take(d, 100), 100).object, nullptr);
  tick(d);
  EXPECT_EQ(d.stats().transfer_objects, 100u) << "they came in during this tick";
  tick(d);
  EXPECT_EQ(d.stats().transfer_objects, 0u);
  EXPECT_EQ(a_->verify(), nullptr);
}

// Pages of a slab in use that hold no object go back to the system; the objects beside them keep their content.
TEST_F(DepotTest, IdlePagesOfUsedSlabsGoBack) {
  const ClassDepots d = depot(2048);
  std::vector<void*> got = take(d, 8);  // one slab: 8 objects on 4 pages
  ASSERT_EQ(got.size(), 8u);
  std::sort(got.begin(), got.end());
  for (void* object : got) memset(object, 0x5a, 2048);
  char* slab = static_cast<char*>(got[0]);
  ASSERT_EQ(os::vm_resident(slab, 4 * kPageSize), Pages(4));
  // Both objects of pages 1 and 2, one of page 3.
  ASSERT_EQ(d.flush_checked(got.data() + 2, 5).object, nullptr);
  for (unsigned i = 0; i + 1 < kTicks; ++i) {
    tick(d);
    ASSERT_EQ(os::vm_resident(slab, 4 * kPageSize), Pages(4)) << "tick " << i;
  }
  for (unsigned i = 0; i < 3; ++i) tick(d);
  EXPECT_EQ(os::vm_resident(slab, 4 * kPageSize), Pages(2));
  for (const unsigned kept : {0u, 1u, 7u})
    for (unsigned i = 0; i < 2048; ++i) ASSERT_EQ(static_cast<char*>(got[kept])[i], 0x5a);
  EXPECT_EQ(a_->verify(), nullptr);
  // The purged pages are touched again when they are given out again.
  std::vector<void*> again = take(d, 5);
  for (void* object : again) memset(object, 1, 2048);
  EXPECT_EQ(os::vm_resident(slab, 4 * kPageSize), Pages(4));
  EXPECT_EQ(a_->verify(), nullptr);
}

// Pages that a slab got from the zone with old memory behind them are idle too, although nobody took objects there.
TEST_F(DepotTest, TrimDropsPagesThatAReusedSlabNeverTouched) {
  const ClassDepots d = depot(2048);
  std::vector<void*> got = take(d, 8);
  ASSERT_EQ(got.size(), 8u);
  for (void* object : got) memset(object, 0x5a, 2048);
  ASSERT_EQ(d.flush_checked(got.data(), 8).object, nullptr);
  ASSERT_EQ(d.release_all().object, nullptr);  // back to the zone, resident
  std::vector<void*> one = take(d, 1);
  ASSERT_EQ(one.size(), 1u);
  char* slab = reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(one[0]) & ~uintptr_t{4 * kPageSize - 1});
  ASSERT_EQ(os::vm_resident(slab, 4 * kPageSize), Pages(4));
  a_.trim(nullptr);
  EXPECT_EQ(os::vm_resident(slab, 4 * kPageSize), Pages(1));
}

TEST_F(DepotTest, EmptyIdleSlabsGoToTheZone) {
  const ClassDepots d = depot(2048);
  std::vector<void*> got = take(d, 8);
  ASSERT_EQ(d.flush_checked(got.data(), 8).object, nullptr);
  EXPECT_EQ(d.stats().slabs, 1u);
  Pages released;
  for (unsigned i = 0; i <= kTicks; ++i) EXPECT_EQ(d.decay_tick(released).object, nullptr);
  EXPECT_EQ(d.stats().slabs, 0u);
  EXPECT_EQ(released, Pages(4)) << "pages that held objects are reported, so that the zone need not wait again";
  EXPECT_EQ(zone().stats().charged, Pages(0));
  EXPECT_EQ(a_->verify(), nullptr);
}

TEST_F(DepotTest, SlabsInUseKeepTheirMemory) {
  const ClassDepots d = depot(2048);
  std::vector<void*> got = take(d, 8);
  for (void* object : got) memset(object, 1, 2048);
  for (unsigned i = 0; i < 3 * kTicks; ++i) {
    std::vector<void*> some = take(d, 4);
    ASSERT_EQ(d.flush_checked(some.data(), static_cast<unsigned>(some.size())).object, nullptr);
    tick(d);
  }
  EXPECT_EQ(os::vm_resident(got.back(), 4 * kPageSize), Pages(4));
  EXPECT_EQ(a_->verify(), nullptr);
}

TEST_F(DepotTest, LockedSlabsStay) {
  const ClassDepots d = depot(2048);
  std::vector<void*> got = take(d, 8);
  std::sort(got.begin(), got.end());
  for (void* object : got) memset(object, 1, 2048);
  if (!lock_memory(got[0], 4 * kPageSize)) GTEST_SKIP() << "memory cannot be locked here";
  ASSERT_EQ(d.flush_checked(got.data() + 2, 4).object, nullptr);
  EXPECT_EQ(d.release_all().object, nullptr);
  EXPECT_EQ(os::vm_resident(got[0], 4 * kPageSize), Pages(4));
  EXPECT_EQ(a_->verify(), nullptr);
  EXPECT_TRUE(unlock_memory(got[0], 4 * kPageSize));
  EXPECT_EQ(d.release_all().object, nullptr);
  EXPECT_EQ(os::vm_resident(got[0], 4 * kPageSize), Pages(2));
}

TEST_F(DepotTest, NoMemoryMeansNoObjects) {
  a_.stop();
  PrivateAllocator small;
  ASSERT_TRUE(small.start(size_t{4} << 20));
  const ClassDepots d = {small->depots(NodeId(0)), class_of_size(16384)};
  unsigned total = 0;
  for (void* out[4]; const unsigned n = d.refill(out, 4);) total += n;
  EXPECT_EQ(total, 256u) << "4 MiB of 16 KiB";
  EXPECT_EQ(small->verify(), nullptr);
  // Another class gets nothing either, until something is given back.
  void* out[1];
  EXPECT_EQ(small->depots(NodeId(0)).refill(class_of_size(64), out, 1, 0, false), 0u);
}

uintptr_t slab_of(const void* object, size_t size) {
  return reinterpret_cast<uintptr_t>(object) & ~uintptr_t{kSizeClasses[class_of_size(size)].slab_mask};
}

TEST_F(DepotTest, LanesShareNoSlab) {
  std::set<uintptr_t> slabs[2];
  std::vector<void*> all[2];
  for (unsigned round = 0; round < 40; ++round) {
    for (unsigned lane = 0; lane < 2; ++lane) {
      const ClassDepots d = depot(32, lane);
      for (void* object : take(d, 100)) {
        slabs[lane].insert(slab_of(object, 32));
        all[lane].push_back(object);
      }
    }
    // Each gives back some of its own.
    for (unsigned lane = 0; lane < 2; ++lane) {
      const std::vector<void*> some(all[lane].end() - 60, all[lane].end());
      all[lane].resize(all[lane].size() - 60);
      ASSERT_EQ(give(depot(32, lane), some, 60).object, nullptr);
    }
  }
  for (const uintptr_t slab : slabs[0]) EXPECT_FALSE(slabs[1].contains(slab));
  EXPECT_EQ(a_->verify(), nullptr);
}

// What is freed by threads of another lane than the one it came from finds its slab, and memory goes back.
TEST_F(DepotTest, ObjectsFreedInAnotherLaneComeHome) {
  const ClassDepots producer = depot(64, 1), consumer = depot(64, 2);
  std::vector<void*> all;
  while (all.size() < 20000) {
    const std::vector<void*> got = take(producer, 100);
    all.insert(all.end(), got.begin(), got.end());
  }
  ASSERT_EQ(give(consumer, all, 100).object, nullptr);
  EXPECT_EQ(consumer.stats().transfer_objects, 4u * kSizeClasses[class_of_size(64)].batch);
  EXPECT_EQ(a_->verify(), nullptr);
  EXPECT_EQ(consumer.release_all().object, nullptr);
  EXPECT_EQ(producer.stats().slabs, 0u);
  EXPECT_EQ(zone().stats().charged, Pages(0));
  EXPECT_EQ(a_->verify(), nullptr);
}

TEST_F(DepotTest, AFullTransferCacheFeedsOtherLanes) {
  const ClassDepots producer = depot(64, 1), consumer = depot(64, 2);
  std::vector<void*> all;
  for (unsigned i = 0; i < 1000; ++i) {
    const std::vector<void*> got = take(producer, 64);
    ASSERT_EQ(give(consumer, got, 64).object, nullptr);
  }
  EXPECT_LE(producer.stats().slabs, 4u) << "what the consumer frees is used again";
  EXPECT_EQ(a_->verify(), nullptr);
}

// A lane takes from one that has plenty, and from anyone when there is no memory.
TEST_F(DepotTest, FreeMemoryOfOtherLanesIsUsed) {
  const ClassDepots a = depot(64, 1), b = depot(64, 3);
  std::vector<void*> all;
  while (all.size() < 50000) {
    const std::vector<void*> got = take(a, 100);
    all.insert(all.end(), got.begin(), got.end());
  }
  std::vector<void*> half;
  for (size_t i = 0; i < all.size(); i += 2) half.push_back(all[i]);
  ASSERT_EQ(a.flush_checked(half.data(), static_cast<unsigned>(half.size())).object, nullptr);
  const uint64_t slabs = a.stats().slabs;
  for (size_t taken = 0; taken < half.size() - 4000;) taken += take(b, 100).size();
  EXPECT_LE(b.stats().slabs, slabs + 3) << "half of each slab of the other lane was free";
  EXPECT_EQ(a_->verify(), nullptr);
}

TEST_F(DepotTest, TheLastObjectsOfOtherLanesAreFoundWhenThereIsNoMemory) {
  a_.stop();
  PrivateAllocator small;
  ASSERT_TRUE(small.start(size_t{4} << 20));
  NodeDepots& depots = small->depots(NodeId(0));
  depots.open_lane(NodeDepots::kLanes - 1);
  const size_t c = class_of_size(512);
  unsigned total = 0;
  void* out[32];
  for (unsigned lane = 0; const unsigned n = depots.refill(c, out, 5, lane, false); ++lane) total += n;
  EXPECT_EQ(total, 8192u) << "4 MiB of 512 bytes: every object of every lane";
  EXPECT_EQ(small->verify(), nullptr);
}

}  // namespace
}  // namespace weir
