// change_swap_test.cc: another swap file, or none, while the program runs: where pages go from then on, that what was
// written before follows, that nothing is lost and nothing of an old file stays, whoever reads, writes or frees
// meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "support/page_content.h"
#include "support/squeeze.h"
#include "support/swap_place.h"

namespace weir {
namespace {

constexpr size_t kMega = size_t{1} << 20;
constexpr size_t kLimit = 16 * kMega, kCapacity = 256 * kMega;

class ChangeSwap : public testing::Test {
 protected:
  void start(const std::string& swap, bool zswap = true) {
    a_.options().swap = Text();
    if (!swap.empty()) a_.options().swap.assign(swap);
    a_.options().zswap = zswap;
    if (const char* why = a_.start(kLimit, kCapacity)) GTEST_SKIP() << why;
    if (a_.reclaimer().swap_problem() != nullptr) GTEST_SKIP() << a_.reclaimer().swap_problem();
  }
  // As the sysctl does it; "" is none.
  const char* change(const std::string& swap) {
    const Text before = a_.options().swap;
    a_.options().swap = Text();
    if (!swap.empty()) a_.options().swap.assign(swap);
    const char* problem = a_.reclaimer().change_swap_file();
    if (problem != nullptr)
      a_.options().swap = before;
    else
      EXPECT_TRUE(a_.reclaimer().options_changed(Reclaimer::Budget::kStays));
    return problem;
  }
  void limit_to(size_t bytes) {
    a_.options().limit = bytes;
    ASSERT_TRUE(a_.reclaimer().options_changed(Reclaimer::Budget::kAlso));
    a_.reclaimer().wake_all_kswapds();
  }
  void fill(unsigned megabytes, Content content) {
    for (; megabytes != 0; --megabytes) {
      auto* p = static_cast<char*>(a_->malloc(nullptr, kMega));
      ASSERT_NE(p, nullptr);
      blocks_.push_back(p);
      seeds_.push_back(content_seed(blocks_.size() << 8, content));
      write_content(p, kMega, seeds_.back());
    }
  }
  void release(char* p) { ASSERT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone); }
  void expect_content() {
    for (size_t i = 0; i < blocks_.size(); ++i) ASSERT_TRUE(check_content_at(blocks_[i], 0, kMega, seeds_[i])) << i;
  }
  uint64_t file_pages() { return a_.reclaimer().stats().swap_used.v; }
  uint64_t total() { return a_.reclaimer().stats().swap_total.v; }
  SwapFiles& files() { return a_.node().files(); }
  unsigned open_files() {
    unsigned count = 0;
    for (unsigned i = 0; i < SwapFiles::kMost; ++i) count += files().is_open(i) ? 1 : 0;
    return count;
  }

