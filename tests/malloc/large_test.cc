// large_test.cc: objects that are runs of pages: resizing, moving, guards, the cache of short runs.
#include <gtest/gtest.h>

#include <cstring>

#include "os/vm.h"
#include "support/pattern.h"
#include "support/private_allocator.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{512} << 20;
constexpr size_t kMiB1 = size_t{1} << 20;

class Large : public testing::Test {
 protected:
  void start(bool bare = true) { ASSERT_TRUE(a_.start(kCapacity, bare)); }
  void free(void* p, ThreadCache* cache = nullptr) { EXPECT_EQ(a_.free(cache, p).misuse, Misuse::kNone); }
  Zone& zone() { return a_->pages().zone(NodeId(0)); }
  void expect_all_free() {
    EXPECT_EQ(a_->verify(), nullptr);
    EXPECT_EQ(a_.charged(), 0u);
  }
  PrivateAllocator a_;
};
using LargeDeathTest = Large;

TEST_F(Large, UsableSizesAreWholePages) {
  start();
  for (const size_t size : {size_t{0}, size_t{1}, kMaxSmallSize + 1, size_t{100000}, 5 * kMiB1 + 1}) {
    void* p = a_->alloc_large(nullptr, size, kPageSize, false);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(a_->kind_of(p), PointerKind::kLarge);
    EXPECT_EQ(a_->usable_size(p), align_up(size == 0 ? 1 : size, kPageSize));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % kPageSize, 0u);
    write_pattern(p, a_->usable_size(p), 1);
    free(p);
    EXPECT_EQ(a_->kind_of(p), PointerKind::kNotGivenOut);
    EXPECT_EQ(a_->usable_size(p), 0u);
  }
  expect_all_free();
}

TEST_F(Large, RefusesTheImpossible) {
  start();
  for (const size_t size : {kCapacity + 1, size_t{PTRDIFF_MAX}, SIZE_MAX, SIZE_MAX - kPageSize}) {
    EXPECT_EQ(a_->alloc_large(nullptr, size, kPageSize, false), nullptr);
    EXPECT_EQ(a_->alloc_large(nullptr, size, kPageSize, true), nullptr);
  }
  for (size_t alignment = 2 * kCapacity; alignment != 0; alignment *= 2)
    EXPECT_EQ(a_->alloc_large(nullptr, 1, alignment, false), nullptr);
  void* p = a_->alloc_large(nullptr, 100000, kPageSize, false);
  EXPECT_EQ(a_->resize_large(p, SIZE_MAX), nullptr);
  EXPECT_EQ(a_->resize_large(p, PTRDIFF_MAX), nullptr);
  EXPECT_EQ(a_->resize_large(p, kCapacity + 1), nullptr);
  EXPECT_EQ(a_->usable_size(p), align_up(100000, kPageSize));
  free(p);
  expect_all_free();
}

class LargeAlignment : public Large, public testing::WithParamInterface<bool> {};

TEST_P(LargeAlignment, EveryPowerOfTwo) {
  a_.options().guard = GetParam();
  start();
  for (size_t alignment = kPageSize; alignment <= 64 * kMiB1; alignment *= 2) {
    for (const size_t size : {size_t{100}, size_t{70000}, 5 * kMiB1}) {
      void* p = a_->alloc_large(nullptr, size, alignment, false);
      ASSERT_NE(p, nullptr) << size << " at " << alignment;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % alignment, 0u) << size << " at " << alignment;
      EXPECT_EQ(a_->usable_size(p), align_up(size, kPageSize));
      write_pattern(p, size, alignment);
      ASSERT_EQ(a_->verify(), nullptr);
      free(p);
    }
  }
  expect_all_free();
}

INSTANTIATE_TEST_SUITE_P(Guard, LargeAlignment, testing::Bool());

