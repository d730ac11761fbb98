// uffd_test.cc: userfaultfd as the kernel offers it: touches are reported, filled, moved, and lost pages are told of.
#include "os/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "os/file.h"
#include "os/service_thread.h"
#include "os/vm.h"
#include "support/page_buffer.h"
#include "support/touch.h"

namespace weir::os {
namespace {

constexpr unsigned kPages = 16;
constexpr size_t kBytes = kPages * kPageSize;

// Two ranges of one userfaultfd, whose touches are ours to resolve.
class Uffd : public testing::Test {
 protected:
  void SetUp() override {
    fd_ = uffd_open(-1, features_);
    if (fd_ < 0) GTEST_SKIP() << "userfaultfd cannot be had here: " << strerror(-fd_);
    // Each by itself: what is registered must not depend on what lies beside it.
    a_ = static_cast<char*>(vm_map(kBytes));
    b_ = static_cast<char*>(vm_map(kBytes));
    ASSERT_TRUE(a_ != nullptr && b_ != nullptr);
    // A page that nobody touched must not come to be there with a huge one.
    vm_huge_pages(a_, kBytes, false);
    vm_huge_pages(b_, kBytes, false);
    ASSERT_GE(uffd_register(fd_, a_, kBytes, false), 0);
    ASSERT_GE(uffd_register(fd_, b_, kBytes, false), 0);
    content_.fill(100);
  }
  void TearDown() override {
    if (a_ != nullptr) vm_unmap(a_, kBytes);
    if (b_ != nullptr) vm_unmap(b_, kBytes);
    if (fd_ >= 0) close_descriptor(fd_);
  }

  char* a(unsigned page) const { return a_ + page * kPageSize; }
  char* b(unsigned page) const { return b_ + page * kPageSize; }
  uint64_t there(char* range) const { return vm_resident_mask(range, kPages); }
  UffdFault read_one() {
    UffdFault fault{};
    EXPECT_EQ(uffd_read(fd_, &fault, 1), 1);
    return fault;
  }
  // Pages [first, end) of `a` become those of content_.
  void fill(unsigned first, unsigned end) {
    int error = 0;
    ASSERT_EQ(uffd_copy(fd_, a(first), content_.page(first), (end - first) * kPageSize, false, error),
              (end - first) * kPageSize);
  }
  bool is_content(const char* page, unsigned i) const { return memcmp(page, content_.page(i), kPageSize) == 0; }
  // While a thread waits to write the page: the thread sanitizer takes the write as done before it is.
  __attribute__((no_sanitize_thread, noinline)) bool is_content_unseen(const char* page, unsigned i) const {
    for (size_t at = 0; at < kPageSize; ++at)
      if (static_cast<const volatile char*>(page)[at] != content_.page(i)[at]) return false;
    return true;
  }

  UffdFeatures features_;
  int fd_ = -1;
  char* a_ = nullptr;
  char* b_ = nullptr;
  PageBuffer content_{kPages};
};

TEST_F(Uffd, ATouchIsReportedAndWaitsForThePage) {
  std::atomic<uint32_t> toucher{0};
  std::atomic<int> seen{-1};
  std::thread thread([&] {
    toucher.store(thread_id());
    seen.store(static_cast<unsigned char>(*static_cast<volatile char*>(a(3) + 77)));
  });
  const UffdFault fault = read_one();
  EXPECT_EQ(fault.address, a(3)) << "of the page, not of the byte";
  EXPECT_EQ(fault.thread, features_.thread_id ? toucher.load() : 0);
  EXPECT_FALSE(fault.write_protected);
  EXPECT_EQ(seen.load(), -1);
  fill(3, 4);
  thread.join();
  EXPECT_EQ(seen.load(), static_cast<unsigned char>(content_.page(3)[77]));
  EXPECT_EQ(there(a_), 0b1000u);
}

TEST_F(Uffd, ATouchByASystemCallWaitsToo) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], "word", 4), 4);
  std::atomic<long> got{0};
  std::thread thread([&] { got.store(read(ends[0], a(1), 4)); });
  EXPECT_EQ(read_one().address, a(1));
  fill(1, 2);
  thread.join();
  EXPECT_EQ(got.load(), 4);
  EXPECT_EQ(memcmp(a(1), "word", 4), 0);
  EXPECT_EQ(memcmp(a(1) + 4, content_.page(1) + 4, kPageSize - 4), 0);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(Uffd, FaultsAreHandedOutAsManyAsThereIsRoomFor) {
  std::thread one([&] { touch(a(0)); });
  std::thread two([&] { touch(a(8)); });
  const void* first = read_one().address;
  const void* second = read_one().address;
  EXPECT_TRUE((first == a(0) && second == a(8)) || (first == a(8) && second == a(0)));
  fill(0, 16);
  one.join();
  two.join();
}

TEST_F(Uffd, WithoutFaultsAReadDoesNotWaitIfItMustNot) {
  set_nonblocking(fd_, true);
  UffdFault fault;
  EXPECT_EQ(uffd_read(fd_, &fault, 1), -EAGAIN);
  EXPECT_EQ(uffd_read(-1, &fault, 1), -EBADF);
}