  SwapFolder folder_, other_;
  LimitedAllocator a_;
  std::vector<char*> blocks_;
  std::vector<uint64_t> seeds_;
};

TEST_F(ChangeSwap, OneIsAddedToAProgramThatHadNone) {
  start("");
  if (IsSkipped()) return;
  fill(8, Content::kRandom);
  fill(16, Content::kCompressible);
  EXPECT_EQ(total(), 0u);
  ASSERT_STREQ(change(folder_.path()), nullptr);
  EXPECT_EQ(total(), 4 * kLimit / kPageSize);
  fill(24, Content::kRandom);
  EXPECT_GT(file_pages() * kPageSize, 16 * kMega);
  expect_content();
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_F(ChangeSwap, WhatWasWrittenBeforeFollows) {
  start(folder_.path(), false);
  if (IsSkipped()) return;
  fill(40, Content::kRandom);
  const uint64_t before = file_pages();
  EXPECT_GT(before * kPageSize, 20 * kMega);
  ASSERT_STREQ(change(other_.path()), nullptr);
  ASSERT_TRUE(wait_until([&] { return open_files() == 1; })) << files().used_by_old();
  EXPECT_EQ(files().writer(), &files()[1]);
  settle(a_);
  // (Pages that are in memory, too, need no copy of theirs in the new one.)
  EXPECT_GT(file_pages() * kPageSize, 20 * kMega);
  expect_content();
  // And back, into the place that is free again.
  ASSERT_STREQ(change(folder_.path()), nullptr);
  EXPECT_EQ(files().writer(), &files()[0]);
  ASSERT_TRUE(wait_until([&] { return open_files() == 1; })) << files().used_by_old();
  expect_content();
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_F(ChangeSwap, WithoutAnyItGoesWhereThereIsRoom) {
  start(folder_.path());
  if (IsSkipped()) return;
  fill(12, Content::kRandom);
  fill(36, Content::kCompressible);
  ASSERT_GT(file_pages(), 0u);
  ASSERT_STREQ(change(""), nullptr);
  EXPECT_EQ(files().writer(), nullptr);
  expect_content();
  limit_to(2 * kLimit);
  ASSERT_TRUE(wait_until([&] { return open_files() == 0; })) << files().used_by_old();
  EXPECT_EQ(total(), 0u);
  expect_content();
  EXPECT_STREQ(find_fault(a_), nullptr);
}

// What has no room elsewhere stays, and is not lost.
TEST_F(ChangeSwap, WhatHasNoRoomStays) {
  start(folder_.path(), false);
  if (IsSkipped()) return;
  fill(40, Content::kRandom);
  ASSERT_STREQ(change(""), nullptr);
  usleep(100000);
  EXPECT_GT(files().used_by_old() * kPageSize, 20 * kMega);
  EXPECT_EQ(total(), files().used_by_old()) << "it counts as long as it holds something";
  for (const size_t i : {0u, 10u, 20u}) ASSERT_TRUE(check_content_at(blocks_[i], 0, kMega, seeds_[i])) << i;
  ASSERT_STREQ(change(folder_.path()), nullptr);
  ASSERT_TRUE(wait_until([&] { return open_files() == 1; })) << files().used_by_old();
  expect_content();
}

TEST_F(ChangeSwap, OneThatCannotBeOpenedChangesNothing) {
  start(folder_.path());
  if (IsSkipped()) return;
  fill(24, Content::kRandom);
  SwapFile* const before = files().writer();
  const char* problem = change(folder_.write("text", std::string(kMega, 'x')));
  ASSERT_NE(problem, nullptr);
  EXPECT_EQ(std::string(problem).rfind("holds data", 0), 0u) << problem;
  EXPECT_STREQ(change("/no/such/folder/at/all"), "no such file or directory");
  EXPECT_EQ(files().writer(), before);
  EXPECT_EQ(open_files(), 1u);
  fill(8, Content::kRandom);
  expect_content();
}

TEST_F(ChangeSwap, WhileThreadsReadWriteAndFree) {
  start(folder_.path());
  if (IsSkipped()) return;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      constexpr size_t kSize = 64 * kPageSize;
      std::vector<char*> own(160);
      std::vector<uint64_t> seeds(own.size());
      for (uint64_t n = 1; !stop.load() || n < 4 * own.size(); ++n) {
        const size_t i = n * 7919 % own.size();
        if (own[i] != nullptr) {
          ASSERT_TRUE(check_content_at(own[i], 0, kSize, seeds[i]));
          if (n % 3 == 0) release(own[i]);
        }
        if (own[i] != nullptr && n % 3 == 1) continue;
        if (own[i] == nullptr || n % 3 == 0) own[i] = static_cast<char*>(a_->malloc(nullptr, kSize));
        ASSERT_NE(own[i], nullptr);
        seeds[i] = content_seed(n * 2 + t, n % 2 == 0 ? Content::kCompressible : Content::kRandom);
        write_content(own[i], kSize, seeds[i]);
      }
      for (char* p : own)
        if (p != nullptr) release(p);
    });
  unsigned changed = 0;
  for (unsigned i = 0; i < 60; ++i) {
    // Where there is none for a while, what does not compress must fit.
    changed += change(i % 2 == 0 ? other_.path() : folder_.path()) == nullptr ? 1 : 0;
    usleep(20000);
  }
  stop.store(true);
  for (std::thread& each : threads) each.join();
  EXPECT_GT(changed, 8u);
  ASSERT_TRUE(wait_until([&] { return open_files() == 1; })) << files().used_by_old();
  EXPECT_STREQ(find_fault(a_), nullptr);
}

}  // namespace
}  // namespace weir
