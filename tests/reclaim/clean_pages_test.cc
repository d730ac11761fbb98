// clean_pages_test.cc: pages that came back from a swap file and were only read leave without being written again, and
// are what they were, whatever the program does with those beside them.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <bit>

#include "os/proc.h"
#include "support/memory_lock.h"
#include "support/page_content.h"
#include "support/squeeze.h"
#include "support/swap_place.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{16} << 20, kCapacity = size_t{256} << 20;
constexpr size_t kBlock = size_t{2} << 20;
constexpr uint64_t kPages = kBlock >> kPageShift;
constexpr uint64_t kSeed = content_seed(1 << 20, Content::kRandom);

class CleanPagesTest : public testing::Test {
 protected:
  void SetUp() override {
    a_.options().swap.assign(folder_.path());
    a_.options().zswap = false;
    if (const char* why = a_.start(kLimit, kCapacity)) GTEST_SKIP() << why;
    if (a_.reclaimer().swap_problem() != nullptr) GTEST_SKIP() << a_.reclaimer().swap_problem();
    block_ = static_cast<char*>(a_->malloc(nullptr, kBlock));
    ASSERT_NE(block_, nullptr);
    write_content(block_, kBlock, kSeed);
  }
  void expect_content() { ASSERT_TRUE(check_content_at(block_, 0, kBlock, kSeed)); }
  [[nodiscard]] bool swap_out(uint64_t pages) {
    return squeeze(a_, Pages(1), [&] { return a_.node().swapped_pages() >= pages; });
  }
  uint64_t clean_pages() {
    uint64_t pages = 0;
    const Pfn first = a_.zone().pfn_of(block_);
    for_clusters(first, Pages(kPages), [&](ClusterId c, uint64_t here) {
      pages += static_cast<uint64_t>(std::popcount(a_.node().clean(c) & here));
    });
    return pages;
  }

  SwapFolder folder_;
  LimitedAllocator a_;
  char* block_ = nullptr;
};

TEST_F(CleanPagesTest, LeaveWithoutBeingWritten) {
  ASSERT_TRUE(swap_out(kPages));
  expect_content();
  EXPECT_GT(clean_pages(), kPages / 2);
  const uint64_t written = settled_stats(a_).pswpout;
  const uint64_t clean = clean_pages();
  ASSERT_TRUE(swap_out(kPages));
  EXPECT_LE(settled_stats(a_).pswpout - written, kPages - clean);
  expect_content();
  EXPECT_STREQ(find_fault(a_), nullptr);
}

// The kernel drops what lies before locked pages, and then says that it could not.
TEST_F(CleanPagesTest, AreNotLostBesideLockedOnes) {
  constexpr uint64_t kEvery = 16, kLocked = 4;
  ASSERT_TRUE(swap_out(kPages));
  // They stay as clean as they are: nothing is touched by locking them.
  for (uint64_t n = kEvery - kLocked; n < kPages; n += kEvery)
    if (os::vm_lock(block_ + n * kPageSize, kLocked * kPageSize, MLOCK_ONFAULT) != 0)
      GTEST_SKIP() << "so much memory cannot be locked";
  for (unsigned round = 0; round < 3; ++round) {
    expect_content();
    EXPECT_GT(clean_pages(), kPages / 2) << round;
    EXPECT_TRUE(swap_out(kPages - kPages / kEvery * kLocked)) << round;
    expect_content();
    EXPECT_STREQ(find_fault(a_), nullptr) << round;
  }
  for (uint64_t n = kEvery - kLocked; n < kPages; n += kEvery)
    ASSERT_TRUE(unlock_memory(block_ + n * kPageSize, kLocked * kPageSize));
  ASSERT_TRUE(swap_out(kPages));
  expect_content();
}

}  // namespace
}  // namespace weir
