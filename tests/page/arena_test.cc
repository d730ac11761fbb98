// arena_test.cc: address space of nodes, bare and reserved, and the metadata that grows with it.
#include "page/arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "os/vm.h"
#include "support/pattern.h"
#include "support/private_zone.h"

namespace weir {
namespace {

constexpr Pages kCapacity(64 * kMaxOrderPages);  // 256 MiB
constexpr size_t kMaxBlockBytes = kMaxOrderPages * kPageSize;

// True when not even an inaccessible mapping covers the page.
bool is_unmapped(const void* page) {
  unsigned char vec;
  return mincore(const_cast<void*>(page), kPageSize, &vec) != 0;
}

class ArenaTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && kTsan) GTEST_SKIP() << "the sanitizer has no shadow for bare space";
  }
};
using ArenaDeathTest = ArenaTest;

TEST_P(ArenaTest, PlacesLieSideBySide) {
  const PrivateSpace space(3, kCapacity, GetParam());
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(space[i].memory, space[0].memory + i * bytes_of(kCapacity)) << "an address names its node by division";
    EXPECT_EQ(reinterpret_cast<uintptr_t>(space[i].memory) % kMaxBlockBytes, 0u);
    EXPECT_EQ(space[i].capacity, kCapacity);
    EXPECT_EQ(space[i].bare, GetParam());
    EXPECT_LE(space[i].metadata + arena_metadata_span(kCapacity), space[0].memory)
        << "metadata lies outside the arenas";
    EXPECT_EQ(space[i].metadata, space[0].metadata + i * arena_metadata_span(kCapacity));
    EXPECT_EQ(is_unmapped(space[i].memory), GetParam());
    EXPECT_EQ(is_unmapped(space[i].metadata), GetParam());
  }
}

TEST_P(ArenaDeathTest, GrowsByWhatItIsTold) {
  const PrivateSpace space(1, kCapacity, GetParam());
  Arena arena;
  ASSERT_TRUE(arena.init(space[0], {128, 512}, -1));
  EXPECT_EQ(arena.accessible(), Pages(0));
  ASSERT_TRUE(arena.grow_to(Pages(16)));
  EXPECT_EQ(arena.accessible(), Pages(16));
  write_pattern(arena.memory(), 16 * kPageSize, 1);
  EXPECT_DEATH(*static_cast<volatile char*>(arena.memory() + 16 * kPageSize) = 1, "");
  ASSERT_TRUE(arena.grow_to(Pages(3 * kMaxOrderPages)));
  EXPECT_TRUE(check_pattern(arena.memory(), 16 * kPageSize, 16 * kPageSize, 1)) << "what was there stays";
  arena.memory()[3 * kMaxBlockBytes - 1] = 1;
  ASSERT_TRUE(arena.grow_to(kCapacity));
  arena.memory()[bytes_of(kCapacity) - 1] = 1;
  EXPECT_FALSE(arena.grow_to(kCapacity + Pages(1)));
  EXPECT_EQ(arena.accessible(), kCapacity);
}

// At every size, all metadata of all pages is writable and its arrays do not overlap.
TEST_P(ArenaTest, MetadataCoversThePages) {
  const PrivateSpace space(1, kCapacity, GetParam());
  Arena arena;
  const MetadataStrides strides{128, 512};
  ASSERT_TRUE(arena.init(space[0], strides, -1));
  for (const uint64_t pages :
       {uint64_t{16}, uint64_t{256}, uint64_t{kMaxOrderPages}, 5 * kMaxOrderPages + 16, kCapacity.v}) {
    ASSERT_TRUE(arena.grow_to(Pages(pages)));
    const uint64_t units = (pages + kUnitPages - 1) / kUnitPages;
    const struct {
      void* base;
      size_t bytes;
    } arrays[] = {{arena.pages(), pages * sizeof(PageDesc)},
                  {arena.residency(), units * kUnitPages / 8},
                  {arena.extra_metadata(0), units * strides.first},
                  {arena.extra_metadata(1), units * strides.second},
                  {arena.free_max_blocks(), kCapacity.v / kMaxOrderPages / 8},
                  {arena.pageblock_types(), kCapacity.v / kPageblockPages}};
    for (uint64_t i = 0; i < std::size(arrays); ++i) write_pattern(arrays[i].base, arrays[i].bytes, pages + i);
    for (uint64_t i = 0; i < std::size(arrays); ++i)
      EXPECT_TRUE(check_pattern(arrays[i].base, arrays[i].bytes, arrays[i].bytes, pages + i)) << "array " << i;
    EXPECT_GE(static_cast<char*>(arrays[0].base), space[0].metadata);
    EXPECT_GE(arena.metadata_bytes(), arrays[0].bytes + arrays[1].bytes + arrays[2].bytes + arrays[3].bytes);
  }
  EXPECT_LE(arena.metadata_bytes(), arena_metadata_span(kCapacity));
}

TEST_P(ArenaTest, RenewGivesZeroPagesAtTheSamePlace) {
  const PrivateSpace space(1, kCapacity, GetParam());
  Arena arena;
  ASSERT_TRUE(arena.init(space[0], {}, 0));
  ASSERT_TRUE(arena.grow_to(Pages(256)));
  write_pattern(arena.memory(), 256 * kPageSize, 1);
  ASSERT_TRUE(arena.renew(8, Pages(16)));
  EXPECT_TRUE(is_zero(arena.memory() + 8 * kPageSize, 16 * kPageSize));
  EXPECT_TRUE(check_pattern(arena.memory(), 8 * kPageSize, 256 * kPageSize, 1));
  arena.memory()[8 * kPageSize] = 1;
}

