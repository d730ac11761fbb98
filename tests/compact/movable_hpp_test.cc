// movable_hpp_test.cc: the classes of movable.hpp.
#include "weir/movable.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace {

struct Pixel {
  uint8_t red, green, blue;
};

TEST(MovableHpp, AnArrayIsZerosAndKeepsWhatIsWritten) {
  weir::MovableArray<Pixel> image(5000);
  EXPECT_EQ(image.size(), 5000u);
  EXPECT_EQ(weir_movable_size(image.handle()), 15000u);
  {
    const weir::Pin<Pixel> pixels = image.pin();
    EXPECT_EQ(pixels[4999].green, 0);
    pixels[4999].green = 7;
    pixels->red = 8;
    EXPECT_EQ((*pixels).red, 8);
  }
  const auto& unchanged = image;
  const weir::Pin<const Pixel> pixels = unchanged.pin();
  EXPECT_EQ(pixels[4999].green, 7);
  EXPECT_EQ(pixels.get(), &*pixels);
}

TEST(MovableHpp, WhatIsPinnedStaysAndTheOthersMove) {
  std::vector<weir::MovableArray<uint64_t>> arrays;
  for (uint64_t i = 0; i < 400; ++i) {
    arrays.emplace_back(4096);
    const auto numbers = arrays.back().pin();
    for (size_t at = 0; at < arrays.back().size(); ++at) numbers[at] = i << 32 | at;
  }
  for (size_t i = 0; i + 1 < arrays.size(); ++i) arrays.erase(arrays.begin() + static_cast<ptrdiff_t>(i));
  const auto pinned = arrays.back().pin();
  const uint64_t* const before = pinned.get();
  EXPECT_GT(weir_movable_compact(), 0u);
  EXPECT_EQ(arrays.back().pin().get(), before);
  for (const auto& array : arrays) {
    const auto numbers = array.pin();
    for (size_t at = 0; at < array.size(); ++at) ASSERT_EQ(numbers[at], numbers[0] + at);
  }
}

TEST(MovableHpp, OwnersMove) {
  weir::MovableArray<int> first(10), second(20);
  const weir_movable_t handle = second.handle();
  first = std::move(second);
  EXPECT_EQ(first.handle(), handle);
  EXPECT_EQ(first.size(), 20u);
  weir::MovableArray<int> third(std::move(first));
  EXPECT_EQ(third.handle(), handle);
  auto pin = third.pin();
  const auto moved = std::move(pin);
  moved[19] = 1;
}

TEST(MovableHpp, WhatCannotBeHadThrows) {
  EXPECT_THROW(weir::MovableArray<uint64_t>(SIZE_MAX / 4), std::bad_alloc);
  EXPECT_THROW(weir::MovableArray<uint64_t>(SIZE_MAX / 8), std::bad_alloc);
}

}  // namespace