// Arenas start at multiples of 4 MiB (reserved) or 1 GiB (bare); alignments beyond that are of addresses all the same.
TEST_F(Large, AlignmentBeyondTheArenas) {
  for (const bool bare : {false, true}) {
    for (uint64_t random = 0; random < 4; ++random) {
      PrivateAllocator a;
      make_topology(a.topology(), 2);
      ASSERT_TRUE(a.start(100 * kMiB1, bare, random));
      ThreadCache* cache = a->attach();
      for (const uint16_t node : {uint16_t{0}, uint16_t{1}}) {
        cache->node = node;
        for (const size_t alignment : {4 * kMiB1, 8 * kMiB1, 16 * kMiB1, 32 * kMiB1}) {
          void* p = a.memalign(cache, alignment, 100);
          ASSERT_NE(p, nullptr);
          EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % alignment, 0u) << "node " << node << " at " << alignment;
          EXPECT_EQ(a.free(cache, p).misuse, Misuse::kNone);
        }
      }
      EXPECT_EQ(a->verify(), nullptr);
    }
  }
}

TEST_F(Large, CallocClearsOldContent) {
  start();
  for (const size_t size : {size_t{20000}, size_t{60000}, size_t{300000}, 6 * kMiB1}) {
    void* p = a_->alloc_large(nullptr, size, kPageSize, false);
    memset(p, 0xee, size);
    free(p);
    void* q = a_->alloc_large(nullptr, size, kPageSize, true);
    EXPECT_TRUE(is_zero(q, a_->usable_size(q))) << size;
    free(q);
  }
  expect_all_free();
}

// Only pages that may hold old data are written to: the others stay without memory.
TEST_F(Large, CallocDoesNotTouchFreshPages) {
  a_.options().thp = Thp::kNever;
  start();
  void* p = a_->alloc_large(nullptr, 8 * kMiB1, kPageSize, true);
  EXPECT_EQ(os::vm_resident(p, 8 * kMiB1), Pages(0));
  memset(p, 1, 100 * kPageSize);
  free(p);
  void* q = a_->alloc_large(nullptr, 8 * kMiB1, kPageSize, true);
  EXPECT_TRUE(is_zero(q, 100 * kPageSize));
  free(q);
}

TEST_F(Large, ShrinksInPlaceAndGivesThePagesBack) {
  start();
  void* p = a_->alloc_large(nullptr, 100 * kPageSize, kPageSize, false);
  write_pattern(p, 100 * kPageSize, 1);
  EXPECT_EQ(a_->resize_large(p, 99 * kPageSize + 1), p) << "the same number of pages";
  EXPECT_EQ(a_.charged(), 100u);
  EXPECT_EQ(a_->resize_large(p, 40 * kPageSize), p);
  EXPECT_EQ(a_.charged(), 40u);
  EXPECT_EQ(a_->usable_size(p), 40 * kPageSize);
  EXPECT_TRUE(check_pattern(p, 40 * kPageSize, 100 * kPageSize, 1));
  free(p);
  expect_all_free();
}

TEST_F(Large, GrowsInPlaceWhereNothingFollows) {
  start();
  void* p = a_->alloc_large(nullptr, 20 * kPageSize, kPageSize, false);
  write_pattern(p, 20 * kPageSize, 2);
  EXPECT_EQ(a_->resize_large(p, 200 * kPageSize), p);
  EXPECT_EQ(a_->resize_large(p, 20 * kMiB1), p) << "the arena grows along";
  EXPECT_TRUE(check_pattern(p, 20 * kPageSize, 20 * kPageSize, 2));
  memset(p, 1, 20 * kMiB1);
  free(p);
  expect_all_free();
}

TEST_F(Large, SmallBlockedRunsAreLeftToCopying) {
  start();
  void* p = a_->alloc_large(nullptr, 32 * kPageSize, kPageSize, false);
  void* wall = a_->alloc_large(nullptr, 32 * kPageSize, kPageSize, false);
  ASSERT_EQ(wall, static_cast<char*>(p) + 32 * kPageSize);
  EXPECT_EQ(a_->resize_large(p, 64 * kPageSize), nullptr);
  EXPECT_EQ(a_->usable_size(p), 32 * kPageSize);
  free(p);
  free(wall);
  expect_all_free();
}