TEST_P(ArenaTest, DroppedMetadataReadsAsZeros) {
  const PrivateSpace space(1, kCapacity, GetParam());
  Arena arena;
  // 64 units of 64 KiB in a largest block: 128 bytes each are two pages, 100 bytes are no whole number of pages.
  ASSERT_TRUE(arena.init(space[0], {128, 100}, -1));
  ASSERT_TRUE(arena.grow_to(Pages(4 * kMaxOrderPages)));
  write_pattern(arena.extra_metadata(0), 256 * 128, 1);
  write_pattern(arena.extra_metadata(1), 256 * 100, 2);
  arena.drop_extra_metadata(kMaxOrderPages);
  EXPECT_TRUE(is_zero(arena.extra_metadata(0) + 64 * 128, 64 * 128));
  EXPECT_TRUE(check_pattern(arena.extra_metadata(0), 64 * 128, 256 * 128, 1)) << "the block before is untouched";
  EXPECT_TRUE(check_pattern(arena.extra_metadata(1), 256 * 100, 256 * 100, 2)) << "not in whole pages: left alone";
}

TEST_P(ArenaTest, UnmapsItsOwnAndNothingElse) {
  const PrivateSpace space(1, kCapacity, GetParam());
  Arena arena;
  ASSERT_TRUE(arena.init(space[0], {128, 512}, -1));
  ASSERT_TRUE(arena.grow_to(Pages(kMaxOrderPages)));
  char* behind = arena.memory() + 3 * kMaxBlockBytes;
  if (GetParam()) {
    ASSERT_TRUE(os::vm_map_new(behind, kPageSize));
    *behind = 'x';
  }
  char* const memory = arena.memory();
  arena.unmap();
  if (GetParam()) {
    EXPECT_EQ(*behind, 'x') << "somebody else's";
    EXPECT_TRUE(is_unmapped(memory));
    EXPECT_TRUE(is_unmapped(memory + kMaxBlockBytes - kPageSize));
    EXPECT_TRUE(is_unmapped(space[0].metadata));
    // The place can be had again.
    Arena again;
    ASSERT_TRUE(again.init(space[0], {128, 512}, -1));
    EXPECT_TRUE(again.grow_to(Pages(kMaxOrderPages)));
    EXPECT_TRUE(is_zero(memory, kPageSize));
  }
}

INSTANTIATE_TEST_SUITE_P(Space, ArenaTest, testing::Bool(),
                         [](const auto& p) { return p.param ? "Bare" : "Reserved"; });
INSTANTIATE_TEST_SUITE_P(Space, ArenaDeathTest, testing::Bool(),
                         [](const auto& p) { return p.param ? "Bare" : "Reserved"; });

TEST(Arena, TheMetadataSpanSufficesForTheStridesInUse) {
  for (const uint64_t blocks : {1, 7, 256, 1 << 18, 1 << 22}) {
    const Pages capacity(blocks * kMaxOrderPages);
    ArenaPlace places[1];
    if (kTsan && blocks > 256) continue;
    ASSERT_TRUE(place_arenas(1, capacity, false, 0, places)) << blocks;
    Arena arena;
    EXPECT_TRUE(arena.init(places[0], {4 * 32, 4 * 128}, -1)) << "WEIR_CHECK would have ended the process";
    release_arenas(1, places[0]);
  }
}

TEST(Arena, BarePlacesDependOnTheRandomNumber) {
  ArenaPlace one[1], other[1];
  ASSERT_TRUE(place_arenas(1, kCapacity, true, 1, one));
  ASSERT_TRUE(place_arenas(1, kCapacity, true, 12345, other));
  EXPECT_NE(one[0].memory, other[0].memory);
  for (const uint64_t random : {uint64_t{0}, ~uint64_t{0}}) {
    ASSERT_TRUE(place_arenas(1, kCapacity, true, random, one));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(one[0].memory) >> 47, 0u) << "user space ends there";
  }
  EXPECT_FALSE(place_arenas(64, Pages(uint64_t{1} << 32), true, 0, one)) << "64 times 16 TiB is more than there is";
}

// Something that lies there already is never replaced.
TEST(Arena, BareSpaceThatIsTakenIsLeftAlone) {
  if (kTsan) GTEST_SKIP() << "the sanitizer has no shadow for bare space";
  const PrivateSpace space(1, kCapacity, true, 99);
  ASSERT_TRUE(os::vm_map_new(space[0].memory + 8 * kPageSize, kPageSize));
  space[0].memory[8 * kPageSize] = 'x';
  Arena arena;
  ASSERT_TRUE(arena.init(space[0], {}, -1));
  EXPECT_FALSE(arena.grow_to(Pages(16)));
  EXPECT_EQ(arena.accessible(), Pages(0));
  EXPECT_EQ(space[0].memory[8 * kPageSize], 'x');
  EXPECT_TRUE(arena.grow_to(Pages(8))) << "up to there, it works";
}

}  // namespace
}  // namespace weir
