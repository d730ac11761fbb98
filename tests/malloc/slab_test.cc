// slab_test.cc: objects of one slab, for every class, without memory behind them.
#include "malloc/slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace weir {
namespace {

// A slab that lies nowhere: its objects are never touched.
struct BareSlab {
  SlabDesc desc{};
  std::vector<uint64_t> bits = std::vector<uint64_t>(16 * kBitmapBytesPerUnit / 8);
  SlabView view;

  explicit BareSlab(size_t size_class)
      : view{desc, kSizeClasses[size_class].objects <= 64 ? &desc.few_bits : bits.data(),
             reinterpret_cast<char*>(uintptr_t{0x4000000000})} {
    view.init(size_class);
  }
};

class SlabTest : public testing::TestWithParam<unsigned> {
 protected:
  const SizeClass& info() const { return kSizeClasses[GetParam()]; }
};

TEST_P(SlabTest, GivesEveryObjectOnceInAddressOrder) {
  BareSlab s(GetParam());
  EXPECT_EQ(s.desc.nr_free, info().objects);
  EXPECT_EQ(s.view.count_free(), info().objects);
  std::vector<void*> got(info().objects + 10u);
  ASSERT_EQ(s.view.take(got.data() + got.size(), info().objects + 10u), info().objects);
  for (unsigned i = 0; i < info().objects; ++i)
    ASSERT_EQ(got[got.size() - 1 - i], s.view.memory + i * info().size) << "the lowest address comes last";
  EXPECT_EQ(s.desc.nr_free, 0u);
  EXPECT_EQ(s.view.count_free(), 0u);
  EXPECT_EQ(s.view.take(got.data() + got.size(), 1), 0u);
}

// As many as lie in this slab and can be given back, and what is wrong with the next one.
TEST_P(SlabTest, TakesManyBackUpToOneThatItCannot) {
  if (info().objects < 2) return;  // one is not many
  BareSlab s(GetParam());
  std::vector<void*> got(info().objects);
  s.view.take(got.data() + got.size(), info().objects);
  const unsigned half = info().objects / 2u - 1;
  FreeVerdict verdict = FreeVerdict::kOk;
  std::vector<void*> lot(got.begin(), got.begin() + half);
  lot.push_back(s.view.memory + info().slab_mask + 1);
  EXPECT_EQ(s.view.give_many(lot.data(), half + 1, verdict), half) << "what lies behind it is another slab's";
  EXPECT_EQ(verdict, FreeVerdict::kOk);
  lot = {got[half], got[0], got[half + 1u]};
  EXPECT_EQ(s.view.give_many(lot.data(), 3, verdict), 1u);
  EXPECT_EQ(verdict, FreeVerdict::kDoubleFree);
  verdict = FreeVerdict::kOk;
  lot = {got[half + 1u], s.view.memory + 1};
  EXPECT_EQ(s.view.give_many(lot.data(), 2, verdict), 1u);
  EXPECT_EQ(verdict, FreeVerdict::kInsideObject);
  EXPECT_EQ(s.desc.nr_free, half + 2u);
  EXPECT_EQ(s.view.count_free(), half + 2u);
}

// The first objects of two threads lie apart, and what was skipped is found later.
TEST_P(SlabTest, TakesApartWhereNobodyElseHasObjects) {
  BareSlab s(GetParam());
  void* one[1];
  void* few[16];
  if (info().objects < 128) {
    ASSERT_EQ(s.view.take(one + 1, 1, true), 1u) << "no two stretches of 64: as without";
    EXPECT_EQ(one[0], s.view.memory);
    return;
  }
  ASSERT_EQ(s.view.take(one + 1, 1), 1u);
  ASSERT_EQ(s.view.take(few + 16, 16, true), 16u);
  EXPECT_EQ(few[15], s.view.memory + 64 * info().size);
  std::vector<void*> rest(info().objects);
  EXPECT_EQ(s.view.take(rest.data() + rest.size(), info().objects), info().objects - 17u);
  EXPECT_EQ(s.view.count_free(), 0u);
  EXPECT_EQ(s.view.give(one[0]), FreeVerdict::kOk);
  EXPECT_EQ(s.view.take(few + 16, 16, true), 1u) << "no whole stretch is left";
}

TEST_P(SlabTest, ChecksEveryOffset) {
  BareSlab s(GetParam());
  std::vector<void*> got(info().objects);
  s.view.take(got.data() + got.size(), info().objects);
  for (size_t offset = 0; offset <= info().slab_mask; ++offset) {
    const bool object = offset % info().size == 0 && offset / info().size < info().objects;
    ASSERT_EQ(s.view.check(s.view.memory + offset), object ? FreeVerdict::kOk : FreeVerdict::kInsideObject) << offset;
  }
  EXPECT_EQ(s.view.give(s.view.memory), FreeVerdict::kOk);
  EXPECT_EQ(s.view.check(s.view.memory), FreeVerdict::kDoubleFree);
  EXPECT_EQ(s.view.give(s.view.memory), FreeVerdict::kDoubleFree);
  EXPECT_EQ(s.view.give(s.view.memory + 8), FreeVerdict::kInsideObject);
  EXPECT_EQ(s.desc.nr_free, 1u) << "refused objects are not counted";
}

TEST_P(SlabTest, RandomTakesAndGives) {
  BareSlab s(GetParam());
  std::mt19937_64 random(GetParam());
  std::vector<char*> live;
  for (int step = 0; step < 400; ++step) {
    if (random() % 2 == 0) {
      std::vector<void*> got(1 + random() % 20);
      const unsigned n = s.view.take(got.data() + got.size(), static_cast<unsigned>(got.size()));
      ASSERT_EQ(n, std::min<size_t>(got.size(), info().objects - live.size()));
      for (unsigned i = 0; i < n; ++i) {
        char* object = static_cast<char*>(got[got.size() - 1 - i]);
        ASSERT_EQ(std::count(live.begin(), live.end(), object), 0);
        live.push_back(object);
      }
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      ASSERT_EQ(s.view.give(live.back()), FreeVerdict::kOk);
      live.pop_back();
    }
    ASSERT_EQ(s.desc.nr_free, info().objects - live.size());
    ASSERT_EQ(s.view.count_free(), s.desc.nr_free);
  }
}

// A page is idle when it was touched and no part of an allocated object lies on it.
TEST_P(SlabTest, IdlePagesAgreeWithAModel) {
  BareSlab s(GetParam());
  std::mt19937_64 random(GetParam());
  std::vector<void*> all(info().objects);
  EXPECT_EQ(s.view.idle_pages(), 0u) << "nothing was touched";
  s.view.take(all.data() + all.size(), info().objects);
  const uint64_t end_page = (info().objects * uint64_t{info().size} - 1) / kPageSize;
  EXPECT_EQ(s.desc.touched, end_page == 63 ? ~uint64_t{0} : (uint64_t{2} << end_page) - 1);
  EXPECT_EQ(s.view.idle_pages(), 0u) << "all are in use";
  std::shuffle(all.begin(), all.end(), random);
  while (!all.empty()) {
    ASSERT_EQ(s.view.give(all.back()), FreeVerdict::kOk);
    all.pop_back();
    uint64_t used = 0;
    for (const void* object : all) {
      const size_t first = static_cast<size_t>(static_cast<const char*>(object) - s.view.memory);
      for (size_t p = first / kPageSize; p <= (first + info().size - 1) / kPageSize; ++p) used |= uint64_t{1} << p;
    }
    ASSERT_EQ(s.view.idle_pages(), s.desc.touched & ~used);
  }
}

TEST_P(SlabTest, OnlyTakenPagesCountAsTouched) {
  BareSlab s(GetParam());
  void* one[1];
  s.view.take(one + 1, 1);
  EXPECT_EQ(s.desc.touched, (uint64_t{2} << ((info().size - 1) / kPageSize)) - 1);
}

INSTANTIATE_TEST_SUITE_P(AllClasses, SlabTest, testing::Range(1u, kNrSizeClasses),
                         [](const auto& p) { return "Size" + std::to_string(kSizeClasses[p.param].size); });

}  // namespace
}  // namespace weir
