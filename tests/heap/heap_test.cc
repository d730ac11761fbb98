// heap_test.cc: one heap at a time: what is charged, what its limit allows, what is found wrong, and that nothing of it
// is left when it is destroyed.
#include "heap/heap.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <vector>

#include "support/pattern.h"
#include "support/private_heaps.h"
#include "support/sanitizer.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{512} << 20;

class HeapTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(h_.start(kCapacity)); }
  void expect_misuse(void* p, Misuse misuse, uint32_t class_size, const char* heap) {
    const BadPointer bad = h_.free(p);
    EXPECT_EQ(static_cast<int>(bad.misuse), static_cast<int>(misuse));
    EXPECT_EQ(bad.pointer, p);
    EXPECT_EQ(bad.class_size, class_size);
    EXPECT_STREQ(bad.heap, heap);
  }
  void expect_verified() { EXPECT_EQ(h_.allocator->verify(), nullptr); }

  PrivateHeaps h_;
};

TEST_F(HeapTest, AnEmptyHeapIsChargedNothing) {
  const HeapId id = h_.create("empty");
  EXPECT_EQ(h_.charged(id), 0u);
  EXPECT_EQ(h_.allocator.charged(), 0u);
  EXPECT_EQ(h_.destroy(id), 0u);
  expect_verified();
}

TEST_F(HeapTest, ObjectsOfAllSizes) {
  const HeapId id = h_.create();
  std::vector<std::pair<void*, size_t>> all;
  for (size_t size = 0; size < (20 << 20); size = size * 5 / 3 + 1) {
    void* p = h_.malloc(id, size);
    ASSERT_NE(p, nullptr) << size;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % kMinAlignment, 0u);
    EXPECT_GE(h_.allocator->usable_size(p), size);
    EXPECT_EQ(h_.registry->heap_of(p), id);
    write_pattern(p, size, size);
    all.emplace_back(p, size);
  }
  const HeapStats s = h_.stats(id);
  EXPECT_EQ(s.objects, all.size());
  EXPECT_EQ(s.charged, s.slabs + s.runs);
  EXPECT_EQ(s.charged.v, h_.allocator.charged()) << "nothing else is allocated";
  expect_verified();
  for (const auto& [p, size] : all) {
    EXPECT_TRUE(check_pattern(p, size, size, size)) << size;
    EXPECT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNone));
  }
  EXPECT_EQ(h_.stats(id).objects, 0u);
  h_.allocator.trim(nullptr);
  EXPECT_EQ(h_.charged(id), 0u) << "a trim gives empty slabs back";
  EXPECT_EQ(h_.allocator.charged(), 0u);
  expect_verified();
}

TEST_F(HeapTest, AlignmentsAndZeroes) {
  const HeapId id = h_.create();
  for (size_t alignment = 1; alignment <= (8 << 20); alignment *= 2) {
    for (const size_t size : {size_t{1}, size_t{100}, size_t{20000}, size_t{300000}}) {
      void* p = h_.memalign(id, alignment, size);
      ASSERT_NE(p, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % alignment, 0u) << size;
      write_pattern(p, size, alignment);
      ASSERT_EQ(h_.registry->heap_of(p), id);
      ASSERT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNone));
      void* q = h_.calloc(id, size);
      EXPECT_TRUE(is_zero(q, size));
      ASSERT_EQ(static_cast<int>(h_.free(q).misuse), static_cast<int>(Misuse::kNone));
    }
  }
  expect_verified();
}

TEST_F(HeapTest, ALimitIsExact) {
  HeapSettings settings;
  settings.limit = 1 << 20;
  const HeapId id = h_.create("limited", settings);
  std::vector<void*> objects;
  while (void* p = h_.malloc(id, 1000)) objects.push_back(p);
  EXPECT_EQ(h_.error, ENOMEM);
  const HeapStats full = h_.stats(id);
  const SizeClass& c = kSizeClasses[class_of_size(1000)];
  const uint64_t slabs = (settings.limit >> kPageShift) >> c.slab_order;
  EXPECT_EQ(full.charged.v, slabs << c.slab_order) << "as many slabs as there is room for";
  EXPECT_EQ(objects.size(), slabs * c.objects);
  EXPECT_EQ(full.limit_failures, 1u);
  EXPECT_EQ(full.peak, full.charged);
  EXPECT_EQ(h_.malloc(id, 100000), nullptr);
  EXPECT_EQ(h_.malloc(id, PTRDIFF_MAX - 2 * kPageSize), nullptr);
  EXPECT_NE(h_.allocator.malloc(nullptr, 100000), nullptr) << "others are not limited";
  ASSERT_EQ(static_cast<int>(h_.free(objects.back()).misuse), static_cast<int>(Misuse::kNone));
  EXPECT_NE(h_.malloc(id, 1000), nullptr);
  EXPECT_EQ(h_.malloc(id, 1000), nullptr);
  EXPECT_EQ(h_.destroy(id), full.charged.v);
  expect_verified();
}

