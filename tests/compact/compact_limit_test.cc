// compact_limit_test.cc: objects move within a limit: what is counted stays exact, what is swapped out stays where it
// is unless an allocation needs it to move, and content survives both.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "support/movable_test_base.h"
#include "support/page_content.h"
#include "support/private_allocator.h"
#include "support/random.h"
#include "support/squeeze.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{24} << 20;
constexpr size_t kArena = size_t{64} << 20;
constexpr size_t kObject = 5 * kPageSize;

class CompactLimitTest : public MovableTestBase {
 protected:
  void start() {
    if (const char* why = a_.start(kLimit, kArena)) GTEST_SKIP() << why;
  }
  Allocator& allocator() override { return a_.allocator(); }
  uint64_t seed_of(size_t number) override { return content_seed(number << 20, Content::kCompressible); }
  void write(char* to, size_t bytes, uint64_t seed) override { write_content(to, bytes, seed); }
  bool holds(const char* from, size_t bytes, uint64_t seed) override { return check_content_at(from, 0, bytes, seed); }

  void expect_all() {
    expect_content();
    EXPECT_STREQ(find_fault(a_), nullptr);
  }

  LimitedAllocator a_;
};

TEST_F(CompactLimitTest, WhatIsInMemoryMovesAndIsCounted) {
  start();
  while (objects_.size() * kObject < kLimit / 2) ASSERT_TRUE(add(kObject));
  remove_every_other();
  ASSERT_EQ(a_.node().swapped_pages(), 0u);
  EXPECT_GT(compactor().compact_all().v, objects_.size() * 5 / 3);
  expect_all();
  while (!objects_.empty()) remove(objects_, objects_.size() - 1);
  EXPECT_EQ(a_->charged(), 0u);
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_F(CompactLimitTest, WhatIsAwayStaysWhereItIs) {
  start();
  while (objects_.size() * kObject < kArena * 2 / 3) ASSERT_TRUE(add(kObject));
  remove_every_other();
  ASSERT_TRUE(squeeze(a_, Pages(1), [&] { return a_.node().swapped_pages() > objects_.size() * 4; }));
  const uint64_t in_before = a_.reclaimer().stats().pswpin;
  const Pages moved = compactor().compact_all();
  EXPECT_LE(moved.v, objects_.size());
  EXPECT_EQ(a_.reclaimer().stats().pswpin, in_before);
  expect_all();
}

// Nowhere are 16 MiB side by side, and the arena cannot grow: pages come back, to be moved, and go again.
TEST_F(CompactLimitTest, ButNotInTheWayOfAnAllocation) {
  start();
  while (add(kObject)) {
  }
  ASSERT_GT(objects_.size() * kObject, kArena * 3 / 4);
  remove_every_other();
  void* const large = a_->malloc(nullptr, kArena / 4);
  ASSERT_NE(large, nullptr);
  EXPECT_GT(a_.zone().stats().compact_success, 0u);
  memset(large, 1, kArena / 4);
  EXPECT_LE(a_.zone().total(), a_.zone().managed());
  expect_all();
}

// Objects of 4 MiB and more count by what is touched of them, wherever they are.
TEST_F(CompactLimitTest, WhatWasNotTouchedIsNotCounted) {
  start();
  constexpr size_t kLarge = size_t{5} << 20;
  ASSERT_TRUE(add(kLarge));
  const Object sparse = {a_.allocator().alloc_movable(kLarge), 3 * kPageSize, content_seed(7, Content::kCompressible)};
  ASSERT_TRUE(sparse.id);
  char* const before = pin(sparse);
  write_content(before, sparse.bytes, sparse.seed);
  unpin(sparse);
  free(objects_[0]);
  objects_.clear();
  static_cast<void>(a_->trim(nullptr));
  EXPECT_EQ(compactor().compact_all(), Pages(kLarge >> kPageShift));
  char* const after = pin(sparse);
  EXPECT_LT(after, before);
  EXPECT_LT(a_.zone().used(), Pages(64)) << "three pages, and what is read around them";
  EXPECT_TRUE(check_content_at(after, 0, sparse.bytes, sparse.seed));
  for (size_t at = sparse.bytes; at < kLarge; at += 64 * kPageSize) EXPECT_EQ(after[at], 0);
  unpin(sparse);
  expect_all();
}

TEST_F(CompactLimitTest, ThreadsWhileAllIsSwappedAndMoved) {
  start();
  constexpr unsigned kThreads = 3;
  ASSERT_TRUE(add(kObject));
  std::atomic<bool> stop{false};
  std::vector<std::thread> users;
  const Use use = {
      .steps = 2500, .most_pages = 20, .most_bytes = kArena / 2 / kThreads, .makes_of_3 = 2, .free_one_in = 2};
  for (unsigned t = 0; t < kThreads; ++t) users.emplace_back([=, this] { use_objects(t, use); });
  std::thread mover([&] {
    while (!stop) {
      static_cast<void>(compactor().compact_all());
      static_cast<void>(compactor().try_to_compact(a_.zone(), Pages(4096)));
    }
  });
  for (std::thread& user : users) user.join();
  stop = true;
  mover.join();
  EXPECT_GT(a_.zone().stats().pgmigrate_success, 0u);
  EXPECT_GT(a_.reclaimer().stats().zswpout, 0u);
  expect_all();
}

}  // namespace
}  // namespace weir