TEST_F(Large, BlockedRunsOfAMiBMoveByTheirPageTables) {
  if (kTsan) GTEST_SKIP() << "the sanitizer has no shadow for bare space";
  start();
  size_t size = kMiB1;
  char* p = static_cast<char*>(a_->alloc_large(nullptr, size, kPageSize, false));
  write_pattern(p, size, 3);
  std::vector<void*> walls;
  unsigned moves = 0;
  while (size < 40 * kMiB1) {
    // A wall right behind the run keeps it from growing in place.
    void* wall = a_->alloc_large(nullptr, kPageSize, kPageSize, false);
    walls.push_back(wall);
    const size_t larger = size + size / 4;
    void* q = a_->resize_large(p, larger);
    ASSERT_NE(q, nullptr);
    ASSERT_TRUE(check_pattern(q, size, size, 3)) << size;
    moves += q != p;
    p = static_cast<char*>(q);
    size = larger;
    write_pattern(p, size, 3);
    ASSERT_EQ(a_->verify(), nullptr);
  }
  EXPECT_GE(moves, 4u);
  EXPECT_LE(moves, 12u) << "room to grow makes moves rare";
  EXPECT_GT(zone().stats().pgmoved, 256u);
  // A moved run shrinks by whole pages, too, and what it gives back reads as zeros for the next.
  EXPECT_EQ(a_->resize_large(p, kMiB1), p);
  EXPECT_LE(a_->usable_size(p), 2 * kMiB1);
  EXPECT_TRUE(check_pattern(p, kMiB1, size, 3));
  EXPECT_EQ(a_->verify(), nullptr);
  free(p);
  for (void* wall : walls) free(wall);
  expect_all_free();
  void* fresh = a_->alloc_large(nullptr, 60 * kMiB1, kPageSize, true);
  ASSERT_NE(fresh, nullptr);
  EXPECT_TRUE(is_zero(fresh, 60 * kMiB1));
  free(fresh);
}

TEST_F(Large, ReservedSpaceCopiesInstead) {
  start(false);
  void* p = a_->alloc_large(nullptr, 2 * kMiB1, kPageSize, false);
  void* wall = a_->alloc_large(nullptr, kPageSize, kPageSize, false);
  write_pattern(p, 2 * kMiB1, 4);
  // Whatever lies behind: either it grows in place, or the caller copies.
  void* q = a_.realloc(nullptr, p, 30 * kMiB1);
  ASSERT_NE(q, nullptr);
  EXPECT_TRUE(check_pattern(q, 2 * kMiB1, 2 * kMiB1, 4));
  EXPECT_EQ(zone().stats().pgmoved, 0u);
  free(q);
  free(wall);
  expect_all_free();
}

TEST_F(Large, AThreadKeepsShortRuns) {
  start();
  ThreadCache* cache = a_->attach();
  for (size_t pages = kMinCachedRun; pages <= kMaxCachedRun; ++pages) {
    void* p = a_->alloc_large(cache, pages * kPageSize, kPageSize, false);
    memset(p, 0xcc, pages * kPageSize);
    free(p, cache);
    EXPECT_EQ(a_->kind_of(p), PointerKind::kNotGivenOut) << "free is free";
    EXPECT_EQ(a_->usable_size(p), 0u);
    EXPECT_EQ(a_.free(cache, p).misuse, Misuse::kNotGivenOut) << "a second free is found";
    void* q = a_->alloc_large(cache, pages * kPageSize, kPageSize, true);
    EXPECT_EQ(q, p) << "the same thread gets it again";
    EXPECT_TRUE(is_zero(q, pages * kPageSize)) << "zeroed when asked for";
    free(q, cache);
  }
  EXPECT_EQ(a_.charged(), (kMinCachedRun + kMaxCachedRun) * (kMaxCachedRun - kMinCachedRun + 1) / 2);
  EXPECT_EQ(a_->verify(), nullptr);
  EXPECT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  expect_all_free();
}