TEST_F(HeapTest, LargeObjectsAreLimitedToThePage) {
  HeapSettings settings;
  settings.limit = 100 * kPageSize + 17;  // of which 17 bytes are no page
  const HeapId id = h_.create("limited", settings);
  EXPECT_EQ(h_.malloc(id, 101 * kPageSize), nullptr);
  void* p = h_.malloc(id, 100 * kPageSize);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(h_.charged(id), 100u);
  EXPECT_EQ(h_.malloc(id, 1), nullptr) << "no room for a slab";
  EXPECT_EQ(h_.realloc(p, 101 * kPageSize), nullptr);
  EXPECT_EQ(h_.realloc(p, 60 * kPageSize), p);
  EXPECT_EQ(h_.charged(id), 60u);
  EXPECT_EQ(h_.realloc(p, 100 * kPageSize), p) << "what is behind it is free";
  EXPECT_EQ(h_.charged(id), 100u);
  expect_verified();
  ASSERT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNone));
  EXPECT_EQ(h_.charged(id), 0u);
}

TEST_F(HeapTest, AtTheLimitUnusedSlabsMakeRoom) {
  HeapSettings settings;
  settings.limit = 64 << 10;
  const HeapId id = h_.create("limited", settings);
  // Empty slabs of other classes fill the limit.
  for (const size_t size : {64, 128, 256, 512}) {
    void* p = h_.malloc(id, size);
    ASSERT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNone));
  }
  EXPECT_EQ(h_.charged(id), 16u);
  EXPECT_NE(h_.malloc(id, 40000), nullptr);
  EXPECT_EQ(h_.charged(id), 10u);
  EXPECT_EQ(h_.stats(id).limit_hits, 1u);
  EXPECT_EQ(h_.stats(id).limit_failures, 0u);
  expect_verified();
}

TEST_F(HeapTest, ALimitBelowWhatIsCharged) {
  const HeapId id = h_.create("shrinking");
  void* a = h_.malloc(id, 1 << 20);
  void* b = h_.malloc(id, 1 << 20);
  ASSERT_EQ(h_.registry->set_limit(id, 1 << 20), 0);
  EXPECT_EQ(h_.malloc(id, 100), nullptr);
  EXPECT_EQ(h_.error, ENOMEM);
  ASSERT_EQ(static_cast<int>(h_.free(a).misuse), static_cast<int>(Misuse::kNone));
  EXPECT_EQ(h_.malloc(id, 100), nullptr) << "exactly at the limit";
  EXPECT_EQ(h_.realloc(b, 1 << 19), b);
  EXPECT_NE(h_.malloc(id, 100), nullptr);
  ASSERT_EQ(h_.registry->set_limit(id, 0), 0);
  EXPECT_NE(h_.malloc(id, 64 << 20), nullptr) << "no limit any more";
  expect_verified();
}

TEST_F(HeapTest, ResizedObjectsStayInTheirHeap) {
  const HeapId id = h_.create("growing");
  size_t size = 1;
  void* p = h_.malloc(id, size);
  write_pattern(p, size, 7);
  for (const size_t next : {20, 200, 5000, 16384, 16385, 70000, 65000, 3000000, 9000000, 8000000, 100, 3}) {
    p = h_.realloc(p, next);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(h_.registry->heap_of(p), id);
    EXPECT_TRUE(check_pattern(p, std::min(size, next), size, 7)) << next;
    write_pattern(p, next, 7);
    size = next;
    EXPECT_EQ(h_.stats(id).objects, 1u);
  }
  expect_verified();
  EXPECT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNone));
  h_.allocator.trim(nullptr);
  EXPECT_EQ(h_.charged(id), 0u);
}

