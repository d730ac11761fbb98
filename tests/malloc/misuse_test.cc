// misuse_test.cc: pointers that must not be freed: what is found at once, what later, and what the person is told.
#include "malloc/misuse.h"

#include <gtest/gtest.h>

#include "support/private_allocator.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{256} << 20;

// How the allocator is set up: with a cache, without, clearing.
enum class Mode { kCached, kUncached, kNoTcache, kZeroOnFree };

class MisuseTest : public testing::TestWithParam<Mode> {
 protected:
  void SetUp() override {
    a_.options().tcache = GetParam() != Mode::kNoTcache;
    a_.options().zero_on_free = GetParam() == Mode::kZeroOnFree;
    ASSERT_TRUE(a_.start(kCapacity));
    if (GetParam() != Mode::kUncached) cache_ = a_->attach();
  }
  void expect(void* p, Misuse misuse, uint32_t class_size) {
    const BadPointer bad = a_.free(cache_, p);
    EXPECT_EQ(static_cast<int>(bad.misuse), static_cast<int>(misuse));
    EXPECT_EQ(bad.pointer, p);
    EXPECT_EQ(bad.class_size, class_size);
  }
  PrivateAllocator a_;
  ThreadCache* cache_ = nullptr;
};

TEST_P(MisuseTest, FreedTwiceInARow) {
  for (const size_t size : {size_t{16}, size_t{64}, size_t{1000}, size_t{4096}, kMaxSmallSize}) {
    void* keep = a_.malloc(cache_, size);  // so that the slab stays
    void* p = a_.malloc(cache_, size);
    ASSERT_NE(keep, nullptr);
    ASSERT_EQ(a_.free(cache_, p).misuse, Misuse::kNone);
    const size_t slab = kSizeClasses[class_of_size(size)].slab_mask;
    if ((reinterpret_cast<uintptr_t>(p) | slab) == (reinterpret_cast<uintptr_t>(keep) | slab) ||
        GetParam() == Mode::kCached)
      expect(p, Misuse::kDoubleFree, kSizeClasses[class_of_size(size)].size);
  }
}

TEST_P(MisuseTest, IntoAnObject) {
  for (const size_t size : {size_t{32}, size_t{112}, size_t{1000}, size_t{10000}}) {
    char* p = static_cast<char*>(a_.malloc(cache_, size));
    for (const size_t off : {size_t{1}, size_t{8}, size_t{16}, size - 1})
      expect(p + off, Misuse::kInsideObject, kSizeClasses[class_of_size(size)].size);
    EXPECT_EQ(a_.free(cache_, p).misuse, Misuse::kNone) << "the object itself is fine";
  }
}

TEST_P(MisuseTest, Foreign) {
  int local = 0;
  expect(&local, Misuse::kForeign, 0);
  expect(reinterpret_cast<void*>(16), Misuse::kForeign, 0);
}

TEST_P(MisuseTest, NeverGivenOut) {
  char* base = a_->pages().zone(NodeId(0)).arena().memory();
  expect(base + kCapacity - kPageSize, Misuse::kNotGivenOut, 0);
  expect(base + kCapacity - 1, Misuse::kNotGivenOut, 0);
  char* large = static_cast<char*>(a_.malloc(cache_, 200000));
  expect(large + kPageSize, Misuse::kNotGivenOut, 0);
  expect(large + 16, Misuse::kNotGivenOut, 0);
  EXPECT_EQ(a_.free(cache_, large).misuse, Misuse::kNone);
  expect(large, Misuse::kNotGivenOut, 0);
}