TEST_F(Uffd, CopyStopsAtAPageThatIsThere) {
  fill(2, 3);
  int error = 0;
  EXPECT_EQ(uffd_copy(fd_, a_, content_.data(), 4 * kPageSize, false, error), 2 * kPageSize);
  EXPECT_EQ(error, EEXIST);
  error = 0;
  EXPECT_EQ(uffd_copy(fd_, a(2), content_.page(9), kPageSize, false, error), 0u);
  EXPECT_EQ(error, EEXIST);
  EXPECT_EQ(there(a_), 0b111u);
  for (unsigned i = 0; i < 3; ++i) EXPECT_TRUE(is_content(a(i), i)) << i;
}

TEST_F(Uffd, NothingIsCopiedWhereNothingIsRegistered) {
  ASSERT_GE(uffd_unregister(fd_, a_, kBytes), 0);
  int error = 0;
  EXPECT_EQ(uffd_copy(fd_, a_, content_.data(), kPageSize, false, error), 0u);
  EXPECT_EQ(error, ENOENT);
  EXPECT_EQ(*static_cast<volatile char*>(a(5)), 0) << "the kernel's own zeros again";
}

TEST_F(Uffd, AWakeMakesThreadsLookAgain) {
  std::thread thread([&] { EXPECT_EQ(*static_cast<volatile char*>(a(4)), content_.page(4)[0]); });
  EXPECT_EQ(read_one().address, a(4));
  uffd_wake(fd_, a_, kBytes);
  EXPECT_EQ(read_one().address, a(4)) << "it touched again";
  fill(4, 5);
  thread.join();
}

TEST_F(Uffd, MoveTakesPagesAndSkipsHoles) {
  if (!features_.move) GTEST_SKIP() << "the kernel has no UFFDIO_MOVE";
  fill(1, 3);
  fill(5, 6);
  int error = 0;
  ASSERT_EQ(uffd_move(fd_, b_, a_, 8 * kPageSize, error), 8 * kPageSize) << error;
  EXPECT_EQ(there(a_), 0u);
  EXPECT_EQ(there(b_), 0b100110u) << "holes stay holes";
  for (const unsigned i : {1u, 2u, 5u}) EXPECT_TRUE(is_content(b(i), i)) << i;
  // What was moved away is missing: a touch is reported.
  std::thread thread([&] { touch(a(2)); });
  EXPECT_EQ(read_one().address, a(2));
  ASSERT_EQ(uffd_move(fd_, a(2), b(2), kPageSize, error), kPageSize);
  uffd_wake(fd_, a(2), kPageSize);
  thread.join();
  EXPECT_TRUE(is_content(a(2), 2));
  EXPECT_EQ(there(b_), 0b100010u);
}

TEST_F(Uffd, MoveStopsAtAPageThatIsThere) {
  if (!features_.move) GTEST_SKIP() << "the kernel has no UFFDIO_MOVE";
  fill(0, 4);
  int error = 0;
  ASSERT_EQ(uffd_copy(fd_, b(2), content_.page(9), kPageSize, false, error), kPageSize);
  EXPECT_EQ(uffd_move(fd_, b_, a_, 4 * kPageSize, error), 2 * kPageSize);
  EXPECT_EQ(error, EEXIST);
  EXPECT_EQ(there(a_), 0b1100u);
  EXPECT_EQ(there(b_), 0b111u);
  EXPECT_TRUE(is_content(a(2), 2));
  EXPECT_TRUE(is_content(b(2), 9));
}

// As long as holes were allowed, Linux 6.18 stayed in the call for ever, within some thousand rounds.
TEST_F(Uffd, MoveEndsWhenPagesGoMeanwhile) {
  if (!features_.move) GTEST_SKIP() << "the kernel has no UFFDIO_MOVE";
  std::atomic<bool> stop{false};
  std::thread dropper([&] {
    while (!stop) EXPECT_TRUE(vm_purge(a_, kBytes));
  });
  for (unsigned round = 0; round < 20000; ++round) {
    int error = 0;
    fill(0, kPages);
    // (A page that was moved and not counted is stumbled over.)
    const size_t moved = uffd_move(fd_, b_, a_, kBytes, error);
    EXPECT_TRUE(moved == kBytes || error == EEXIST) << error;
    for (unsigned i = 0; i < kPages; ++i) EXPECT_TRUE((there(b_) >> i & 1) == 0 || is_content(b(i), i)) << i;
    ASSERT_TRUE(vm_purge(b_, kBytes));
  }
  stop = true;
  dropper.join();
}

TEST_F(Uffd, AnEmptyPageIsFilledAndContentIsKept) {
  fill(1, 2);
  EXPECT_TRUE(uffd_fill_if_empty(fd_, a(0)));
  EXPECT_TRUE(is_zero(a(0), kPageSize));
  EXPECT_FALSE(uffd_fill_if_empty(fd_, a(0))) << "there are zeros now";
  EXPECT_FALSE(uffd_fill_if_empty(fd_, a(1)));
  EXPECT_TRUE(is_content(a(1), 1));
}