TEST_F(Large, TheRunCacheIsBoundedAndTrimmed) {
  start();
  ThreadCache* cache = a_->attach();
  std::vector<void*> runs;
  for (int i = 0; i < 10; ++i) runs.push_back(a_->alloc_large(cache, 8 * kPageSize, kPageSize, false));
  for (void* p : runs) free(p, cache);
  EXPECT_EQ(a_.charged(), RunBin::kSlots * 8u);
  a_.trim(cache);
  EXPECT_EQ(a_.charged(), 0u);
  EXPECT_EQ(a_->verify(), nullptr);
  for (const size_t pages : {size_t{kMinCachedRun - 1}, size_t{kMaxCachedRun + 1}}) {
    void* p = a_->alloc_large(cache, pages * kPageSize, kPageSize, false);
    free(p, cache);
    EXPECT_EQ(a_.charged(), 0u) << pages << " pages are not kept";
  }
}

TEST_F(LargeDeathTest, GuardPagesSurroundTheObject) {
  a_.options().guard = true;
  start(false);
  for (const size_t size : {size_t{20000}, size_t{5 * kMiB1}}) {
    volatile char* p = static_cast<char*>(a_->alloc_large(nullptr, size, kPageSize, false));
    ASSERT_NE(p, nullptr);
    const size_t usable = a_->usable_size(const_cast<char*>(p));
    EXPECT_EQ(usable, align_up(size, kPageSize));
    p[0] = 1;
    p[usable - 1] = 1;
    EXPECT_DEATH(p[-1] = 1, "");
    EXPECT_DEATH(p[usable] = 1, "");
    free(const_cast<char*>(p));
  }
  expect_all_free();
  // No guard stays behind.
  a_.stop();
}

TEST_F(Large, GuardedRunsLeaveOrdinaryMemoryBehind) {
  a_.options().guard = true;
  start();
  std::vector<void*> runs;
  for (int i = 0; i < 50; ++i)
    runs.push_back(a_->alloc_large(nullptr, 10000 * static_cast<size_t>(1 + i % 7), kPageSize, false));
  for (void* p : runs) free(p);
  expect_all_free();
  // Slabs take the same pages and must be able to write to all of them.
  std::vector<void*> small;
  for (int i = 0; i < 5000; ++i) {
    small.push_back(a_.malloc(nullptr, 1024));
    memset(small.back(), 1, 1024);
  }
  for (void* p : small) free(p);
  a_.trim(nullptr);
  expect_all_free();
}

TEST_F(Large, GuardedContentIsZeroForCalloc) {
  a_.options().guard = true;
  start();
  void* p = a_->alloc_large(nullptr, 100000, kPageSize, false);
  memset(p, 1, 100000);
  free(p);
  void* q = a_->alloc_large(nullptr, 100000, kPageSize, true);
  EXPECT_TRUE(is_zero(q, 100000));
  EXPECT_EQ(a_->resize_large(q, 200000), nullptr) << "guards cannot move along";
  free(q);
  expect_all_free();
}

// zero_on_free: nobody gets to see what others left behind.
TEST_F(Large, ZeroOnFreeClearsRunsAndTheirTails) {
  a_.options().zero_on_free = true;
  start();
  char* p = static_cast<char*>(a_->alloc_large(nullptr, 100 * kPageSize, kPageSize, false));
  memset(p, 0xdd, 100 * kPageSize);
  ASSERT_EQ(a_->resize_large(p, 30 * kPageSize), p);
  EXPECT_TRUE(is_zero(p + 30 * kPageSize, 70 * kPageSize)) << "the tail is free now";
  free(p);
  EXPECT_TRUE(is_zero(p, 100 * kPageSize));
  expect_all_free();
}

}  // namespace
}  // namespace weir
