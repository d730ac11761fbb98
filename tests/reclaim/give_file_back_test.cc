// give_file_back_test.cc: a swap file that holds less than it did gives its space back, and works on.
#include <gtest/gtest.h>

#include <vector>

#include "support/page_content.h"
#include "support/squeeze.h"
#include "support/swap_place.h"

namespace weir {
namespace {

constexpr size_t kMega = size_t{1} << 20;
constexpr size_t kLimit = 16 * kMega, kCapacity = 256 * kMega;
constexpr uint64_t kKept = 16 * kMega;

class GiveFileBack : public testing::Test {
 protected:
  void SetUp() override {
    a_.options().swap.assign(folder_.path());
    a_.options().zswap = false;
    a_.options().decay_ms = 100;
    if (const char* why = a_.start(kLimit, kCapacity)) GTEST_SKIP() << why;
    if (a_.reclaimer().swap_problem() != nullptr) GTEST_SKIP() << a_.reclaimer().swap_problem();
  }
  void fill(unsigned megabytes) {
    for (; megabytes != 0; --megabytes) {
      auto* p = static_cast<char*>(a_->malloc(nullptr, kMega));
      ASSERT_NE(p, nullptr);
      blocks_.push_back(p);
      write_content(p, kMega, content_seed(blocks_.size() << 8, Content::kRandom));
    }
  }
  void release(size_t keep) {
    for (; blocks_.size() > keep; blocks_.pop_back())
      ASSERT_EQ(a_->free(nullptr, blocks_.back()).misuse, Misuse::kNone);
  }
  void expect_content() {
    for (size_t i = 0; i < blocks_.size(); ++i)
      ASSERT_TRUE(check_content_at(blocks_[i], 0, kMega, content_seed((i + 1) << 8, Content::kRandom))) << i;
  }
  SwapFileStats file() { return a_.node().files().writer()->stats(); }
  // Free slots whose space is still the file's.
  uint64_t kept() { return file().slots.written_free << kPageShift; }

  SwapFolder folder_;
  LimitedAllocator a_;
  std::vector<char*> blocks_;
};

TEST_F(GiveFileBack, WhatIsNotNeededAnyMore) {
  for (int round = 0; round < 3; ++round) {
    fill(70);
    EXPECT_GT(file().slots.used << kPageShift, 2 * kKept);
    const uint64_t before = file().given_back;
    release(10);
    ASSERT_TRUE(wait_until([&] { return kept() <= kKept; })) << kept();
    EXPECT_GT(file().given_back, before);
    expect_content();
    release(0);
    ASSERT_TRUE(wait_until([&] { return kept() == 0; })) << "nothing is in use, and nothing kept";
    EXPECT_STREQ(find_fault(a_), nullptr);
  }
}

}  // namespace
}  // namespace weir
