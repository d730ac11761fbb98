// bitmap_test.cc: ranges of bits, against one bit at a time.
#include "base/bitmap.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace weir {
namespace {

constexpr size_t kBits = 5 * bitmap::kWordBits;

struct Both {
  std::vector<uint64_t> words = std::vector<uint64_t>(kBits / bitmap::kWordBits);
  std::vector<bool> model = std::vector<bool>(kBits);

  explicit Both(uint64_t seed) {
    std::mt19937_64 random(seed);
    for (size_t i = 0; i < kBits; ++i) {
      model[i] = random() % 3 == 0;
      if (model[i]) bitmap::set(words.data(), i);
    }
  }
  size_t count(size_t first, size_t n, bool value) const {
    size_t total = 0;
    for (size_t i = first; i < first + n; ++i) total += model[i] == value;
    return total;
  }
  void expect_equal() const {
    for (size_t i = 0; i < kBits; ++i) ASSERT_EQ(bitmap::test(words.data(), i), model[i]) << "bit " << i;
  }
};

TEST(Bitmap, LowMask) {
  EXPECT_EQ(bitmap::low_mask(0), 0u);
  EXPECT_EQ(bitmap::low_mask(1), 1u);
  EXPECT_EQ(bitmap::low_mask(63), ~uint64_t{0} >> 1);
  EXPECT_EQ(bitmap::low_mask(64), ~uint64_t{0});
  EXPECT_EQ(bitmap::low_mask(200), ~uint64_t{0});
}

TEST(Bitmap, WeightCountsSetBits) {
  EXPECT_EQ(bitmap::weight(0), 0u);
  EXPECT_EQ(bitmap::weight(~uint64_t{0}), bitmap::kWordBits);
  std::mt19937_64 random(3);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t word = random() & random();
    unsigned bits = 0;
    for (size_t b = 0; b < bitmap::kWordBits; ++b) bits += word >> b & 1;
    ASSERT_EQ(bitmap::weight(word), bits) << word;
    ASSERT_EQ(bitmap::weight(uint64_t{1} << (word % bitmap::kWordBits)), 1u);
  }
}

TEST(Bitmap, SetAndClearOneBitLeaveTheOthers) {
  uint64_t words[2] = {};
  bitmap::set(words, 64);
  EXPECT_EQ(words[0], 0u);
  EXPECT_EQ(words[1], 1u);
  bitmap::set(words, 63);
  bitmap::clear(words, 64);
  EXPECT_EQ(words[0], uint64_t{1} << 63);
  EXPECT_EQ(words[1], 0u);
}

// Every range that starts and ends around a word's edge, which is where mistakes live.
TEST(Bitmap, RangesAtAllEdges) {
  for (const size_t first : {0, 1, 31, 62, 63, 64, 65, 127, 128, 129}) {
    for (const size_t n : {0, 1, 2, 62, 63, 64, 65, 66, 127, 128, 129, 180}) {
      Both both(first * 1000 + n);
      EXPECT_EQ(bitmap::count_range(both.words.data(), first, n), both.count(first, n, true));
      const size_t clear_before = both.count(first, n, false);
      EXPECT_EQ(bitmap::set_range(both.words.data(), first, n), clear_before);
      for (size_t i = first; i < first + n; ++i) both.model[i] = true;
      both.expect_equal();
      Both again(first + n);
      const size_t set_before = again.count(first, n, true);
      EXPECT_EQ(bitmap::clear_range(again.words.data(), first, n), set_before);
      for (size_t i = first; i < first + n; ++i) again.model[i] = false;
      again.expect_equal();
    }
  }
}

TEST(Bitmap, FindNextAgreesWithTheModel) {
  for (const uint64_t seed : {1, 2, 3}) {
    const Both both(seed);
    for (const bool value : {false, true}) {
      for (size_t from = 0; from <= kBits; from += 7) {
        for (size_t end = from; end <= kBits; end += 13) {
          size_t expected = from;
          while (expected < end && both.model[expected] != value) ++expected;
          ASSERT_EQ(bitmap::find_next(both.words.data(), from, end, value), expected) << from << ".." << end;
        }
      }
    }
  }
}

TEST(Bitmap, FindNextOfNothing) {
  const uint64_t words[2] = {};
  EXPECT_EQ(bitmap::find_next(words, 5, 128, true), 128u);
  EXPECT_EQ(bitmap::find_next(words, 5, 5, false), 5u);
  EXPECT_EQ(bitmap::find_next(words, 9, 5, false), 5u);  // an empty range ends where it ends
  EXPECT_EQ(bitmap::find_next(words, 127, 128, false), 127u);
}

}  // namespace
}  // namespace weir
