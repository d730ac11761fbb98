// without_move_test.cc: reclaim as on kernels that cannot move pages: content survives, also of pages that must not be
// read, and a program that drops its memory meanwhile holds nobody up.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <thread>
#include <vector>

#include "support/page_content.h"
#include "support/squeeze.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{16} << 20;
constexpr size_t kBlock = size_t{1} << 20;
constexpr unsigned kBlocks = 12;

class WithoutMove : public testing::Test {
 protected:
  void SetUp() override {
    a_.options().uffd_move = false;
    if (const char* why = a_.start(kLimit, size_t{256} << 20)) GTEST_SKIP() << why;
    for (unsigned i = 0; i < kBlocks; ++i) {
      blocks_.push_back(static_cast<char*>(a_->malloc(nullptr, kBlock)));
      ASSERT_NE(blocks_.back(), nullptr);
      write(i);
    }
  }
  static uint64_t seed_of(unsigned i) { return content_seed(uint64_t{i + 1} << 20, Content::kCompressible); }
  void write(unsigned i) { write_content(blocks_[i], kBlock, seed_of(i)); }
  bool is_intact(unsigned i) { return check_content_at(blocks_[i], 0, kBlock, seed_of(i)); }
  [[nodiscard]] bool swap_out(uint64_t pages) {
    return squeeze(a_, Pages(1), [&] { return a_.node().swapped_pages() >= pages; });
  }
  void expect_whole() { EXPECT_STREQ(find_fault(a_), nullptr); }

  LimitedAllocator a_;
  std::vector<char*> blocks_;
};

TEST_F(WithoutMove, ContentIsExactAfterEverythingWasSwapped) {
  for (unsigned round = 0; round < 3; ++round) {
    ASSERT_TRUE(swap_out(kBlocks * pages_of(kBlock).v));
    expect_whole();
    for (unsigned i = 0; i < kBlocks; ++i) ASSERT_TRUE(is_intact(i)) << i;
    expect_whole();
    for (unsigned i = round; i < kBlocks; i += 3) write(i);
  }
}

TEST_F(WithoutMove, WhatMustNotBeTouchedKeepsItsContent) {
  char* const first = blocks_[3] + kBlock / 4;
  ASSERT_EQ(mprotect(first, kBlock / 2, PROT_NONE), 0);
  ASSERT_TRUE(swap_out((kBlocks - 1) * pages_of(kBlock).v));
  ASSERT_EQ(mprotect(first, kBlock / 2, PROT_READ | PROT_WRITE), 0);
  for (unsigned i = 0; i < kBlocks; ++i) ASSERT_TRUE(is_intact(i)) << i;
  expect_whole();
}

// It is copied back to where it was, and what compresses leaves.
TEST_F(WithoutMove, WhatDoesNotCompressIsInNobodysWay) {
  constexpr size_t kSmall = size_t{20} << 10;
  const auto small_seed = [](unsigned i) {
    return content_seed(uint64_t{i + 1} << 30, i % 8 == 0 ? Content::kRandom : Content::kCompressible);
  };
  std::vector<char*> small;
  for (unsigned i = 0; i < 2 * kLimit / kSmall; ++i) {
    small.push_back(static_cast<char*>(a_->malloc(nullptr, kSmall)));
    ASSERT_NE(small.back(), nullptr) << i;
    write_content(small.back(), kSmall, small_seed(i));
  }
  for (unsigned i = 0; i < small.size(); ++i) ASSERT_TRUE(check_content_at(small[i], 0, kSmall, small_seed(i))) << i;
  expect_whole();
}

TEST_F(WithoutMove, MemoryThatTheProgramDropsHoldsNobodyUp) {
  std::atomic<bool> stop{false};
  std::thread dropper([&] {
    while (!stop)
      for (size_t at = 0; at < kBlock; at += 4 * kPageSize) madvise(blocks_[0] + at, 2 * kPageSize, MADV_DONTNEED);
  });
  for (unsigned round = 0; round < 30; ++round) {
    for (unsigned i = 0; i < kBlocks; ++i)
      if (i == 0 || i % 4 == round % 4) write(i);
    if (!swap_out(kBlocks / 2 * pages_of(kBlock).v)) ADD_FAILURE() << "round " << round;
    for (unsigned i = 1; i < kBlocks; ++i) EXPECT_TRUE(is_intact(i)) << i;
  }
  stop = true;
  dropper.join();
  write(0);
  EXPECT_TRUE(is_intact(0));
  expect_whole();
}

}  // namespace
}  // namespace weir
