// compactor_test.cc: objects are moved together, with their content, so that what fits nowhere fits; what is pinned
// stays; and when it is not tried.
#include "compact/compactor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

#include "support/movable_test_base.h"
#include "support/pattern.h"
#include "support/private_allocator.h"
#include "support/random.h"

namespace weir {
namespace {

constexpr size_t kArena = size_t{64} << 20;
constexpr size_t kObject = 5 * kPageSize;

// Of this process; the page of zeros that reads of untouched memory find does not count.
uint64_t resident_pages() {
  uint64_t size = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident;
}

class CompactorTest : public MovableTestBase {
 protected:
  void start() { ASSERT_TRUE(a_.start(kArena)); }
  Allocator& allocator() override { return *a_; }
  uint64_t seed_of(size_t number) override { return number; }
  void write(char* to, size_t bytes, uint64_t seed) override {
    EXPECT_TRUE(is_zero(to, bytes)) << "at first";
    write_pattern(to, bytes, seed);
  }
  bool holds(const char* from, size_t bytes, uint64_t seed) override { return check_pattern(from, bytes, bytes, seed); }

  Zone& zone() { return a_->pages().zone(NodeId(0)); }
  ZoneStats stats() { return zone().stats(); }

  // Until the arena is full, then every other one is freed.
  void fragment(size_t bytes = kObject) {
    while (add(bytes)) {
    }
    ASSERT_GT(objects_.size(), 100u);
    remove_every_other();
  }
  void expect_all() {
    expect_content();
    EXPECT_STREQ(a_->verify(), nullptr);
  }

