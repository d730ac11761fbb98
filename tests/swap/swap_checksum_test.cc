// swap_checksum_test.cc: that damage of any usual kind changes the checksum.
#include "swap/swap_checksum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>

#include "base/units.h"
#include "support/random.h"

namespace weir {
namespace {

using Page = std::array<unsigned char, kPageSize>;

Page random_page(uint64_t seed) {
  Random random(seed);
  Page page;
  for (size_t i = 0; i < kPageSize; i += 8) {
    const uint64_t word = random.next();
    memcpy(&page[i], &word, 8);
  }
  return page;
}

TEST(SwapChecksum, EverySingleBitCounts) {
  for (Page page : {random_page(1), Page{}}) {
    const uint32_t sum = page_checksum(page.data());
    std::unordered_set<uint32_t> sums;
    for (size_t bit = 0; bit < kPageSize * 8; ++bit) {
      page[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
      const uint32_t changed = page_checksum(page.data());
      ASSERT_NE(changed, sum) << "bit " << bit;
      sums.insert(changed);
      page[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
    }
    // 32768 sums out of 2^32: chance makes 0.1 pairs alike.
    EXPECT_GE(sums.size(), kPageSize * 8 - 3);
    EXPECT_EQ(page_checksum(page.data()), sum);
  }
}

TEST(SwapChecksum, SwappedLostAndRepeatedSectors) {
  const Page page = random_page(2);
  const uint32_t sum = page_checksum(page.data());
  for (size_t unit : {8, 64, 512, 1024}) {
    for (size_t a = 0; a < kPageSize; a += unit) {
      Page lost = page;
      std::fill_n(lost.begin() + static_cast<ptrdiff_t>(a), unit, 0);
      ASSERT_NE(page_checksum(lost.data()), sum);
      const size_t b = (a + unit) % kPageSize;
      Page repeated = page;
      memcpy(&repeated[a], &page[b], unit);
      ASSERT_NE(page_checksum(repeated.data()), sum);
      memcpy(&repeated[b], &page[a], unit);
      ASSERT_NE(page_checksum(repeated.data()), sum);
    }
  }
}

TEST(SwapChecksum, PagesThatAreMostlyAlike) {
  // A counter in one word, and one byte over and over: what heaps hold.
  std::unordered_set<uint32_t> sums;
  Page page{};
  for (uint64_t i = 0; i < 50000; ++i) {
    memcpy(&page[(i % 512) * 8], &i, 8);
    sums.insert(page_checksum(page.data()));
  }
  EXPECT_GE(sums.size(), 50000u - 5);
  sums.clear();
  for (unsigned byte = 0; byte < 256; ++byte) {
    page.fill(static_cast<unsigned char>(byte));
    sums.insert(page_checksum(page.data()));
  }
  EXPECT_EQ(sums.size(), 256u);
}

}  // namespace
}  // namespace weir
