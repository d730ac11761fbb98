// units_test.cc: conversions between bytes, pages and orders, and that units do not mix.
#include "base/units.h"

#include <gtest/gtest.h>

#include <type_traits>

namespace weir {
namespace {

TEST(Units, PagesOfBytesRoundUp) {
  EXPECT_EQ(pages_of(size_t{0}).v, 0u);
  EXPECT_EQ(pages_of(size_t{1}).v, 1u);
  EXPECT_EQ(pages_of(kPageSize).v, 1u);
  EXPECT_EQ(pages_of(kPageSize + 1).v, 2u);
  // Near the top, where adding before dividing would overflow.
  EXPECT_EQ(pages_of(SIZE_MAX).v, (SIZE_MAX >> kPageShift) + 1);
}

TEST(Units, PagesOfOrdersDouble) {
  for (uint8_t o = 0; o <= kMaxOrder; ++o) EXPECT_EQ(pages_of(Order(o)).v, uint64_t{1} << o);
  EXPECT_EQ(bytes_of(pages_of(Order(kMaxOrder))), size_t{4} << 20);
  EXPECT_EQ(bytes_of(pages_of(Order(kPageblockOrder))), size_t{2} << 20);
  EXPECT_EQ(bytes_of(Pages(3)), 3 * kPageSize);
}

TEST(Units, Arithmetic) {
  Pages p(5);
  p += Pages(3);
  EXPECT_EQ(p, Pages(8));
  p -= Pages(1);
  EXPECT_EQ(p + Pages(1), Pages(8));
  EXPECT_EQ(p - Pages(7), Pages(0));
  EXPECT_LT(Pages(6), p);
  EXPECT_NE(Pages(6), p);
}

TEST(Units, DoNotMix) {
  EXPECT_FALSE((std::is_convertible_v<uint64_t, Pages>));
  EXPECT_FALSE((std::is_convertible_v<Order, Pages>));
  EXPECT_FALSE((std::is_constructible_v<Pages, Order>));
  EXPECT_FALSE((std::is_convertible_v<Pages, uint64_t>));
}

TEST(Units, Alignment) {
  EXPECT_EQ(align_up(0, 8), 0u);
  EXPECT_EQ(align_up(1, 8), 8u);
  EXPECT_EQ(align_up(8, 8), 8u);
  EXPECT_EQ(align_down(15, 8), 8u);
  EXPECT_EQ(align_down(16, 8), 16u);
}

TEST(Units, PowersOfTwo) {
  EXPECT_FALSE(is_power_of_two(0));
  for (unsigned i = 0; i < 64; ++i) EXPECT_TRUE(is_power_of_two(size_t{1} << i));
  for (unsigned i = 2; i < 64; ++i) {
    EXPECT_FALSE(is_power_of_two((size_t{1} << i) - 1));
    EXPECT_FALSE(is_power_of_two((size_t{1} << i) + 1));
  }
}

}  // namespace
}  // namespace weir
