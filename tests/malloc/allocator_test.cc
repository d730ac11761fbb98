// allocator_test.cc: a whole allocator: caches of threads, depots and runs together, on one node.
#include "malloc/allocator.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <thread>

#include "malloc/heap_report.h"
#include "os/vm.h"
#include "support/pattern.h"
#include "support/private_allocator.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{512} << 20;

class AllocatorTest : public testing::Test {
 protected:
  void start() { ASSERT_TRUE(a_.start(kCapacity)); }
  void free(ThreadCache* cache, void* p) { ASSERT_EQ(a_.free(cache, p).misuse, Misuse::kNone); }
  // After all objects came back: nothing is charged once idle memory is given back.
  void expect_all_free() {
    EXPECT_EQ(a_->verify(), nullptr);
    a_.trim(nullptr);
    EXPECT_EQ(a_.charged(), 0u);
    EXPECT_EQ(a_->verify(), nullptr);
    EXPECT_EQ(heap_totals(*a_).free_bytes, heap_totals(*a_).accessible_bytes);
    EXPECT_EQ(heap_totals(*a_).free_resident_bytes, 0u);
    EXPECT_EQ(a_->decayable_bytes(), 0u);
  }
  PrivateAllocator a_;
};

TEST_F(AllocatorTest, EverySizeWithAndWithoutACache) {
  start();
  for (ThreadCache* cache : {a_->attach(), static_cast<ThreadCache*>(nullptr)}) {
    for (size_t size = 0; size <= 3 * kMaxSmallSize; size = size < 300 ? size + 1 : size + size / 16) {
      void* p = a_.malloc(cache, size);
      ASSERT_NE(p, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % kMinAlignment, 0u);
      const size_t usable = a_->usable_size(p);
      EXPECT_GE(usable, size);
      EXPECT_EQ(a_->kind_of(p), size <= kMaxSmallSize ? PointerKind::kSmall : PointerKind::kLarge);
      write_pattern(p, usable, size);
      EXPECT_TRUE(check_pattern(p, usable, usable, size));
      free(cache, p);
    }
    ASSERT_EQ(a_->verify(), nullptr);
    ASSERT_TRUE(cache == nullptr || a_->detach(cache).misuse == Misuse::kNone);
  }
  expect_all_free();
}

TEST_F(AllocatorTest, SmallAlignments) {
  start();
  ThreadCache* cache = a_->attach();
  std::vector<void*> all;
  for (size_t alignment = 1; alignment <= kMaxSmallSize; alignment *= 2) {
    for (const size_t size : {size_t{0}, size_t{1}, size_t{24}, size_t{1000}, size_t{9000}}) {
      void* p = a_.memalign(cache, alignment, size);
      ASSERT_NE(p, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % alignment, 0u) << size << " at " << alignment;
      EXPECT_GE(a_->usable_size(p), size);
      all.push_back(p);
    }
  }
  for (void* p : all) free(cache, p);
  ASSERT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  expect_all_free();
}

TEST_F(AllocatorTest, DistinctObjectsUntilTheArenaIsFull) {
  ASSERT_TRUE(a_.start(size_t{16} << 20));
  ThreadCache* cache = a_->attach();
  std::set<char*> all;
  while (void* p = a_.malloc(cache, 3000)) {
    ASSERT_TRUE(all.insert(static_cast<char*>(p)).second);
    memset(p, 1, 3000);
  }
  const size_t size = kSizeClasses[class_of_size(3000)].size;
  EXPECT_GE(all.size() * size, (size_t{16} << 20) * 7 / 8) << "nearly all of it can be had";
  char* last = nullptr;
  for (char* p : all) {
    ASSERT_TRUE(last == nullptr || p >= last + size) << "objects overlap";
    last = p;
  }
  EXPECT_EQ(a_->verify(), nullptr);
  for (char* p : all) free(cache, p);
  ASSERT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  expect_all_free();
}