TEST_F(Uffd, AWriteToAProtectedPageWaits) {
  if (!features_.write_protect) GTEST_SKIP() << "the kernel cannot write-protect anonymous memory";
  ASSERT_GE(uffd_register(fd_, a_, kBytes, true), 0);
  fill(0, 2);
  ASSERT_GE(uffd_write_protect(fd_, a_, kBytes, true), 0);
  EXPECT_TRUE(is_content(a(0), 0)) << "reading is free";
  std::thread thread([&] { *static_cast<volatile char*>(a(1)) = 'x'; });
  const UffdFault fault = read_one();
  EXPECT_EQ(fault.address, a(1));
  EXPECT_TRUE(fault.write_protected);
  EXPECT_TRUE(is_content_unseen(a(1), 1)) << "not written yet";
  ASSERT_GE(uffd_write_protect(fd_, a(1), kPageSize, false), 0);
  thread.join();
  EXPECT_EQ(*a(1), 'x');
}

TEST_F(Uffd, APoisonedPageRaisesSigbus) {
  const long result = uffd_poison(fd_, a(2), kPageSize);
  if (result == -EINVAL || result == -ENOTTY) GTEST_SKIP() << "pages can be poisoned from Linux 6.6 on";
  ASSERT_GE(result, 0);
  fill(0, 2);
  fill(3, 4);
  EXPECT_TRUE(touch_fails(a(2)));
  EXPECT_TRUE(touch_fails(a(2) + 100)) << "every time";
  EXPECT_FALSE(touch_fails(a(1)));
  EXPECT_FALSE(touch_fails(a(3)));
  // Given back to the system, it is a missing page like any other.
  ASSERT_TRUE(vm_purge(a(2), kPageSize));
  fill(2, 3);
  EXPECT_TRUE(is_content(a(2), 2));
}

TEST_F(Uffd, ForeignMemoryIsRefused) {
  EXPECT_LT(uffd_register(fd_, a_ + 1, kPageSize, false), 0);
  UffdFeatures features;
  const int other = uffd_open(-1, features);
  ASSERT_GE(other, 0);
  EXPECT_EQ(features.move, features_.move);
  EXPECT_EQ(uffd_register(other, a_, kBytes, false), -EBUSY) << "it belongs to another userfaultfd";
  close_descriptor(other);
}

TEST_F(Uffd, WritesToProtectedCopiesAreReported) {
  if (!features_.write_protect) GTEST_SKIP() << "the kernel does not protect anonymous memory";
  ASSERT_GE(uffd_register(fd_, a_, kBytes, true), 0);
  int error = 0;
  ASSERT_EQ(uffd_copy(fd_, a(2), content_.page(2), 2 * kPageSize, true, error), 2 * kPageSize) << error;
  EXPECT_TRUE(is_content(a(2), 2) && is_content(a(3), 3)) << "reads are not";
  std::thread thread([&] { *static_cast<volatile char*>(a(3)) = 'w'; });
  const UffdFault fault = read_one();
  EXPECT_EQ(fault.address, a(3));
  EXPECT_TRUE(fault.write && fault.write_protected);
  ASSERT_GE(uffd_write_protect(fd_, a(3), kPageSize, false), 0);
  thread.join();
  EXPECT_EQ(*static_cast<volatile char*>(a(3)), 'w');
  // A missing page tells reads and writes apart.
  std::thread reader([&] { touch(a(5)); });
  EXPECT_FALSE(read_one().write);
  fill(5, 6);
  reader.join();
  std::thread writer([&] { *static_cast<volatile char*>(a(6)) = 'w'; });
  const UffdFault write = read_one();
  EXPECT_TRUE(write.write && !write.write_protected);
  fill(6, 7);
  writer.join();
}

// Nobody goes on before uffd_wake, whether a page was missing or protected.
TEST_F(Uffd, WhoWaitsIsWokenLater) {
  ASSERT_GE(uffd_register(fd_, a_, kBytes, features_.write_protect), 0);
  std::atomic<bool> there{false};
  std::thread reader([&] {
    touch(a(0));
    there = true;
  });
  EXPECT_EQ(read_one().address, a(0));
  int error = 0;
  ASSERT_EQ(uffd_copy(fd_, a(0), content_.page(0), kPageSize, features_.write_protect, error, Waking::kLater),
            kPageSize);
  EXPECT_TRUE(is_content(a(0), 0));
  EXPECT_FALSE(there.load());
  uffd_wake(fd_, a(0), kPageSize);
  reader.join();
  if (!features_.write_protect) return;
  std::thread writer([&] {
    *static_cast<volatile char*>(a(0)) = 'w';
    there = false;
  });
  EXPECT_TRUE(read_one().write_protected);
  ASSERT_GE(uffd_write_protect(fd_, a(0), kPageSize, false, Waking::kLater), 0);
  EXPECT_TRUE(there.load());
  uffd_wake(fd_, a(0), kPageSize);
  writer.join();
  EXPECT_EQ(*static_cast<volatile char*>(a(0)), 'w');
}

}  // namespace
}  // namespace weir::os