// A run that cannot grow where it is moves by its page tables, with room to grow, which is charged like everything
// else.
TEST(HeapRuns, BlockedRunsMove) {
  if (kTsan) GTEST_SKIP() << "the sanitizer has no shadow for bare space";
  PrivateHeaps h;
  ASSERT_TRUE(h.start(kCapacity, true));
  const HeapId id = h.create("moving");
  constexpr size_t kSize = size_t{2} << 20;
  char* p = static_cast<char*>(h.malloc(id, kSize));
  // Nobody's, and one of them right behind.
  std::vector<void*> walls;
  while (walls.size() < 1000 && (walls.empty() || walls.back() != p + kSize))
    walls.push_back(h.allocator.malloc(nullptr, 5 * kPageSize));
  ASSERT_EQ(walls.back(), p + kSize);
  write_pattern(p, kSize, 1);
  char* q = static_cast<char*>(h.realloc(p, 2 * kSize));
  ASSERT_NE(q, nullptr);
  ASSERT_NE(q, p);
  EXPECT_TRUE(check_pattern(q, kSize, kSize, 1));
  EXPECT_EQ(h.registry->heap_of(q), id);
  EXPECT_EQ(h.registry->heap_of(p), HeapId());
  const auto moved = [&] { return h.allocator->pages().zone(NodeId(0)).stats().pgmoved; };
  EXPECT_EQ(moved(), pages_of(kSize).v) << "not copied";
  EXPECT_EQ(h.charged(id), pages_of(3 * kSize).v) << "half as much more";
  EXPECT_EQ(h.allocator->verify(), nullptr);
  EXPECT_EQ(h.realloc(q, 3 * kSize), q) << "into its room";
  EXPECT_EQ(h.realloc(q, 2 * kSize), q);
  EXPECT_EQ(h.charged(id), pages_of(3 * kSize).v) << "which it keeps";
  EXPECT_EQ(h.realloc(q, kSize), q);
  EXPECT_EQ(h.charged(id), pages_of(kSize).v);
  EXPECT_TRUE(check_pattern(q, kSize, kSize, 1));
  EXPECT_EQ(h.allocator->verify(), nullptr);
  // Near a limit: without the room.
  constexpr size_t kMore = kSize + kSize / 8;
  ASSERT_EQ(h.registry->set_limit(id, kSize + kMore), 0);
  char* r = static_cast<char*>(h.realloc(q, kMore));
  ASSERT_NE(r, nullptr);
  EXPECT_EQ(h.charged(id), pages_of(kMore).v);
  EXPECT_EQ(moved(), pages_of(2 * kSize).v);
  EXPECT_TRUE(check_pattern(r, kSize, kSize, 1));
  EXPECT_EQ(h.realloc(r, 2 * kSize), nullptr) << "both do not fit";
  EXPECT_TRUE(check_pattern(r, kSize, kSize, 1));
  EXPECT_EQ(h.charged(id), pages_of(kMore).v);
  EXPECT_EQ(h.allocator->verify(), nullptr);
  EXPECT_EQ(static_cast<int>(h.free(r).misuse), static_cast<int>(Misuse::kNone));
  for (void* wall : walls) EXPECT_EQ(static_cast<int>(h.free(wall).misuse), static_cast<int>(Misuse::kNone));
  EXPECT_EQ(h.charged(id), 0u);
  EXPECT_EQ(h.allocator.charged(), 0u);
  EXPECT_EQ(h.allocator->verify(), nullptr);
}

// A million objects of several sizes, and as many pages back as were charged.
TEST_F(HeapTest, DestroyedWithAMillionObjects) {
  const HeapId other = h_.create("other");
  void* stays = h_.malloc(other, 100);
  void* default_stays = h_.allocator.malloc(nullptr, 100);
  const uint64_t before = h_.allocator.charged();
  const HeapId id = h_.create("large");
  std::vector<char*> some;
  for (size_t i = 0; i < 1000000; ++i) {
    void* p = h_.malloc(id, 16 + i % 7 * 16);
    ASSERT_NE(p, nullptr);
    if (i % 1000 == 0) some.push_back(static_cast<char*>(p));
  }
  for (int i = 0; i < 300; ++i) ASSERT_NE(h_.malloc(id, 20000 + 1000u * static_cast<unsigned>(i)), nullptr);
  const HeapStats s = h_.stats(id);
  EXPECT_EQ(s.objects, 1000300u);
  EXPECT_EQ(h_.allocator.charged(), before + s.charged.v);
  expect_verified();
  EXPECT_EQ(h_.destroy(id), s.charged.v);
  EXPECT_EQ(h_.allocator.charged(), before) << "every page is back";
  expect_verified();
  for (char* p : some) expect_misuse(p, Misuse::kNotGivenOut, 0, nullptr);
  EXPECT_EQ(h_.registry->heap_of(some[0]), HeapId());
  EXPECT_EQ(static_cast<int>(h_.free(stays).misuse), static_cast<int>(Misuse::kNone));
  EXPECT_EQ(static_cast<int>(h_.free(default_stays).misuse), static_cast<int>(Misuse::kNone));
}