// In the slab's last bytes, where no object fits.
TEST_P(MisuseTest, BehindTheLastObject) {
  const SizeClass& c = kSizeClasses[class_of_size(48)];
  ASSERT_NE(c.objects * size_t{c.size}, c.slab_mask + size_t{1});
  char* p = static_cast<char*>(a_.malloc(cache_, 48));
  char* slab = reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(p) & ~uintptr_t{c.slab_mask});
  expect(slab + c.objects * c.size + 8, Misuse::kInsideObject, c.size);
  // A multiple of the size: a cache takes it, its slab does not.
  BadPointer bad = a_.free(cache_, slab + c.objects * c.size);
  if (GetParam() == Mode::kCached) {
    EXPECT_EQ(bad.misuse, Misuse::kNone);
    bad = a_->detach(cache_);
    for (int i = 0; i < 3 && bad.misuse == Misuse::kNone; ++i) bad = a_->decay_tick();
  }
  EXPECT_EQ(bad.misuse, Misuse::kInsideObject);
}

std::string name_of(const testing::TestParamInfo<Mode>& info) {
  constexpr const char* kNames[] = {"Cached", "Uncached", "NoTcache", "ZeroOnFree"};
  return kNames[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Modes, MisuseTest,
                         testing::Values(Mode::kCached, Mode::kUncached, Mode::kNoTcache, Mode::kZeroOnFree), name_of);

// Freed twice with another one between: the cache does not see it, the slab does.
TEST(Misuse, ADoubleFreeThatACacheTookIsFoundLater) {
  PrivateAllocator a;
  ASSERT_TRUE(a.start(kCapacity));
  ThreadCache* cache = a->attach();
  void* p = a.malloc(cache, 64);
  void* q = a.malloc(cache, 64);
  EXPECT_EQ(a.free(cache, p).misuse, Misuse::kNone);
  EXPECT_EQ(a.free(cache, q).misuse, Misuse::kNone);
  EXPECT_EQ(a.free(cache, p).misuse, Misuse::kNone);
  BadPointer bad = a->detach(cache);
  for (int i = 0; i < 3 && bad.misuse == Misuse::kNone; ++i) bad = a->decay_tick();
  EXPECT_EQ(bad.misuse, Misuse::kDoubleFree);
  EXPECT_EQ(bad.pointer, p);
  EXPECT_EQ(bad.class_size, 64u);
}

TEST(Misuse, TrimFindsItToo) {
  PrivateAllocator a;
  ASSERT_TRUE(a.start(kCapacity));
  ThreadCache* cache = a->attach();
  void* p = a.malloc(cache, 64);
  void* q = a.malloc(cache, 64);
  for (void* object : {p, q, p}) EXPECT_EQ(a.free(cache, object).misuse, Misuse::kNone);
  size_t bytes = 0;
  EXPECT_EQ(a->trim(cache, bytes).misuse, Misuse::kDoubleFree);
}

TEST(MisuseDeathTest, OneLineNamesPointerAndClass) {
  void* p = reinterpret_cast<void*>(0x2a0000001040);
  EXPECT_DEATH(report_misuse({Misuse::kDoubleFree, p, 64}, "free"),
               "^weir: free: double free of 0x2a0000001040 \\(size class 64\\)\n$");
  EXPECT_DEATH(report_misuse({Misuse::kInsideObject, p, 112}, "realloc"),
               "^weir: realloc: 0x2a0000001040 points inside an object, not at its start \\(size class 112\\)\n$");
  EXPECT_DEATH(report_misuse({Misuse::kNotGivenOut, p, 0}, "free"),
               "^weir: free: 0x2a0000001040 was never given out, or was freed before \\(no size class: large or free "
               "pages\\)\n$");
  EXPECT_DEATH(report_misuse({Misuse::kForeign, p, 0}, "malloc_usable_size"),
               "^weir: malloc_usable_size: 0x2a0000001040 does not belong to weir\n$");
}

TEST(Misuse, NothingIsSaidOfWhatIsRight) {
  report_misuse({}, "free");
}

TEST(MisuseDeathTest, TheProcessEndsBySigabrt) {
  EXPECT_EXIT(report_misuse({Misuse::kDoubleFree, nullptr, 16}, "free"), testing::KilledBySignal(SIGABRT),
              "double free");
}

}  // namespace
}  // namespace weir