TEST_F(AllocatorTest, ForeignPointersAreToldApart) {
  start();
  int local = 0;
  static int global = 0;
  for (void* p : {static_cast<void*>(&local), static_cast<void*>(&global), static_cast<void*>(nullptr)}) {
    EXPECT_EQ(a_->kind_of(p), PointerKind::kForeign);
    EXPECT_EQ(a_->usable_size(p), 0u);
  }
}

TEST_F(AllocatorTest, CachesAreReusedAndCounted) {
  start();
  EXPECT_EQ(a_->nr_caches(), 0u);
  ThreadCache* one = a_->attach();
  ThreadCache* two = a_->attach();
  ThreadCache* three = a_->attach();
  EXPECT_EQ(a_->nr_caches(), 3u);
  // From the middle, the front and the end of the list.
  ASSERT_EQ(a_->detach(two).misuse, Misuse::kNone);
  EXPECT_EQ(a_->attach(), two);
  ASSERT_EQ(a_->detach(three).misuse, Misuse::kNone);
  ASSERT_EQ(a_->detach(one).misuse, Misuse::kNone);
  ASSERT_EQ(a_->detach(two).misuse, Misuse::kNone);
  EXPECT_EQ(a_->nr_caches(), 0u);
  std::set<ThreadCache*> again{a_->attach(), a_->attach(), a_->attach()};
  EXPECT_EQ(again, (std::set<ThreadCache*>{one, two, three}));
}

TEST_F(AllocatorTest, ADetachedCacheHoldsNothing) {
  start();
  ThreadCache* cache = a_->attach();
  std::vector<void*> all;
  for (size_t c = 1; c < kNrSizeClasses; ++c)
    for (int i = 0; i < 50; ++i) all.push_back(a_.malloc(cache, kSizeClasses[c].size));
  for (void* p : all) free(cache, p);
  ASSERT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  for (size_t c = 1; c < kNrSizeClasses; ++c) EXPECT_EQ(cache->count(c), 0u);
  expect_all_free();
}

// What a bin holds never exceeds its limit, and never what there is room for: beyond lie the next class's objects.
class BinLimits : public AllocatorTest, public testing::WithParamInterface<uint64_t> {
 protected:
  void expect_within_limits(ThreadCache* cache) {
    for (size_t c = 1; c < kNrSizeClasses; ++c) {
      ASSERT_LE(cache->count(c), kSizeClasses[c].cache_slots) << "class " << kSizeClasses[c].size;
      ASSERT_EQ(cache->bottom(c)[-1], nullptr) << "the bottom of class " << kSizeClasses[c].size;
    }
  }
};

TEST_P(BinLimits, BinsStayWithinTheirLimits) {
  a_.options().tcache_bytes = GetParam();
  start();
  ThreadCache* cache = a_->attach();
  ThreadCache* other = a_->attach();
  for (const size_t size : {size_t{16}, size_t{64}, size_t{1024}, size_t{5000}, kMaxSmallSize}) {
    std::vector<void*> foreign;
    for (int i = 0; i < 1000; ++i) foreign.push_back(a_.malloc(other, size));
    void* own = a_.malloc(cache, size);  // fills the bin, then all others come on top
    for (void* p : foreign) {
      free(cache, p);
      expect_within_limits(cache);
    }
    free(cache, own);
    expect_within_limits(cache);
  }
  EXPECT_EQ(a_->verify(), nullptr);
  ASSERT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  ASSERT_EQ(a_->detach(other).misuse, Misuse::kNone);
  expect_all_free();
}

INSTANTIATE_TEST_SUITE_P(Bytes, BinLimits, testing::Values(0, 1, 1000, 4096, 65536, 16 << 20));

TEST_F(AllocatorTest, BinsStayWithinTheirLimitsAfterALongTeardown) {
  start();
  ThreadCache* cache = a_->attach();
  std::vector<void*> all;
  for (int round = 0; round < 3; ++round) {
    // More than the 16 MiB after which a thread counts as one that only frees.
    for (int i = 0; i < 400000; ++i) all.push_back(a_.malloc(cache, 64));
    for (void* p : all) free(cache, p);
    all.clear();
    for (int i = 0; i < 1000; ++i) all.push_back(a_.malloc(cache, 64));
    for (void* p : all) {
      free(cache, p);
      ASSERT_LE(cache->count(class_of_size(64)), kSizeClasses[class_of_size(64)].cache_slots);
    }
    all.clear();
  }
  EXPECT_EQ(a_->verify(), nullptr);
  ASSERT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  expect_all_free();
}