  PrivateAllocator a_;
};

TEST_F(CompactorTest, WhatFitsNowhereFits) {
  start();
  fragment();
  const ZoneStats before = stats();
  void* const large = a_.malloc(nullptr, kArena / 4);
  ASSERT_NE(large, nullptr);
  const ZoneStats after = stats();
  EXPECT_EQ(after.compact_stall - before.compact_stall, 1u);
  EXPECT_EQ(after.compact_success - before.compact_success, 1u);
  EXPECT_EQ(after.compact_fail, before.compact_fail);
  const uint64_t moved = after.pgmigrate_success - before.pgmigrate_success;
  EXPECT_GE(moved, kArena / 4 / kPageSize / 4);
  EXPECT_EQ(after.compact_isolated - before.compact_isolated, moved);
  EXPECT_GE(after.compact_migrate_scanned - before.compact_migrate_scanned, moved);
  EXPECT_GE(after.compact_free_scanned - before.compact_free_scanned, moved);
  memset(large, 1, kArena / 4);
  expect_all();
  EXPECT_EQ(a_.free(nullptr, large).misuse, Misuse::kNone);
}

TEST_F(CompactorTest, NotWhereThePeriodIsTooHigh) {
  a_.options().extfrag_threshold = 1000;
  start();
  fragment();
  EXPECT_EQ(a_.malloc(nullptr, kArena / 4), nullptr);
  EXPECT_EQ(stats().compact_stall, 0u);
  expect_all();
}

TEST_F(CompactorTest, WhatIsPinnedStays) {
  start();
  fragment();
  std::vector<char*> where;
  for (const Object& object : objects_) where.push_back(pin(object));
  const ZoneStats before = stats();
  EXPECT_EQ(a_.malloc(nullptr, kArena / 4), nullptr);
  EXPECT_EQ(stats().compact_fail, before.compact_fail + 1);
  EXPECT_EQ(stats().pgmigrate_success, before.pgmigrate_success);
  EXPECT_GT(stats().pgmigrate_fail, before.pgmigrate_fail);
  for (size_t i = 0; i < objects_.size(); ++i) {
    EXPECT_EQ(pin(objects_[i]), where[i]);
    unpin(objects_[i]);
  }
  for (const Object& object : objects_) unpin(object);
  expect_all();
}

// The kernel's defer_compaction: after a failure 2, 4, ... up to 64 requests are not tried.
TEST_F(CompactorTest, AfterFailuresItIsNotTriedForAWhile) {
  start();
  fragment();
  for (const Object& object : objects_) pin(object);
  const uint64_t stalls_before = stats().compact_stall;
  unsigned last = 0, longest = 0;
  for (unsigned i = 1; i <= 400; ++i) {
    const uint64_t before = stats().compact_stall;
    ASSERT_EQ(a_.malloc(nullptr, kArena / 4), nullptr);
    if (stats().compact_stall == before) continue;
    longest = std::max(longest, i - last);
    last = i;
  }
  EXPECT_EQ(longest, 64u);
  EXPECT_LT(stats().compact_stall - stalls_before, 14u);
  for (const Object& object : objects_) unpin(object);
  void* large = nullptr;
  for (unsigned i = 0; i < 64 && large == nullptr; ++i) large = a_.malloc(nullptr, kArena / 4);
  EXPECT_NE(large, nullptr);
  expect_all();
}

TEST_F(CompactorTest, EverythingGoesToTheBottom) {
  start();
  fragment();
  const uint64_t before = stats().pgmigrate_success;
  const Pages moved = compactor().compact_all();
  EXPECT_GT(moved.v, 0u);
  EXPECT_EQ(stats().pgmigrate_success, before + moved.v);
  const size_t in_use = objects_.size() * kObject;
  for (const Object& object : objects_) {
    EXPECT_LT(static_cast<size_t>(pin(object) - zone().address(0)), in_use);
    unpin(object);
  }
  EXPECT_EQ(compactor().compact_all(), Pages(0)) << "there is no more to be done";
  expect_all();
}

TEST_F(CompactorTest, ObjectsOfManyLengths) {
  start();
  Random random(3);
  for (int round = 0; round < 6; ++round) {
    while (add((1 + random.below(random.below(8) == 0 ? 700 : 40)) * kPageSize - random.below(kPageSize))) {
    }
    // Two thirds go.
    for (size_t gone = objects_.size() * 2 / 3; gone != 0; --gone) remove(objects_, random.below(objects_.size()));
    std::vector<size_t> pinned;
    for (size_t i = 0; i < objects_.size(); i += 17) pinned.push_back(i);
    std::vector<char*> where;
    for (const size_t i : pinned) where.push_back(pin(objects_[i]));
    static_cast<void>(compactor().compact_all());
    for (size_t i = 0; i < pinned.size(); ++i) {
      EXPECT_EQ(pin(objects_[pinned[i]]), where[i]);
      unpin(objects_[pinned[i]]);
      unpin(objects_[pinned[i]]);
    }
    expect_all();
  }
  while (!objects_.empty()) remove(objects_, objects_.size() - 1);
  EXPECT_EQ(a_.charged(), 0u);
  EXPECT_STREQ(a_->verify(), nullptr);
}

// Neither are pages made that the program never wrote to, nor does what was there before show.
TEST_F(CompactorTest, WhatWasNeverWrittenReadsAsZeros) {
  start();
  fragment(64 * kPageSize);
  ASSERT_TRUE(std::all_of(objects_.begin(), objects_.end(), [](const Object& o) { return o.bytes == 64 * kPageSize; }));
  while (objects_.size() > 20) remove(objects_, objects_.size() - 1);
  // The lowest pages are dirty and free, those above are fresh from the system after this.
  static_cast<void>(a_.trim(nullptr));
  const size_t written = kPageSize * 3;
  std::vector<Object> sparse;
  for (size_t i = 0; i < 20; ++i) {
    const Object object = {a_->alloc_movable(64 * kPageSize), written, 1000 + i};
    ASSERT_TRUE(object.id);
    write_pattern(pin(object), written, object.seed);
    unpin(object);
    sparse.push_back(object);
  }
  while (!objects_.empty()) remove(objects_, objects_.size() - 1);
  static_cast<void>(a_.trim(nullptr));
  const uint64_t before = resident_pages();
  EXPECT_GT(compactor().compact_all().v, 0u);
  EXPECT_LT(resident_pages(), before + 10 * 64) << "20 times 61 more, if what was never touched were";
  for (const Object& object : sparse) {
    char* const p = pin(object);
    EXPECT_TRUE(check_pattern(p, written, written, object.seed));
    EXPECT_TRUE(is_zero(p + written, 61 * kPageSize));
    unpin(object);
  }
}

// kcompactd's rounds: nothing below the mark, then until the lower one is reached, and a pause when nothing is gained.
TEST_F(CompactorTest, AheadOfNeed) {
  a_.options().compaction_proactiveness = 100;
  start();
  fragment();
  ASSERT_GT(fragmentation_score(zone().free_blocks()), 90u);
  const ZoneStats at_first = stats();
  a_.options().compaction_proactiveness = 0;
  compactor().compact_ahead();
  EXPECT_EQ(stats().compact_daemon_wake, 0u);
  a_.options().compaction_proactiveness = 20;
  compactor().compact_ahead();
  EXPECT_EQ(stats().compact_daemon_wake, 1u);
  EXPECT_LE(fragmentation_score(zone().free_blocks()), 80u);
  EXPECT_GT(stats().compact_daemon_migrate_scanned, 0u);
  EXPECT_EQ(stats().compact_daemon_free_scanned, stats().compact_free_scanned - at_first.compact_free_scanned);
  EXPECT_EQ(stats().compact_stall, at_first.compact_stall);
  compactor().compact_ahead();
  EXPECT_EQ(stats().compact_daemon_wake, 1u) << "below the mark";
  expect_all();
  a_.options().compaction_proactiveness = 100;
  compactor().compact_ahead();
  EXPECT_EQ(stats().compact_daemon_wake, 2u);
  EXPECT_LE(fragmentation_score(zone().free_blocks()), 15u);
  expect_all();
}

TEST_F(CompactorTest, AfterARoundInVainThereIsAPause) {
  start();
  fragment();
  for (const Object& object : objects_) pin(object);
  for (unsigned i = 0; i < 130; ++i) compactor().compact_ahead();
  EXPECT_EQ(stats().compact_daemon_wake, 2u) << "the first, and the one after 64 that were left out";
  for (const Object& object : objects_) unpin(object);
}

// A slab is a block of several pages, too.
TEST_F(CompactorTest, RoomForSlabs) {
  start();
  fragment(kPageSize);
  ASSERT_TRUE(zone().has_movable());
  void* const small = a_.malloc(nullptr, 16);
  EXPECT_NE(small, nullptr);
  EXPECT_GT(stats().compact_success, 0u);
  expect_all();
}

// There is room for both, and whoever comes second finds the first at it.
TEST_F(CompactorTest, AllocationsAtTheSameTime) {
  start();
  fragment();
  for (unsigned round = 0; round < 20; ++round) {
    std::atomic<unsigned> ready{0};
    void* large[2] = {};
    std::vector<std::thread> threads;
    for (void*& each : large) {
      threads.emplace_back([&] {
        ++ready;
        while (ready != 2) {
        }
        each = a_.malloc(nullptr, kArena / 16);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (void* each : large) {
      ASSERT_NE(each, nullptr) << round;
      ASSERT_EQ(a_.free(nullptr, each).misuse, Misuse::kNone);
    }
    // In pieces again.
    while (add(kObject)) {
    }
    for (size_t i = objects_.size() / 2; i != 0; --i) remove(objects_, i);
  }
  expect_all();
}

// Threads use, make and free objects while others compact.
TEST_F(CompactorTest, ManyThreads) {
  start();
  constexpr unsigned kThreads = 3;
  std::atomic<bool> stop{false};
  std::vector<std::thread> users;
  static_cast<void>(a_->alloc_movable(1));
  const Use use = {
      .steps = 6000, .most_pages = 40, .most_bytes = kArena / 2 / kThreads, .makes_of_3 = 1, .free_one_in = 3};
  for (unsigned t = 0; t < kThreads; ++t) users.emplace_back([=, this] { use_objects(t, use); });
  std::vector<std::thread> movers;
  for (unsigned m = 0; m < 2; ++m)
    movers.emplace_back([&] {
      while (!stop) static_cast<void>(compactor().compact_all());
    });
  for (std::thread& user : users) user.join();
  stop = true;
  for (std::thread& mover : movers) mover.join();
  EXPECT_GT(stats().pgmigrate_success, 0u);
  EXPECT_EQ(a_.charged(), 1u);
  EXPECT_STREQ(a_->verify(), nullptr);
}

}  // namespace
}  // namespace weir
