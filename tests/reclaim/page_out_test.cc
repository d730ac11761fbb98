// page_out_test.cc: where the kernel lets nobody see faults, but has swap, it takes cold pages: they are counted out
// and in, come back as they were, and leave nothing behind when they are freed. Needs swap of the system's, and a user
// without rights; else all of these are skipped (vm.kernel_swap has both).
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "os/proc.h"
#include "os/vm.h"
#include "support/page_content.h"
#include "support/private_allocator.h"
#include "support/random.h"
#include "support/squeeze.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{16} << 20;
constexpr size_t kArena = size_t{256} << 20;
constexpr size_t kBlock = size_t{256} << 10;

class PageOutTest : public testing::Test {
 protected:
  void SetUp() override {
    if (a_.start(kLimit, kArena) == nullptr) GTEST_SKIP() << "this user may have a userfaultfd";
    if (a_.reclaimer().mode() != Reclaimer::Mode::kPageout) GTEST_SKIP() << "the system swaps no pages out";
  }
  static uint64_t seed_of(size_t i) { return content_seed((i + 1) << 8, Content::kCompressible); }
  void add(size_t bytes) {
    blocks_.push_back(static_cast<char*>(a_->malloc(nullptr, bytes)));
    ASSERT_NE(blocks_.back(), nullptr) << blocks_.size();
    write_content(blocks_.back(), bytes, seed_of(blocks_.size() - 1));
  }
  void fill(size_t bytes) {
    for (size_t made = 0; made < bytes; made += kBlock) ASSERT_NO_FATAL_FAILURE(add(kBlock));
  }
  void expect_content() {
    for (size_t i = 0; i < blocks_.size(); ++i) EXPECT_TRUE(check_content_at(blocks_[i], 0, kBlock, seed_of(i))) << i;
  }
  void free_all() {
    for (char* p : blocks_) EXPECT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone);
    blocks_.clear();
  }

  LimitedAllocator a_;
  std::vector<char*> blocks_;
};

TEST_F(PageOutTest, PagesLeaveAndComeBack) {
  fill(3 * kLimit);
  EXPECT_GT(a_.node().swapped_pages(), pages_of(3 * kLimit).v / 2);
  EXPECT_LE(a_.zone().total(), a_.zone().managed());
  EXPECT_STREQ(a_.allocator().verify(), nullptr);
  for (unsigned round = 0; round < 3; ++round) expect_content();
  // What came back is seen, and as much leaves again.
  EXPECT_TRUE(wait_until([&] { return a_.reclaimer().stats().pswpin > pages_of(2 * kLimit).v; }));
  const StandStill still(a_.reclaimer());
  const ReclaimStats stats = a_.reclaimer().stats();
  EXPECT_EQ(stats.pswpin, stats.workingset_refault_anon);
  EXPECT_EQ(stats.pswpout - stats.pswpin, a_.node().swapped_pages());
  EXPECT_EQ(stats.zswpout, 0u);
}

TEST_F(PageOutTest, WhatIsFreedIsEmpty) {
  fill(3 * kLimit);
  free_all();
  EXPECT_EQ(a_->charged(), 0u);
  EXPECT_EQ(a_.node().swapped_pages(), 0u);
  EXPECT_STREQ(a_.allocator().verify(), nullptr);
  for (unsigned i = 0; i < 40; ++i) {
    auto* p = static_cast<uint64_t*>(a_->calloc(nullptr, kBlock));
    ASSERT_NE(p, nullptr);
    for (size_t at = 0; at < kBlock / sizeof(*p); ++at) ASSERT_EQ(p[at], 0u) << i << " at " << at;
    blocks_.push_back(reinterpret_cast<char*>(p));
  }
  free_all();
}

