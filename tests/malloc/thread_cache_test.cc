// thread_cache_test.cc: the stacks of objects that a thread keeps.
#include "malloc/thread_cache.h"

#include <gtest/gtest.h>

#include <memory>

namespace weir {
namespace {

// Addresses of objects of a class in slabs that lie nowhere.
void* object(size_t size_class, size_t i) {
  const SizeClass& c = kSizeClasses[size_class];
  return reinterpret_cast<void*>(uintptr_t{0x4000000000} + i / c.objects * (c.slab_mask + size_t{1}) +
                                 i % c.objects * c.size);
}

class ThreadCacheTest : public testing::Test {
 protected:
  ThreadCacheTest() { cache_->reset(64 << 10, true); }
  std::unique_ptr<ThreadCache> cache_ = std::make_unique<ThreadCache>();
};

TEST_F(ThreadCacheTest, IsAStack) {
  const size_t c = class_of_size(48);
  EXPECT_EQ(cache_pop(cache_.get(), c), nullptr);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(cache_push(cache_.get(), c, object(c, i)), FreeFast::kDone);
  EXPECT_EQ(cache_->count(c), 3u);
  for (size_t i = 3; i-- > 0;) EXPECT_EQ(cache_pop(cache_.get(), c), object(c, i));
  EXPECT_EQ(cache_pop(cache_.get(), c), nullptr);
  EXPECT_EQ(cache_pop(cache_.get(), c), nullptr) << "asking again changes nothing";
  EXPECT_EQ(cache_->count(c), 0u);
}

// All bins at once, filled to their limits: they must not run into each other.
TEST_F(ThreadCacheTest, BinsAreApart) {
  for (size_t c = 1; c < kNrSizeClasses; ++c) {
    size_t pushed = 0;
    while (cache_push(cache_.get(), c, object(c, pushed)) == FreeFast::kDone) ++pushed;
    ASSERT_EQ(pushed, kSizeClasses[c].cache_slots) << kSizeClasses[c].size;
  }
  for (size_t c = 1; c < kNrSizeClasses; ++c) {
    ASSERT_EQ(cache_->count(c), kSizeClasses[c].cache_slots);
    for (size_t i = kSizeClasses[c].cache_slots; i-- > 0;) ASSERT_EQ(cache_pop(cache_.get(), c), object(c, i));
    ASSERT_EQ(cache_pop(cache_.get(), c), nullptr);
  }
}

TEST_F(ThreadCacheTest, RefusesPointersIntoObjects) {
  for (size_t c = 1; c < kNrSizeClasses; ++c) {
    for (const size_t off : {size_t{1}, size_t{8}, size_t{15}, kSizeClasses[c].size - size_t{1}})
      EXPECT_EQ(cache_push(cache_.get(), c, static_cast<char*>(object(c, 0)) + off), FreeFast::kInsideObject);
    EXPECT_EQ(cache_->count(c), 0u);
  }
}

TEST_F(ThreadCacheTest, RefusesTheObjectOnTop) {
  const size_t c = class_of_size(100);
  EXPECT_EQ(cache_push(cache_.get(), c, object(c, 1)), FreeFast::kDone);
  EXPECT_EQ(cache_push(cache_.get(), c, object(c, 1)), FreeFast::kDoubleFree);
  EXPECT_EQ(cache_->count(c), 1u);
}

TEST_F(ThreadCacheTest, WithoutASlabItIsNeverFast) {
  EXPECT_EQ(cache_push(cache_.get(), 0, object(1, 0)), FreeFast::kSlow);
  EXPECT_EQ(cache_pop(cache_.get(), 0), nullptr);
}

TEST(ThreadCache, TheConstantCachesAreEmptyAndFull) {
  for (const NoCache state : {NoCache::kNew, NoCache::kFreedOnce, NoCache::kDead}) {
    const CacheBins* constant = no_cache(state);
    CacheBins* cache = const_cast<CacheBins*>(constant);
    for (size_t c = 0; c < kNrSizeClasses; ++c) {
      EXPECT_EQ(cache_pop(cache, c), nullptr);
      EXPECT_EQ(cache_push(cache, c, object(c == 0 ? 1 : c, 0)), FreeFast::kSlow);
    }
  }
}

TEST(ThreadCache, LimitsFollowTheOption) {
  auto cache = std::make_unique<ThreadCache>();
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{4096}, size_t{64} << 10, size_t{16} << 20}) {
    for (const bool caching : {true, false}) {
      cache->reset(bytes, caching);
      EXPECT_EQ(cache->caching, caching);
      for (size_t c = 1; c < kNrSizeClasses; ++c) {
        const size_t slots = static_cast<size_t>(cache->bins[c].limit - cache->bottom(c));
        const size_t wanted = !caching || bytes == 0 ? 0 : std::max<size_t>(bytes / kSizeClasses[c].size, 4);
        ASSERT_EQ(slots, std::min<size_t>(wanted, kSizeClasses[c].cache_slots));
        ASSERT_EQ(cache->count(c), 0u);
      }
    }
  }
}

// The size tells what start-up and a thread cost: one page less or more is a decision, not an accident.
TEST(ThreadCache, StaysBelow64KiB) {
  EXPECT_LE(sizeof(ThreadCache), size_t{64} << 10);
}

}  // namespace
}  // namespace weir
