// address_map_test.cc: from addresses to size classes.
#include "malloc/address_map.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "support/sanitizer.h"

namespace weir {
namespace {

// The map never touches what it maps, so any address does.
char* base() {
  return reinterpret_cast<char*>(uintptr_t{0x2345} << 32);
}

TEST(AddressMap, StartsWithoutSlabs) {
  AddressMap map;
  ASSERT_TRUE(map.init(base(), size_t{1} << 30));
  EXPECT_EQ(map.covered(), size_t{1} << 30);
  for (size_t offset = 0; offset < map.covered(); offset += kSlabUnitSize) ASSERT_EQ(map.class_at(offset), 0u);
  EXPECT_EQ(map.class_at(map.covered() - 1), 0u);
  map.destroy();
}

TEST(AddressMap, OffsetsOfForeignPointersAreNotCovered) {
  AddressMap map;
  ASSERT_TRUE(map.init(base(), size_t{1} << 30));
  int local = 0;
  EXPECT_EQ(map.offset_of(base()), 0u);
  EXPECT_LT(map.offset_of(base() + (size_t{1} << 30) - 1), map.covered());
  EXPECT_GE(map.offset_of(base() + (size_t{1} << 30)), map.covered());
  EXPECT_GE(map.offset_of(base() - 1), map.covered());
  EXPECT_GE(map.offset_of(nullptr), map.covered());
  EXPECT_GE(map.offset_of(&local), map.covered());
  map.destroy();
}

// Over the edges of the map's own pages, each of which covers 64 MiB of arena.
TEST(AddressMap, SetsWholeSlabsAndNothingElse) {
  AddressMap map;
  ASSERT_TRUE(map.init(base(), size_t{1} << 30));
  const size_t map_page = kSlabUnitSize * kPageSize;
  for (const size_t at : {size_t{0}, map_page - 4 * kSlabUnitSize, map_page, 5 * map_page}) {
    ASSERT_TRUE(map.set(base() + at, 4, 17));
    for (size_t offset = at; offset < at + 4 * kSlabUnitSize; offset += 1000) ASSERT_EQ(map.class_at(offset), 17u);
    EXPECT_TRUE(at == 0 || at == map_page || map.class_at(at - 1) == 0) << "the unit before is another slab's";
  }
  EXPECT_EQ(map.class_at(map_page + 4 * kSlabUnitSize), 0u);
  ASSERT_TRUE(map.set(base(), 4, 0));
  EXPECT_EQ(map.class_at(0), 0u);
  EXPECT_EQ(map.class_at(map_page - 1), 17u);
  map.destroy();
}

TEST(AddressMap, SetsFromManyThreads) {
  AddressMap map;
  constexpr size_t kBytes = size_t{1} << 30;
  ASSERT_TRUE(map.init(base(), kBytes));
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t unit = t; unit < kBytes >> kSlabUnitShift; unit += 4)
        EXPECT_TRUE(map.set(base() + (unit << kSlabUnitShift), 1, t + 1));
    });
  }
  for (std::thread& t : threads) t.join();
  for (size_t unit = 0; unit < kBytes >> kSlabUnitShift; ++unit)
    ASSERT_EQ(map.class_at(unit << kSlabUnitShift), unit % 4 + 1);
  map.destroy();
}

}  // namespace
}  // namespace weir
