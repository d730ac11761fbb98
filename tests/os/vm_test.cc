// vm_test.cc: address space and memory from the system.
#include "os/vm.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <cstring>

#include "support/memory_lock.h"
#include "support/pattern.h"
#include "support/sanitizer.h"

namespace weir::os {
namespace {

constexpr size_t kBytes = 16 * kPageSize;

class VmTest : public testing::Test {
 protected:
  VmTest() { errno = kErrno; }
  ~VmTest() override { EXPECT_EQ(errno, kErrno) << "errno was touched"; }
  static constexpr int kErrno = 4711;
};
using VmDeathTest = VmTest;

// An address that nothing is mapped at.
char* free_address(size_t bytes) {
  void* p = vm_reserve(bytes);
  vm_unmap(p, bytes);
  return static_cast<char*>(p);
}

TEST_F(VmDeathTest, ReservedSpaceIsInaccessibleUntilCommitted) {
  volatile char* p = static_cast<char*>(vm_reserve(kBytes));
  ASSERT_NE(p, nullptr);
  EXPECT_DEATH(p[0] = 1, "");
  ASSERT_TRUE(vm_commit(const_cast<char*>(p), kPageSize));
  p[0] = 1;
  EXPECT_DEATH(p[kPageSize] = 1, "");
  ASSERT_TRUE(vm_protect_none(const_cast<char*>(p), kPageSize));
  EXPECT_DEATH(p[0] = 1, "");
  vm_unmap(const_cast<char*>(p), kBytes);
}

TEST_F(VmTest, ReservesWhereWishedUnlessSomethingIsThere) {
  char* wish = free_address(kBytes);
  EXPECT_EQ(vm_reserve(kBytes, wish), wish);
  void* other = vm_reserve(kBytes, wish);
  ASSERT_NE(other, nullptr);
  EXPECT_NE(other, wish);
  vm_unmap(wish, kBytes);
  vm_unmap(other, kBytes);
}

TEST_F(VmTest, ImpossibleSizesFail) {
  EXPECT_EQ(vm_reserve(SIZE_MAX & ~(kPageSize - 1)), nullptr);
  EXPECT_EQ(vm_map(size_t{1} << 62), nullptr);
  EXPECT_EQ(vm_map_readonly(size_t{1} << 62), nullptr);
  EXPECT_FALSE(vm_commit(free_address(kBytes), kBytes)) << "nothing is mapped there";
  EXPECT_FALSE(vm_protect_none(free_address(kBytes), kBytes));
}

TEST_F(VmTest, MapNewReplacesNothing) {
  char* p = free_address(kBytes);
  ASSERT_TRUE(vm_map_new(p, kBytes));
  EXPECT_TRUE(is_zero(p, kBytes));
  write_pattern(p, kBytes, 1);
  EXPECT_FALSE(vm_map_new(p, kBytes));
  EXPECT_FALSE(vm_map_new(p - kPageSize, 2 * kPageSize)) << "an overlap of one page is enough";
  EXPECT_TRUE(check_pattern(p, kBytes, kBytes, 1));
  vm_unmap(p, kBytes);
}

TEST_F(VmDeathTest, ReadonlyMapsBecomeWritableByPage) {
  volatile char* p = static_cast<char*>(vm_map_readonly(kBytes));
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(p[kBytes - 1], 0);
  EXPECT_DEATH(p[0] = 1, "");
  ASSERT_TRUE(vm_commit(const_cast<char*>(p) + kPageSize, kPageSize));
  p[kPageSize] = 1;
  vm_unmap(const_cast<char*>(p), kBytes);
}

TEST_F(VmTest, PurgeDropsContentAndMemory) {
  char* p = static_cast<char*>(vm_map(kBytes));
  ASSERT_NE(p, nullptr);
  vm_huge_pages(p, kBytes, false);
  EXPECT_EQ(vm_resident(p, kBytes), Pages(0));
  write_pattern(p, kBytes, 2);
  EXPECT_EQ(vm_resident(p, kBytes), Pages(16));
  ASSERT_TRUE(vm_purge(p + 4 * kPageSize, 8 * kPageSize));
  EXPECT_EQ(vm_resident(p, kBytes), Pages(8));
  EXPECT_TRUE(is_zero(p + 4 * kPageSize, 8 * kPageSize));
  EXPECT_TRUE(check_pattern(p, 4 * kPageSize, kBytes, 2));
  vm_unmap(p, kBytes);
}

TEST_F(VmTest, PurgeOfLockedPagesIsRefused) {
  char* p = static_cast<char*>(vm_map(kBytes));
  if (!lock_memory(p, kPageSize)) {
    errno = kErrno;
    GTEST_SKIP() << "memory cannot be locked here";
  }
  p[0] = 1;
  EXPECT_FALSE(vm_purge(p, kBytes));
  EXPECT_EQ(p[0], 1);
  EXPECT_TRUE(unlock_memory(p, kPageSize));
  EXPECT_TRUE(vm_purge(p, kBytes));
  vm_unmap(p, kBytes);
}

TEST_F(VmTest, ResidentCountsOverMoreThanOnePageblock) {
  constexpr size_t kLong = 3 * kPageblockPages * kPageSize + 5 * kPageSize;
  char* p = static_cast<char*>(vm_map(kLong));
  vm_huge_pages(p, kLong, false);
  for (size_t at = 0; at < kLong; at += 7 * kPageSize) p[at] = 1;
  EXPECT_EQ(vm_resident(p, kLong).v, (kLong / kPageSize + 6) / 7);
  vm_unmap(p, kLong);
}

TEST_F(VmTest, UnshareBacksAllPages) {
  char* p = static_cast<char*>(vm_map(kBytes));
  const bool offered = vm_unshare(p, kBytes);
  EXPECT_EQ(vm_resident(p, kBytes).v, offered ? 16u : 0u) << "Linux 5.14 and later";
  EXPECT_TRUE(is_zero(p, kBytes));
  vm_unmap(p, kBytes);
}

TEST_F(VmTest, ResidentMaskNamesEachPage) {
  char* p = static_cast<char*>(vm_map(kBytes));
  vm_huge_pages(p, kBytes, false);
  EXPECT_EQ(vm_resident_mask(p, 16), 0u);
  p[0] = p[3 * kPageSize] = p[15 * kPageSize] = 1;
  EXPECT_EQ(vm_resident_mask(p, 16), 0x8009u);
  EXPECT_EQ(vm_resident_mask(p, 3), 1u);
  vm_unmap(p, kBytes);
}

TEST_F(VmTest, MoveTakesThePagesAlong) {
  if (kTsan) GTEST_SKIP() << "the sanitizer's shadow does not move along";
  char* from = static_cast<char*>(vm_map(kBytes));
  char* to = static_cast<char*>(vm_map(2 * kBytes));
  ASSERT_TRUE(from != nullptr && to != nullptr);
  write_pattern(from, kBytes, 3);
  memset(to, 'x', 2 * kBytes);
  ASSERT_EQ(vm_move(from, to, kBytes), VmMove::kMoved);
  EXPECT_TRUE(check_pattern(to, kBytes, kBytes, 3));
  EXPECT_EQ(to[kBytes], 'x') << "behind the target nothing changes";
  EXPECT_TRUE(vm_map_new(from, kBytes)) << "nothing is mapped at the source";
  EXPECT_TRUE(is_zero(from, kBytes));
  vm_unmap(from, kBytes);
  ASSERT_TRUE(vm_renew(to, 2 * kBytes));
  EXPECT_EQ(vm_resident(to, 2 * kBytes), Pages(0));
  EXPECT_TRUE(is_zero(to, 2 * kBytes));
  vm_unmap(to, 2 * kBytes);
}

TEST_F(VmTest, AFailedMoveKeepsTheSource) {
  char* from = static_cast<char*>(vm_map(kBytes));
  write_pattern(from, kBytes, 4);
  EXPECT_EQ(vm_move(from, from + kPageSize, kBytes), VmMove::kFailed) << "source and target overlap";
  EXPECT_TRUE(check_pattern(from, kBytes, kBytes, 4));
  vm_unmap(from, kBytes);
}

TEST_F(VmTest, ASourceOfTwoMappingsMovesOrIsToldApart) {
  if (kTsan) GTEST_SKIP() << "the sanitizer's shadow does not move along";
  char* from = static_cast<char*>(vm_map(kBytes));
  char* to = static_cast<char*>(vm_map(kBytes));
  write_pattern(from, kBytes, 5);
  vm_huge_pages(from, kBytes / 2, false);  // another flag makes another mapping
  const VmMove result = vm_move(from, to, kBytes);
  // Linux moves several mappings at once from 6.17 on.
  EXPECT_TRUE(result == VmMove::kMoved || result == VmMove::kSplit);
  EXPECT_TRUE(check_pattern(result == VmMove::kMoved ? to : from, kBytes, kBytes, 5));
  vm_unmap(from, kBytes);
  vm_unmap(to, kBytes);
}

TEST_F(VmTest, BindingIsBestEffort) {
  char* p = static_cast<char*>(vm_map(kBytes));
  vm_bind(p, kBytes, 0);
  vm_bind(p, kBytes, 1023);
  vm_bind(p, kBytes, 5000);
  write_pattern(p, kBytes, 5);
  EXPECT_TRUE(check_pattern(p, kBytes, kBytes, 5));
  vm_unmap(p, kBytes);
}

TEST_F(VmTest, ManyRangesArePurgedUpToOneThatIsRefused) {
  constexpr unsigned kRanges = 4;
  constexpr size_t kStep = 4 * kPageSize;
  char* p = static_cast<char*>(vm_map(kRanges * kStep));
  const auto purge = [&](unsigned count) {
    VmRange ranges[kRanges];
    for (unsigned i = 0; i < kRanges; ++i) ranges[i] = {p + i * kStep, 2 * kPageSize};
    return vm_purge_many(ranges, count);
  };
  const auto is_purged = [&](unsigned i) {
    return vm_resident(p + i * kStep, 2 * kPageSize) == Pages(0) && vm_resident(p + i * kStep, kStep) == Pages(2);
  };
  for (const unsigned count : {0u, 1u, 3u, 4u}) {
    write_pattern(p, kRanges * kStep, 6);
    EXPECT_EQ(purge(count), count);
    for (unsigned i = 0; i < kRanges; ++i) EXPECT_EQ(is_purged(i), i < count) << i;
  }
  write_pattern(p, kRanges * kStep, 7);
  if (!lock_memory(p + 2 * kStep, kPageSize)) GTEST_SKIP() << "no memory may be locked";
  EXPECT_EQ(purge(kRanges), 2u);
  EXPECT_TRUE(is_purged(0) && is_purged(1));
  EXPECT_TRUE(check_pattern(p + 2 * kStep, 2 * kStep, 2 * kStep, 7) || vm_resident(p + 2 * kStep, kStep) == Pages(4));
  vm_unmap(p, kRanges * kStep);
}

}  // namespace
}  // namespace weir::os