TEST_F(AllocatorTest, WithoutThreadCachesNothingIsKept) {
  a_.options().tcache = false;
  start();
  ThreadCache* cache = a_->attach();
  void* p = a_.malloc(cache, 100);
  free(cache, p);
  for (size_t c = 1; c < kNrSizeClasses; ++c) EXPECT_EQ(cache->count(c), 0u);
  EXPECT_EQ(a_.free(cache, p).misuse, Misuse::kDoubleFree) << "found at once";
}

TEST_F(AllocatorTest, ZeroOnFreeClearsObjects) {
  a_.options().zero_on_free = true;
  start();
  ThreadCache* cache = a_->attach();
  for (size_t c = 1; c < kNrSizeClasses; ++c) {
    void* p = a_.malloc(cache, kSizeClasses[c].size);
    memset(p, 0xaa, kSizeClasses[c].size);
    free(cache, p);
    EXPECT_TRUE(is_zero(p, kSizeClasses[c].size));
  }
  ASSERT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  expect_all_free();
}

TEST_F(AllocatorTest, TrimReturnsWhatItGaveBack) {
  a_.options().thp = Thp::kNever;
  start();
  std::vector<void*> all;
  for (int i = 0; i < 1000; ++i) {
    all.push_back(a_.malloc(nullptr, 4096));
    memset(all.back(), 1, 4096);
  }
  // One object of each slab stays, so that pages must go back inside slabs.
  std::vector<void*> kept;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i % 4 == 0)
      kept.push_back(all[i]);
    else
      free(nullptr, all[i]);
  }
  const size_t bytes = a_.trim(nullptr);
  EXPECT_GE(bytes, 600 * kPageSize);
  EXPECT_LE(bytes, 760 * kPageSize);
  uint64_t resident = 0;
  for (void* p : all) resident += os::vm_resident(p, kPageSize).v;
  EXPECT_EQ(resident, kept.size());
  EXPECT_EQ(a_->verify(), nullptr);
  EXPECT_EQ(a_.trim(nullptr), 0u) << "nothing is left to give back";
  for (void* p : kept) free(nullptr, p);
  expect_all_free();
}

TEST_F(AllocatorTest, DecayTicksGiveEverythingBackInTheEnd) {
  a_.options().thp = Thp::kNever;
  start();
  ThreadCache* cache = a_->attach();
  std::vector<void*> all;
  for (int i = 0; i < 20000; ++i) {
    all.push_back(a_.malloc(cache, 16 + static_cast<size_t>(i) % 3000));
    memset(all.back(), 1, 16);
  }
  for (int i = 0; i < 20; ++i) {
    all.push_back(a_.malloc(cache, 1000000));
    memset(all.back(), 1, 1000000);
  }
  for (void* p : all) free(cache, p);
  ASSERT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  EXPECT_GT(a_->decayable_bytes(), size_t{20} << 20);
  for (unsigned i = 0; i < 3 * UnusedWindow::kTicksPerDecay; ++i) ASSERT_EQ(a_->decay_tick().misuse, Misuse::kNone);
  EXPECT_EQ(a_->decayable_bytes(), 0u);
  EXPECT_EQ(a_.charged(), 0u);
  expect_all_free();
}

TEST_F(AllocatorTest, TotalsAddUp) {
  start();
  ThreadCache* cache = a_->attach();
  const HeapTotals before = heap_totals(*a_);
  EXPECT_EQ(before.free_bytes, before.accessible_bytes);
  void* large = a_.malloc(cache, 1000000);
  const HeapTotals after = heap_totals(*a_);
  EXPECT_EQ(after.accessible_bytes - after.free_bytes, align_up(1000000, kPageSize));
  EXPECT_EQ(after.accessible_bytes % kPageSize, 0u);
  free(cache, large);
  EXPECT_EQ(heap_totals(*a_).free_resident_bytes, align_up(1000000, kPageSize));
}