// Nobody hears of these touches.
TEST_F(PageOutTest, LongRunsAreCountedByTouch) {
  const size_t bytes = 8 * kLimit;
  char* const p = static_cast<char*>(a_->malloc(nullptr, bytes));
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(a_.zone().total(), Pages(0));
  write_content(p, kLimit / 4, seed_of(1));
  EXPECT_TRUE(wait_until([&] { return a_.zone().total() >= pages_of(kLimit / 4); }));
  // What was only read is no memory.
  for (size_t at = kLimit; at < 2 * kLimit; at += kPageSize) EXPECT_EQ(static_cast<volatile char*>(p)[at], 0);
  os::sleep_ms(200);
  EXPECT_EQ(a_.zone().total(), pages_of(kLimit / 4));
  write_content(p, bytes / 2, seed_of(1));
  EXPECT_TRUE(wait_until([&] { return a_.node().swapped_pages() > pages_of(kLimit).v; }));
  EXPECT_TRUE(wait_until([&] { return a_.zone().total() <= a_.zone().managed(); }));
  EXPECT_TRUE(check_content_at(p, 0, bytes / 2, seed_of(1)));
  EXPECT_STREQ(a_.allocator().verify(), nullptr);
  EXPECT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone);
  // What is left there for the next one is counted.
  EXPECT_LE(os::vm_resident(p, bytes), a_.zone().total());
  EXPECT_EQ(a_.node().swapped_pages(), 0u);
}

TEST_F(PageOutTest, WhatAChildSharesLeavesAsWell) {
  fill(kLimit / 2);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    char byte;
    close(ends[1]);
    static_cast<void>(!read(ends[0], &byte, 1));
    bool same = true;
    for (size_t i = 0; i < kLimit / 2 / kBlock; ++i) same = same && check_content_at(blocks_[i], 0, kBlock, seed_of(i));
    _exit(same ? 0 : 1);
  }
  fill(2 * kLimit);
  EXPECT_LE(a_.zone().total(), a_.zone().managed());
  EXPECT_GT(a_.node().swapped_pages(), pages_of(kLimit).v);
  close(ends[1]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  close(ends[0]);
  expect_content();
}

TEST_F(PageOutTest, LockedPagesStay) {
  fill(kLimit / 4);
  if (os::vm_lock(blocks_[0], kBlock, 0) != 0) GTEST_SKIP() << "nothing may be locked here";
  fill(2 * kLimit);
  EXPECT_EQ(os::vm_resident(blocks_[0], kBlock), pages_of(kBlock));
  EXPECT_EQ(os::vm_unlock(blocks_[0], kBlock), 0);
  expect_content();
  free_all();
}

TEST_F(PageOutTest, ManyThreads) {
  constexpr unsigned kThreads = 4, kRounds = 1500, kOwn = 40;
  std::atomic<unsigned> wrong{0};
  const auto work = [&](unsigned number) {
    Random random(number + 1);
    char* own[kOwn] = {};
    uint64_t seeds[kOwn] = {};
    for (unsigned round = 0; round < kRounds; ++round) {
      const unsigned i = static_cast<unsigned>(random.below(kOwn));
      if (own[i] != nullptr && !check_content_at(own[i], 0, kBlock, seeds[i])) ++wrong;
      if (own[i] != nullptr && random.below(3) == 0) {
        if (a_->free(nullptr, own[i]).misuse != Misuse::kNone) ++wrong;
        own[i] = nullptr;
      }
      if (own[i] == nullptr) own[i] = static_cast<char*>(a_->malloc(nullptr, kBlock));
      if (own[i] == nullptr) continue;
      seeds[i] = content_seed(random.next(), Content::kCompressible);
      write_content(own[i], kBlock, seeds[i]);
    }
    for (unsigned i = 0; i < kOwn; ++i) {
      if (own[i] == nullptr) continue;
      if (!check_content_at(own[i], 0, kBlock, seeds[i])) ++wrong;
      if (a_->free(nullptr, own[i]).misuse != Misuse::kNone) ++wrong;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(a_->charged(), 0u);
  EXPECT_STREQ(a_.allocator().verify(), nullptr);
}

}  // namespace
}  // namespace weir
