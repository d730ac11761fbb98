// Handles say what they are made of; same-filled pages are told from others to the bit. The checksum finds damage.
#include "swap/zswap_handle.h"

#include <gtest/gtest.h>

#include "swap/zswap_checksum.h"
#include "swap/zswap_pages.h"

namespace weir::zswap {
namespace {

TEST(ZswapHandle, EntriesKeepPlaceSizeAndCodec) {
  for (size_t place : {size_t{0}, size_t{16}, size_t{65520}, kPlaceEnd - 16}) {
    for (size_t bytes : {1, 100, 3628, 4095}) {
      for (Codec codec : {Codec::kLz4, Codec::kZstd}) {
        const uint64_t handle = entry_handle(place, bytes, codec);
        EXPECT_NE(handle, 0u);
        EXPECT_LT(handle, uint64_t{1} << 56);
        EXPECT_FALSE(is_same_filled(handle));
        EXPECT_EQ(entry_place(handle), place);
        EXPECT_EQ(entry_bytes(handle), bytes);
        EXPECT_EQ(entry_codec(handle), codec);
      }
    }
  }
}

TEST(ZswapHandle, WordsThatFitComeBack) {
  const double one = 1.0, minus_half = -0.5;
  uint64_t one_bits, half_bits;
  memcpy(&one_bits, &one, 8);
  memcpy(&half_bits, &minus_half, 8);
  for (uint64_t word :
       {uint64_t{0}, ~uint64_t{0}, uint64_t{1}, uint64_t{0x7fffdeadbeef}, kPayloadMask, kHighMask, ~uint64_t{0} - 4711,
        one_bits, half_bits, uint64_t{0x4242424242424242}, uint64_t{0x8000800080008000}, uint64_t{0x123456781234567},
        uint64_t{0xdeadbeefdeadbeef}, uint64_t{1} << 63}) {
    const uint64_t handle = same_filled_handle(word);
    if (word == 0x123456781234567) {
      EXPECT_EQ(handle, 0u) << "57 different bits do not fit";
      continue;
    }
    ASSERT_TRUE(is_same_filled(handle)) << word;
    EXPECT_LT(handle, uint64_t{1} << 56);
    EXPECT_EQ(same_filled_word(handle), word);
  }
}

TEST(ZswapHandle, RandomWordsComeBackOrDoNotFit) {
  Random random(3);
  unsigned fit = 0;
  for (unsigned i = 0; i < 200000; ++i) {
    const uint64_t word = random.next() >> random.below(64) << random.below(64);
    const uint64_t handle = same_filled_handle(word);
    const bool should = word >> 52 == 0 || word >> 52 == 0xfff || word << 52 == 0 || word >> 32 == (word & 0xffffffff);
    ASSERT_EQ(handle != 0, should) << word;
    if (handle == 0) continue;
    ++fit;
    ASSERT_EQ(same_filled_word(handle), word);
  }
  EXPECT_GT(fit, 100000u);
}

TEST(ZswapHandle, OneBitMakesAPageDifferent) {
  Page page;
  uint64_t word;
  for (uint64_t value : {uint64_t{0}, uint64_t{0x1122334455667788}}) {
    make_same_filled(page, value);
    ASSERT_TRUE(repeats_one_word(page.bytes, word));
    ASSERT_EQ(word, value);
    for (size_t bit = 0; bit < kPageSize * 8; ++bit) {
      page.bytes[bit / 8] = static_cast<char>(page.bytes[bit / 8] ^ 1 << bit % 8);
      ASSERT_FALSE(repeats_one_word(page.bytes, word)) << bit;
      page.bytes[bit / 8] = static_cast<char>(page.bytes[bit / 8] ^ 1 << bit % 8);
    }
  }
  Page filled;
  fill_page(filled.bytes, 0x1122334455667788);
  EXPECT_EQ(filled, page);
}

TEST(ZswapChecksum, EveryChangedBitIsFound) {
  Page page;
  for (size_t bytes : {1, 7, 8, 9, 31, 32, 33, 100, 1000, 3628}) {
    make_noise(page, bytes, kPageSize);
    const uint32_t sum = checksum(page.bytes, bytes);
    for (size_t bit = 0; bit < bytes * 8; ++bit) {
      page.bytes[bit / 8] = static_cast<char>(page.bytes[bit / 8] ^ 1 << bit % 8);
      ASSERT_NE(checksum(page.bytes, bytes), sum) << bytes << " bytes, bit " << bit;
      page.bytes[bit / 8] = static_cast<char>(page.bytes[bit / 8] ^ 1 << bit % 8);
    }
    ASSERT_EQ(checksum(page.bytes, bytes), sum);
  }
}

TEST(ZswapChecksum, LengthAndOrderCount) {
  Page page;
  memset(page.bytes, 0, kPageSize);
  for (size_t bytes = 1; bytes < 200; ++bytes)
    EXPECT_NE(checksum(page.bytes, bytes), checksum(page.bytes, bytes + 1)) << bytes;
  make_noise(page, 1, kPageSize);
  const uint32_t sum = checksum(page.bytes, 2000);
  for (size_t at = 0; at + 8 < 2000; at += 8) {
    uint64_t a, b;
    memcpy(&a, page.bytes + at, 8);
    memcpy(&b, page.bytes + at + 8, 8);
    put_word(page, at, b);
    put_word(page, at + 8, a);
    ASSERT_NE(checksum(page.bytes, 2000), sum) << at;
    put_word(page, at, a);
    put_word(page, at + 8, b);
  }
}

}  // namespace
}  // namespace weir::zswap