TEST_F(AllocatorTest, VerifyFindsACorruptedCount) {
  start();
  void* p = a_.malloc(nullptr, 64);
  ASSERT_EQ(a_->verify(), nullptr);
  Zone& zone = a_->pages().zone(NodeId(0));
  auto* desc = reinterpret_cast<SlabDesc*>(zone.arena().extra_metadata(0)) +
               (static_cast<char*>(p) - zone.arena().memory()) / static_cast<ptrdiff_t>(kSlabUnitSize);
  ++desc->nr_free;
  EXPECT_NE(a_->verify(), nullptr);
  --desc->nr_free;
  EXPECT_EQ(a_->verify(), nullptr);
  desc->size_class = 3;
  EXPECT_NE(a_->verify(), nullptr);
}

// Fork takes all locks: no allocation gets through meanwhile, and all go on afterwards.
TEST_F(AllocatorTest, LockAllStopsTheWorld) {
  start();
  a_->lock_all();
  std::atomic<bool> allocated{false};
  std::thread other([&] {
    ThreadCache* cache = a_->attach();
    void* p = a_.malloc(cache, 100);
    allocated = true;
    EXPECT_EQ(a_.free(cache, p).misuse, Misuse::kNone);
    EXPECT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(allocated);
  a_->unlock_all();
  other.join();
  EXPECT_TRUE(allocated);
  expect_all_free();
}

// Two copies of weir in one process (a program linked with libweir that is preloaded with the drop-in) may choose the
// same place: the second must find another and leave the first alone.
TEST_F(AllocatorTest, TwoAtTheSamePlace) {
  if (kTsan) GTEST_SKIP() << "the sanitizer has no shadow for bare space";
  ASSERT_TRUE(a_.start(kCapacity, true, 77));
  void* small = a_.malloc(nullptr, 1000);
  void* large = a_.malloc(nullptr, 3000000);
  write_pattern(small, 1000, 1);
  write_pattern(large, 3000000, 2);
  {
    PrivateAllocator second;
    ASSERT_TRUE(second.start(kCapacity, true, 77));
    void* p = second.malloc(nullptr, 1000);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(a_->kind_of(p), PointerKind::kForeign);
    EXPECT_TRUE(check_pattern(small, 1000, 1000, 1));
    EXPECT_EQ(second->verify(), nullptr);
  }
  EXPECT_TRUE(check_pattern(small, 1000, 1000, 1));
  EXPECT_TRUE(check_pattern(large, 3000000, 3000000, 2));
  free(nullptr, small);
  free(nullptr, large);
  expect_all_free();
}

TEST_F(AllocatorTest, ATakenPlaceIsLeftAlone) {
  if (kTsan) GTEST_SKIP() << "the sanitizer has no shadow for bare space";
  ArenaPlace place[1];
  ASSERT_TRUE(place_arenas(1, Pages(kCapacity >> kPageShift), true, 5, place));
  for (char* taken :
       {place[0].memory, place[0].memory + 8 * kPageSize, place[0].metadata, place[0].metadata + kPageSize}) {
    ASSERT_TRUE(os::vm_map_new(taken, kPageSize));
    *taken = 'x';
    ASSERT_TRUE(a_.start(kCapacity, true, 5));
    void* p = a_.malloc(nullptr, 100000);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(*taken, 'x');
    free(nullptr, p);
    a_.stop();
    EXPECT_EQ(*taken, 'x');
    os::vm_unmap(taken, kPageSize);
  }
}

TEST_F(AllocatorTest, StartsAndStopsAgainAndAgain) {
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(a_.start(size_t{64} << 20, i % 2 == 0, static_cast<uint64_t>(i)));
    void* p = a_.malloc(a_->attach(), 100);
    ASSERT_NE(p, nullptr);
    a_.stop();
  }
}

}  // namespace
}  // namespace weir
