// put_away_test.cc: where the kernel lets nobody see faults, objects leave memory while nobody has them pinned, and
// come back as they were; those that are used stay; what is counted stays exact; what is damaged is told.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "support/movable_test_base.h"
#include "support/page_content.h"
#include "support/private_allocator.h"
#include "support/random.h"
#include "support/squeeze.h"
#include "swap/zswap_handle.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{24} << 20;
constexpr size_t kArena = size_t{128} << 20;
constexpr size_t kObject = 5 * kPageSize;

class PutAwayTest : public MovableTestBase {
 protected:
  // weir's threads have the rights of the one that starts them, of which there are none to a userfaultfd.
  void start() {
    constexpr unsigned kNobody = 65534, kSame = ~0u;
    const auto become = [](unsigned user) { return syscall(SYS_setresuid, kSame, user, kSame) == 0; };
    const bool is_root = geteuid() == 0;
    ASSERT_TRUE(!is_root || become(kNobody));
    a_.options().system_swap = false;
    const char* const why = a_.start(kLimit, kArena);
    ASSERT_TRUE(!is_root || become(0));
    if (why == nullptr) GTEST_SKIP() << "everybody may have a userfaultfd here";
    ASSERT_EQ(a_.reclaimer().mode(), Reclaimer::Mode::kPurge);
  }
  Allocator& allocator() override { return a_.allocator(); }
  uint64_t seed_of(size_t number) override { return content_seed(number << 20, Content::kCompressible); }
  void write(char* to, size_t bytes, uint64_t seed) override { write_content(to, bytes, seed); }
  bool holds(const char* from, size_t bytes, uint64_t seed) override { return check_content_at(from, 0, bytes, seed); }

  void fill(size_t bytes) {
    for (size_t made = 0; made < bytes; made += kObject) ASSERT_TRUE(add(kObject)) << made;
  }
  void expect_all() {
    expect_content();
    EXPECT_STREQ(find_fault(a_), nullptr);
  }
  ReclaimStats stats() { return a_.reclaimer().stats(); }

  LimitedAllocator a_;
};

TEST_F(PutAwayTest, ObjectsLeaveAndComeBack) {
  start();
  fill(2 * kLimit);
  EXPECT_GT(a_.node().swapped_pages(), (kLimit >> kPageShift) / 2);
  EXPECT_LE(a_.zone().total(), a_.zone().managed());
  EXPECT_GT(stats().zswpout, 0u);
  const ReclaimStats out = settled_stats(a_);
  EXPECT_EQ(out.pgsteal_kswapd, out.zswpout);
  for (unsigned round = 0; round < 2; ++round) expect_all();
  EXPECT_GT(stats().zswpin, (kLimit >> kPageShift) / 2);
  EXPECT_LE(a_.zone().total(), a_.zone().managed());
  // Of what is away nothing has to come back for it.
  const uint64_t in_before = stats().zswpin;
  while (!objects_.empty()) remove(objects_, objects_.size() - 1);
  EXPECT_EQ(stats().zswpin, in_before);
  EXPECT_EQ(a_->charged(), 0u);
  EXPECT_EQ(a_.node().swapped_pages(), 0u);
  EXPECT_EQ(a_.node().pool().stats().stored, 0u);
  EXPECT_STREQ(find_fault(a_), nullptr);
}

// An eighth of the objects is pinned between any two others.
TEST_F(PutAwayTest, WhatIsUsedStays) {
  start();
  fill(2 * kLimit);
  const size_t hot = objects_.size() / 8;
  for (size_t i = 0; i < hot; ++i) expect(objects_[i]);
  const uint64_t before = stats().zswpin;
  for (size_t cold = hot; cold < objects_.size(); ++cold) {
    for (size_t i = cold % 4; i < hot; i += 4) {
      static_cast<void>(pin(objects_[i]));
      unpin(objects_[i]);
    }
    expect(objects_[cold]);
  }
  const uint64_t cold_pages = (objects_.size() - hot) * (kObject >> kPageShift);
  EXPECT_LT(stats().zswpin - before, cold_pages * 21 / 20);
  expect_all();
}

TEST_F(PutAwayTest, WhatIsPinnedStays) {
  start();
  std::vector<char*> where;
  for (size_t i = 0; i < 500; ++i) {
    ASSERT_TRUE(add(kObject));
    where.push_back(pin(objects_[i]));
  }
  fill(2 * kLimit);
  for (size_t i = 0; i < where.size(); ++i) {
    EXPECT_EQ(os::vm_resident(where[i], kObject), pages_of(kObject)) << i;
    EXPECT_EQ(pin(objects_[i]), where[i]);
    unpin(objects_[i]);
    unpin(objects_[i]);
  }
  expect_all();
}

