// own_caches_test.cc: what depots keep is counted in pages, given back in parts, a class at a time, and all of it in
// the end; a double free comes to light on the way.
#include "malloc/own_caches.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/private_allocator.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{256} << 20;
constexpr Pages kAll(~uint64_t{0});

class OwnCachesTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(a_.start(kCapacity)); }
  // Leaves many free objects of several classes in the depots.
  void fill() {
    for (const size_t size : {24, 200, 1000, 5000, 16000}) {
      std::vector<void*> objects;
      for (size_t bytes = 0; bytes < 500000; bytes += size) objects.push_back(a_.malloc(nullptr, size));
      for (void* p : objects) {
        ASSERT_NE(p, nullptr);
        ASSERT_EQ(a_.free(nullptr, p).misuse, Misuse::kNone);
      }
    }
  }
  Pages shrink(Pages wanted) {
    BadPointer bad;
    const Pages freed = shrink_own_caches(*a_, wanted, next_, bad);
    EXPECT_EQ(bad.misuse, Misuse::kNone);
    return freed;
  }

  PrivateAllocator a_;
  unsigned next_ = 0;
};

TEST_F(OwnCachesTest, NothingAtFirst) {
  EXPECT_EQ(count_own_caches(*a_), Pages(0));
  EXPECT_EQ(shrink(kAll), Pages(0));
}

TEST_F(OwnCachesTest, InPartsAndInTheEndAllOfIt) {
  fill();
  const Pages before = count_own_caches(*a_);
  const uint64_t charged = a_.charged();
  ASSERT_GT(before, Pages(5));
  const Pages first = shrink(Pages(1));
  EXPECT_GE(first, Pages(1));
  EXPECT_LT(first, before) << "one class is enough";
  EXPECT_EQ(count_own_caches(*a_) + first, before);
  EXPECT_LT(a_.charged(), charged);
  EXPECT_STREQ(a_->verify(), nullptr);
  Pages all = first;
  // The classes in turn: each call goes on behind the last.
  for (int i = 0; i < 100 && count_own_caches(*a_).v != 0; ++i) all += shrink(Pages(1));
  EXPECT_EQ(count_own_caches(*a_), Pages(0));
  EXPECT_EQ(a_.charged(), 0u);
  // Each class' part of a page is cut off.
  EXPECT_LE(all, before);
  EXPECT_GE(all + Pages(10), before);
  EXPECT_STREQ(a_->verify(), nullptr);
}

TEST_F(OwnCachesTest, ObjectsInUseStay) {
  fill();
  std::vector<void*> kept;
  for (int i = 0; i < 1000; ++i) kept.push_back(a_.malloc(nullptr, 1000));
  for (size_t i = 0; i < kept.size(); i += 2) ASSERT_EQ(a_.free(nullptr, kept[i]).misuse, Misuse::kNone);
  shrink(kAll);
  EXPECT_EQ(count_own_caches(*a_), Pages(0));
  EXPECT_GE(bytes_of(Pages(a_.charged())), 500u * 1000);
  EXPECT_STREQ(a_->verify(), nullptr);
  for (size_t i = 1; i < kept.size(); i += 2) ASSERT_EQ(a_.free(nullptr, kept[i]).misuse, Misuse::kNone);
  shrink(kAll);
  EXPECT_EQ(a_.charged(), 0u);
}

TEST_F(OwnCachesTest, ADoubleFreeComesToLight) {
  ThreadCache* cache = a_->attach();
  ASSERT_NE(cache, nullptr);
  void* p = a_.malloc(cache, 100);
  void* q = a_.malloc(cache, 100);
  ASSERT_EQ(a_.free(cache, p).misuse, Misuse::kNone);
  ASSERT_EQ(a_.free(cache, q).misuse, Misuse::kNone);
  ASSERT_EQ(a_.free(cache, p).misuse, Misuse::kNone) << "not seen yet";
  ASSERT_EQ(a_->drain(*cache).misuse, Misuse::kNone) << "in the transfer cache";
  BadPointer bad;
  static_cast<void>(shrink_own_caches(*a_, kAll, next_, bad));
  EXPECT_EQ(bad.misuse, Misuse::kDoubleFree);
  EXPECT_EQ(bad.pointer, p);
}

}  // namespace
}  // namespace weir
