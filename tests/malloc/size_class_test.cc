// size_class_test.cc: the table of size classes, and the two divisions by multiplication, for every class and offset.
#include "malloc/size_class.h"

#include <gtest/gtest.h>

#include "malloc/thread_cache.h"

namespace weir {
namespace {

TEST(SizeClass, SizesRiseInSteps) {
  EXPECT_EQ(kSizeClasses[0].size, 0u) << "class 0 means no slab";
  size_t last = 0;
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    const size_t size = kSizeClasses[c].size;
    EXPECT_GT(size, last);
    EXPECT_EQ(size % kMinAlignment, 0u);
    if (size > 128) {
      EXPECT_EQ(size % (std::bit_floor(size - 1) / 8), 0u) << "eight steps per doubling: " << size;
    }
    last = size;
  }
  EXPECT_EQ(last, kMaxSmallSize);
}

TEST(SizeClass, EverySizeGetsTheSmallestClassThatHoldsIt) {
  EXPECT_EQ(class_of_size(0), 1u);
  for (size_t size = 1; size <= kMaxSmallSize; ++size) {
    const size_t c = class_of_size(size);
    ASSERT_GE(kSizeClasses[c].size, size);
    ASSERT_LT(c == 1 ? 0 : kSizeClasses[c - 1].size, size);
  }
}

TEST(SizeClass, WastesAtMostAnEighthBeyondTheRounding) {
  for (size_t size = 1; size <= kMaxSmallSize; ++size) {
    const size_t rounded = (size + kMinAlignment - 1) / kMinAlignment * kMinAlignment;
    const size_t waste = kSizeClasses[class_of_size(size)].size - rounded;
    ASSERT_LE(waste * 8, kSizeClasses[class_of_size(size)].size) << size;
  }
}

TEST(SizeClass, SlabsArePowersOfTwoThatLoseAtMostAnEighth) {
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    const SizeClass& k = kSizeClasses[c];
    const size_t slab = k.slab_mask + size_t{1};
    EXPECT_TRUE(is_power_of_two(slab));
    EXPECT_EQ(slab, k.slab_units * kSlabUnitSize);
    EXPECT_EQ(slab, kPageSize << k.slab_order);
    EXPECT_EQ(k.objects, slab / k.size);
    EXPECT_LE((slab - k.objects * size_t{k.size}) * 8, slab) << k.size;
    EXPECT_LE(slab / kPageSize, 64u) << "a slab's pages fit one word";
    EXPECT_GE(k.objects, 1u);
  }
}

TEST(SizeClass, CachesHaveRoom) {
  uint32_t next = 0;
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    const SizeClass& k = kSizeClasses[c];
    EXPECT_EQ(k.slot_offset, next) << "slots of classes lie behind each other, one more each than objects";
    next += k.cache_slots + 1u;
    EXPECT_GE(k.cache_slots, 4u);
    EXPECT_LE(k.cache_slots, 256u);
    EXPECT_GE(k.batch, 1u);
    EXPECT_LE(k.batch, 128u);
    EXPECT_LE(k.batch, k.cache_slots);
  }
  EXPECT_EQ(next, kCacheSlots);
}

// offset * reciprocal >> 32 is offset / size for every offset in the slab.
TEST(SizeClass, ReciprocalDividesEveryOffset) {
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    const SizeClass& k = kSizeClasses[c];
    for (uint64_t offset = 0; offset <= k.slab_mask; ++offset)
      ASSERT_EQ(offset * k.reciprocal >> 32, offset / k.size) << "size " << k.size << " offset " << offset;
  }
}

// The thread cache's test: offset * magic < magic exactly where size divides offset.
TEST(SizeClass, MagicTellsMultiplesForEveryOffset) {
  auto cache = std::make_unique<ThreadCache>();
  cache->reset(64 << 10, true);
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    const Bin& bin = cache->bins[c];
    EXPECT_EQ(bin.mask, kSizeClasses[c].slab_mask);
    for (uint64_t offset = 0; offset <= bin.mask; ++offset)
      ASSERT_EQ(offset * bin.magic < bin.magic, offset % kSizeClasses[c].size == 0)
          << "size " << kSizeClasses[c].size << " offset " << offset;
  }
}

TEST(SizeClass, AlignedClasses) {
  for (size_t alignment = 1; alignment <= 2 * kMaxSmallSize; alignment *= 2) {
    for (const size_t size :
         {size_t{1}, size_t{100}, size_t{777}, size_t{4096}, size_t{5000}, kMaxSmallSize, kMaxSmallSize + 1}) {
      const size_t c = class_of_aligned(size, alignment);
      if (size > kMaxSmallSize || alignment > kMaxSmallSize) {
        EXPECT_EQ(c, 0u);
        continue;
      }
      ASSERT_NE(c, 0u) << size << " at " << alignment;
      EXPECT_GE(kSizeClasses[c].size, size);
      // Slabs are aligned to their size, which is a multiple of every alignment that divides the object size.
      EXPECT_EQ(kSizeClasses[c].size % alignment, 0u);
      EXPECT_EQ((kSizeClasses[c].slab_mask + size_t{1}) % alignment, 0u);
    }
  }
}

}  // namespace
}  // namespace weir