// As what does not compress: it is not tried again and again.
TEST_F(PutAwayTest, WhatIsLockedStays) {
  start();
  for (size_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(add(kObject));
    ASSERT_EQ(syscall(SYS_mlock, pin(objects_[i]), kObject), 0);
    unpin(objects_[i]);
  }
  fill(2 * kLimit);
  EXPECT_GT(a_.node().swapped_pages(), 0u);
  for (size_t i = 0; i < 200; ++i) {
    char* const p = pin(objects_[i]);
    EXPECT_EQ(os::vm_resident(p, kObject), pages_of(kObject)) << i;
    ASSERT_EQ(syscall(SYS_munlock, p, kObject), 0);
    unpin(objects_[i]);
  }
  expect_all();
}

// The kernel drops what lies before the locked pages, and then says that it could not.
TEST_F(PutAwayTest, WhatIsLockedInPartIsNotLost) {
  constexpr size_t kTail = 2 * kPageSize;
  start();
  for (size_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(add(kObject));
    ASSERT_EQ(syscall(SYS_mlock, pin(objects_[i]) + kObject - kTail, kTail), 0);
    unpin(objects_[i]);
  }
  fill(2 * kLimit);
  EXPECT_GT(a_.node().swapped_pages(), 0u);
  expect_all();
}

// The whole is more than may be in memory, and nothing of it is to be had elsewhere.
TEST_F(PutAwayTest, WhatDoesNotCompressIsRefused) {
  start();
  std::vector<Object> all;
  for (;;) {
    const Object object = make(kObject, content_seed((all.size() + 1) << 20, Content::kRandom));
    if (!object.id) break;
    all.push_back(object);
    ASSERT_LT(all.size() * kObject, kLimit);
  }
  EXPECT_GT(all.size() * kObject, kLimit / 2);
  for (const Object& object : all) expect(object);
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_F(PutAwayTest, WhatIsDamagedIsTold) {
  start();
  fill(2 * kLimit);
  settle(a_);
  NodeReclaim& node = a_.node();
  Pfn pfn = 0;
  while (node.entry(pfn).kind() != SwapEntry::Kind::kZswap || ZswapPool::is_same_filled(node.entry(pfn).handle()))
    ++pfn;
  char* const entry = node.pool().slabs().memory() + zswap::entry_place(node.entry(pfn).handle());
  entry[20] = static_cast<char>(entry[20] + 1);
  char* const page = a_.zone().address(pfn);
  size_t owner = 0;
  testing::internal::CaptureStderr();
  for (; owner < objects_.size(); ++owner) {
    char* const p = pin(objects_[owner]);
    if (page >= p && page < p + kObject) break;
    unpin(objects_[owner]);
  }
  ASSERT_LT(owner, objects_.size());
  EXPECT_NE(testing::internal::GetCapturedStderr().find("was damaged in compressed memory"), std::string::npos);
  // A touch is an error, and is one to system calls, too.
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(::write(ends[1], page, 1), -1);
  EXPECT_EQ(errno, EFAULT);
  close(ends[0]);
  close(ends[1]);
  unpin(objects_[owner]);
  remove(objects_, owner);
  // The address is as good as any other afterwards.
  while (!objects_.empty()) remove(objects_, objects_.size() - 1);
  EXPECT_STREQ(find_fault(a_), nullptr);
  fill(kLimit / 2);
  expect_all();
}

TEST_F(PutAwayTest, ThreadsThatUseMakeFreeAndCompact) {
  start();
  constexpr unsigned kThreads = 3;
  ASSERT_TRUE(add(kObject));
  std::atomic<bool> stop{false};
  std::vector<std::thread> users;
  const Use use = {
      .steps = 4000, .most_pages = 20, .most_bytes = 2 * kLimit / kThreads, .makes_of_3 = 2, .free_one_in = 4};
  for (unsigned t = 0; t < kThreads; ++t) users.emplace_back([=, this] { use_objects(t, use); });
  // The same objects by two threads at a time.
  users.emplace_back([&] {
    while (!stop) expect(objects_[0]);
  });
  std::thread mover([&] {
    while (!stop) static_cast<void>(compactor().compact_all());
  });
  for (unsigned t = 0; t < kThreads; ++t) users[t].join();
  stop = true;
  users.back().join();
  mover.join();
  EXPECT_GT(stats().zswpin, 0u);
  expect_all();
}

}  // namespace
}  // namespace weir
