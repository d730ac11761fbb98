// heap_cache_test.cc: what a thread keeps of the heap that it works in: when, how much, and that it goes back.
#include "heap/heap_cache.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "support/pattern.h"
#include "support/private_heaps.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{256} << 20;

class HeapCacheTest : public testing::Test {
 protected:
  void start(bool tcache = true) {
    h_.allocator.options().tcache = tcache;
    ASSERT_TRUE(h_.start(kCapacity));
    h_.thread = h_.allocator->attach();
    ASSERT_NE(h_.thread, nullptr);
  }
  std::vector<void*> take(HeapId id, size_t size, unsigned count) {
    std::vector<void*> all;
    for (unsigned i = 0; i < count; ++i) all.push_back(h_.malloc(id, size));
    return all;
  }
  void give(const std::vector<void*>& all) {
    for (void* p : all) ASSERT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNone));
  }
  // Objects that count as in use.
  uint64_t objects(HeapId id) { return h_.stats(id).objects; }
  void expect_verified() { EXPECT_EQ(h_.allocator->verify(), nullptr); }

  PrivateHeaps h_;
};

TEST_F(HeapCacheTest, KeptAfterSomeCallsInARow) {
  start();
  const HeapId id = h_.create();
  give(take(id, 100, HeapCache::kCallsInARow - 1));
  EXPECT_EQ(objects(id), 0u) << "not yet";
  give(take(id, 100, 100));
  EXPECT_GT(objects(id), 0u);
  EXPECT_LE(objects(id), HeapCache::slots_of(class_of_size(100)));
  expect_verified();
  h_.allocator.trim(h_.thread);
  EXPECT_EQ(objects(id), 0u);
  EXPECT_EQ(h_.charged(id), 0u);
}

TEST_F(HeapCacheTest, NotForAThreadThatChangesAllTheTime) {
  start();
  const HeapId a = h_.create(), b = h_.create();
  for (int i = 0; i < 100; ++i) {
    give(take(a, 100, 1));
    give(take(b, 100, 2));
  }
  EXPECT_EQ(objects(a) + objects(b), 0u);
}

TEST_F(HeapCacheTest, ChangesToAnotherHeap) {
  start();
  const HeapId a = h_.create("a"), b = h_.create("b");
  give(take(a, 100, 50));
  EXPECT_GT(objects(a), 0u);
  // Work in both: the cache stays where it is.
  for (int i = 0; i < 100; ++i) {
    give(take(b, 100, 3));
    give(take(a, 100, 1));
  }
  EXPECT_EQ(objects(b), 0u);
  EXPECT_GT(objects(a), 0u);
  give(take(b, 100, 50));
  EXPECT_EQ(objects(a), 0u) << "given back when the thread turned to another";
  EXPECT_GT(objects(b), 0u);
  expect_verified();
}

TEST_F(HeapCacheTest, GivesEachObjectOnce) {
  start();
  const HeapId id = h_.create();
  std::set<void*> live;
  std::vector<void*> order;
  for (unsigned i = 0; i < 20000; ++i) {
    if (i % 3 != 2 || order.empty()) {
      void* p = h_.malloc(id, 16 + i % 1500);
      ASSERT_TRUE(live.insert(p).second);
      order.push_back(p);
    } else {
      const size_t at = i * 7919 % order.size();
      live.erase(order[at]);
      give({order[at]});
      order[at] = order.back();
      order.pop_back();
    }
  }
  expect_verified();
  give(order);
  h_.allocator.trim(h_.thread);
  EXPECT_EQ(h_.charged(id), 0u);
}

TEST_F(HeapCacheTest, OfAHeapThatIsGone) {
  start();
  const HeapId old = h_.create();
  const std::vector<void*> before = take(old, 100, 40);
  give(before);
  h_.destroy(old);
  EXPECT_EQ(h_.malloc(old, 100), nullptr);
  EXPECT_EQ(h_.error, EINVAL);
  // The same place, and most likely the same memory: nothing of what was kept is given out, or back.
  const HeapId fresh = h_.create();
  ASSERT_EQ(fresh.index(), old.index());
  std::set<void*> live;
  for (void* p : take(fresh, 100, 200)) EXPECT_TRUE(live.insert(p).second);
  EXPECT_GE(objects(fresh), 200u);
  expect_verified();
  give({live.begin(), live.end()});
  h_.destroy(fresh);
  EXPECT_EQ(static_cast<int>(h_.allocator->detach(h_.thread).misuse), static_cast<int>(Misuse::kNone));
  h_.thread = nullptr;
  expect_verified();
  EXPECT_EQ(h_.allocator.charged(), 0u);
}

TEST_F(HeapCacheTest, AThreadsEndGivesItBack) {
  start();
  const HeapId id = h_.create();
  give(take(id, 100, 50));
  EXPECT_GT(objects(id), 0u);
  ASSERT_EQ(static_cast<int>(h_.allocator->detach(h_.thread).misuse), static_cast<int>(Misuse::kNone));
  EXPECT_EQ(objects(id), 0u);
  // The next thread with this cache starts with nothing.
  h_.thread = h_.allocator->attach();
  give(take(id, 100, HeapCache::kCallsInARow - 1));
  EXPECT_EQ(objects(id), 0u);
  expect_verified();
}

TEST_F(HeapCacheTest, AtTheLimitTheOwnCacheMakesRoom) {
  start();
  HeapSettings settings;
  settings.limit = 64 << 10;
  const HeapId id = h_.create(nullptr, settings);
  for (const size_t size : {64, 128, 256, 512}) {
    std::vector<void*> all = take(id, size, 20);
    give(all);
  }
  EXPECT_EQ(bytes_of(h_.stats(id).charged), settings.limit);
  EXPECT_NE(h_.malloc(id, 50000), nullptr);
  EXPECT_LE(bytes_of(h_.stats(id).peak), settings.limit);
  expect_verified();
}

TEST_F(HeapCacheTest, NothingIsKeptWithoutThreadCaches) {
  start(false);
  const HeapId id = h_.create();
  const std::vector<void*> all = take(id, 100, 50);
  give(all);
  EXPECT_EQ(objects(id), 0u);
  void* keep = h_.malloc(id, 100);
  void* freed = all[10] != keep ? all[10] : all[11];
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(static_cast<int>(h_.free(freed).misuse), static_cast<int>(Misuse::kDoubleFree)) << "at once, every time";
}

TEST_F(HeapCacheTest, MistakesAreFound) {
  start();
  const HeapId id = h_.create("cached");
  const std::vector<void*> all = take(id, 100, 50);
  const uint32_t class_size = kSizeClasses[class_of_size(100)].size;
  BadPointer bad = h_.free(static_cast<char*>(all[0]) + 16);
  EXPECT_EQ(static_cast<int>(bad.misuse), static_cast<int>(Misuse::kInsideObject));
  EXPECT_STREQ(bad.heap, "cached");
  give({all[1]});
  bad = h_.free(all[1]);
  EXPECT_EQ(static_cast<int>(bad.misuse), static_cast<int>(Misuse::kDoubleFree)) << "right after the first";
  EXPECT_EQ(bad.class_size, class_size);
  give({all[2], all[1]});
  size_t bytes = 0;
  bad = h_.allocator->trim(h_.thread, bytes);
  EXPECT_EQ(static_cast<int>(bad.misuse), static_cast<int>(Misuse::kDoubleFree)) << "when it reaches its slab";
  EXPECT_EQ(bad.pointer, all[1]);
  EXPECT_STREQ(bad.heap, "cached");
}

}  // namespace
}  // namespace weir