TEST_F(HeapTest, MisuseNamesTheHeap) {
  const HeapId id = h_.create("tenant 7");
  char* keep = static_cast<char*>(h_.malloc(id, 100));
  char* small = static_cast<char*>(h_.malloc(id, 100));
  char* large = static_cast<char*>(h_.malloc(id, 100000));
  const uint32_t class_size = kSizeClasses[class_of_size(100)].size;
  expect_misuse(small + 16, Misuse::kInsideObject, class_size, "tenant 7");
  expect_misuse(small + 1, Misuse::kInsideObject, class_size, "tenant 7");
  ASSERT_EQ(static_cast<int>(h_.free(small).misuse), static_cast<int>(Misuse::kNone));
  expect_misuse(small, Misuse::kDoubleFree, class_size, "tenant 7");
  expect_misuse(large + kPageSize, Misuse::kNotGivenOut, 0, nullptr);
  expect_misuse(large + 16, Misuse::kNotGivenOut, 0, nullptr);
  ASSERT_EQ(static_cast<int>(h_.free(large).misuse), static_cast<int>(Misuse::kNone));
  expect_misuse(large, Misuse::kNotGivenOut, 0, nullptr);
  ASSERT_EQ(static_cast<int>(h_.free(keep).misuse), static_cast<int>(Misuse::kNone));
  BadPointer bad;
  EXPECT_EQ(h_.registry->resize(large, 5, bad), nullptr);
  EXPECT_EQ(static_cast<int>(bad.misuse), static_cast<int>(Misuse::kNotGivenOut));
  expect_verified();
}

TEST_F(HeapTest, HeapOfEveryKindOfPointer) {
  const HeapId id = h_.create("one"), other = h_.create("two");
  char* small = static_cast<char*>(h_.malloc(id, 200));
  char* large = static_cast<char*>(h_.malloc(id, 200000));
  char* theirs = static_cast<char*>(h_.malloc(other, 200));
  EXPECT_EQ(h_.registry->heap_of(small), id);
  EXPECT_EQ(h_.registry->heap_of(small + 5), id) << "anywhere in a slab";
  EXPECT_EQ(h_.registry->heap_of(large), id);
  EXPECT_EQ(h_.registry->heap_of(large + kPageSize), HeapId()) << "not the start";
  EXPECT_EQ(h_.registry->heap_of(theirs), other);
  int local = 0;
  EXPECT_EQ(h_.registry->heap_of(&local), HeapId());
  EXPECT_EQ(h_.registry->heap_of(nullptr), HeapId());
  EXPECT_EQ(h_.registry->heap_of(h_.allocator.malloc(nullptr, 200)), HeapId());
  EXPECT_EQ(h_.registry->heap_of(h_.allocator.malloc(nullptr, 200000)), HeapId());
  char* base = h_.allocator->pages().zone(NodeId(0)).arena().memory();
  EXPECT_EQ(h_.registry->heap_of(base + kCapacity - 1), HeapId()) << "never given out";
  EXPECT_EQ(h_.registry->heap_of(base + kCapacity), HeapId());
}

// Slabs of several units: each unit finds its slab.
TEST_F(HeapTest, SlabsOfSeveralUnits) {
  const HeapId id = h_.create();
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    if (kSizeClasses[c].slab_units == 1) continue;
    std::vector<void*> all;
    for (unsigned i = 0; i < kSizeClasses[c].objects; ++i) all.push_back(h_.malloc(id, kSizeClasses[c].size));
    expect_verified();
    for (void* p : all) {
      ASSERT_EQ(h_.registry->heap_of(p), id);
      ASSERT_EQ(h_.allocator->usable_size(p), kSizeClasses[c].size);
      ASSERT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNone));
    }
  }
  h_.allocator.trim(nullptr);
  EXPECT_EQ(h_.charged(id), 0u);
}

TEST_F(HeapTest, DecayGivesEmptySlabsBack) {
  const HeapId id = h_.create();
  for (const size_t size : {64, 1000, 10000}) {
    void* p = h_.malloc(id, size);
    ASSERT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNone));
  }
  EXPECT_GT(h_.charged(id), 0u);
  EXPECT_GT(h_.allocator->decayable_bytes(), 0u);
  for (unsigned i = 0; i < 2 * UnusedWindow::kTicks; ++i)
    ASSERT_EQ(static_cast<int>(h_.allocator->decay_tick().misuse), static_cast<int>(Misuse::kNone));
  EXPECT_EQ(h_.charged(id), 0u);
  expect_verified();
}

TEST_F(HeapTest, ThreadsThatFreeOneLargeObjectTwice) {
  const HeapId id = h_.create();
  void* p = h_.malloc(id, 50000);
  void* neighbour = h_.malloc(id, 50000);
  ASSERT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNone));
  EXPECT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNotGivenOut));
  EXPECT_EQ(h_.stats(id).runs.v, pages_of(50000).v);
  ASSERT_EQ(static_cast<int>(h_.free(neighbour).misuse), static_cast<int>(Misuse::kNone));
  expect_verified();
}

}  // namespace
}  // namespace weir
