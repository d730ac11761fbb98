// pins_test.cc: which pages the kernel gives back, and what refers to those that it does not.
#include "os/pins.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>
#include <vector>

#include "os/file.h"
#include "os/proc.h"
#include "os/uffd.h"
#include "os/vm.h"
#include "support/pattern.h"
#include "support/sanitizer.h"

namespace weir::os {
namespace {

constexpr size_t kBytes = 16 * kPageSize;

// What the kernel has not put on its lists yet is not dropped at the first attempt.
bool drop_until(char* p, uint64_t resident) {
  constexpr int kTries = 1000;
  for (int i = 0; i < kTries; ++i) {
    vm_page_out(p, kBytes);
    if (vm_resident_mask(p, kBytes / kPageSize) == resident) return true;
    sleep_ms(1);
  }
  return false;
}

// Whether the process's first thread has ended, while others go on.
bool has_first_thread_ended() {
  char state[256] = {};
  const int stat = open("/proc/self/stat", O_RDONLY);
  const ssize_t length = read(stat, state, sizeof state - 1);
  close(stat);
  const char* const name_end = length > 0 ? strrchr(state, ')') : nullptr;
  return name_end != nullptr && name_end[2] == 'Z';
}

class Dropped : public testing::Test {
 protected:
  Dropped() { errno = kErrno; }
  ~Dropped() override { EXPECT_EQ(errno, kErrno) << "errno was touched"; }
  static constexpr int kErrno = 4711;
  void SetUp() override {
    proc_ = open_directory("/proc");
    status_ = open_pin_status(proc_);
    if (why_not_lift(status_) == -EOPNOTSUPP) GTEST_SKIP() << "the kernel drops what is referred to";
    ASSERT_EQ(why_not_lift(status_), 0);
    stay_on_this_processor();
    p_ = static_cast<char*>(vm_map(kBytes));
    vm_huge_pages(p_, kBytes, false);
    write_pattern(p_, kBytes, 7);
  }
  void TearDown() override {
    if (p_ != nullptr) vm_unmap(p_, kBytes);
    if (status_ >= 0) close_descriptor(status_);
    if (proc_ >= 0) close_descriptor(proc_);
    EXPECT_TRUE(!stays_ || sched_setaffinity(0, sizeof(before_), &before_) == 0);
  }
  // Marking puts the last pages that this processor faulted in on the kernel's lists; those of another it leaves alone,
  // and they are never dropped.
  void stay_on_this_processor() {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &one);
    ASSERT_EQ(sched_getaffinity(0, sizeof(before_), &before_), 0);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    stays_ = true;
  }
  cpu_set_t before_ = {};
  bool stays_ = false;
  int proc_ = -1, status_ = -1;
  char* p_ = nullptr;
};

TEST_F(Dropped, IsWhatNothingRefersTo) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const iovec second = {p_ + kPageSize, kPageSize};
  ASSERT_EQ(vmsplice(ends[1], &second, 1, 0), static_cast<ssize_t>(kPageSize));
  ASSERT_TRUE(vm_mark_droppable(p_, kBytes));
  EXPECT_TRUE(drop_until(p_, 2));
  // From now on it is kept for itself.
  ASSERT_TRUE(vm_unshare(p_ + kPageSize, kPageSize));
  std::vector<char> spliced(kPageSize);
  ASSERT_EQ(read(ends[0], spliced.data(), kPageSize), static_cast<ssize_t>(kPageSize));
  EXPECT_EQ(memcmp(p_ + kPageSize, spliced.data(), kPageSize), 0);
  for (int i = 0; i < 10; ++i) vm_page_out(p_, kBytes);
  EXPECT_EQ(vm_resident_mask(p_, kBytes / kPageSize), 2u);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(Dropped, IsNotWhatWasWrittenSinceItWasMarked) {
  ASSERT_TRUE(vm_mark_droppable(p_, kBytes));
  p_[3 * kPageSize] = 77;
  EXPECT_TRUE(drop_until(p_, 8));
  EXPECT_EQ(p_[3 * kPageSize], 77);
}

TEST_F(Dropped, IsNotWhatWasMovedAndMadeDirty) {
  UffdFeatures features;
  const int uffd = uffd_open(-1, features);
  if (uffd < 0 || !features.move) GTEST_SKIP() << "the kernel cannot move pages";
  auto* const to = static_cast<char*>(vm_map(kBytes));
  ASSERT_GE(uffd_register(uffd, to, kBytes, false), 0);
  ASSERT_TRUE(vm_mark_droppable(p_, kBytes));
  for (size_t at = 0; at < kBytes; at += kPageSize) ASSERT_EQ(uffd_move_present(uffd, to + at, p_ + at), 0);
  for (size_t at = 0; at < kBytes / 2; at += kPageSize)
    EXPECT_EQ(make_dirty_if_there(proc_, to + at), Dirty::kMade) << at;
  // The others go where moving does not make them dirty by itself (Linux 6.18).
  for (int i = 0; i < 10; ++i) vm_page_out(to, kBytes);
  EXPECT_EQ(vm_resident_mask(to, kBytes / kPageSize) & 0xff, 0xffu);
  EXPECT_TRUE(check_pattern(to, kBytes / 2, kBytes, 7));
  // A touch would wait for ever.
  ASSERT_TRUE(vm_purge(to + kBytes / 2, kPageSize));
  EXPECT_EQ(make_dirty_if_there(proc_, to + kBytes / 2), Dirty::kGone);
  EXPECT_EQ(make_dirty_if_there(-1, to), Dirty::kUnknown);
  close_descriptor(uffd);
  vm_unmap(to, kBytes);
}

// A program may end its first thread and go on, and /proc/self is that thread.
TEST_F(Dropped, APageIsMadeDirtyWhenTheFirstThreadHasEndedToo) {
  if (kTsan) GTEST_SKIP() << "the thread sanitizer starts no threads in a child";
  const pid_t child = fork();
  if (child == 0) {
    std::thread([this] {
      while (!has_first_thread_ended()) sleep_ms(1);
      _exit(make_dirty_if_there(proc_, p_) == Dirty::kMade ? 0 : 1);
    }).detach();
    syscall(SYS_exit, 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(Dropped, LeavesNoPageOfOnesOwn) {
  EXPECT_TRUE(is_own_page(proc_, p_));
  ASSERT_TRUE(vm_purge(p_, kPageSize));
  char copy = 1;
  const VmRange range = {p_, 1};
  ASSERT_EQ(vm_gather(&copy, &range, 1), 1u);
  EXPECT_EQ(copy, 0);
  EXPECT_EQ(vm_resident_mask(p_, 1), 1u) << "the page of zeros is there, for the kernel";
  EXPECT_FALSE(is_own_page(proc_, p_));
  p_[0] = 0;
  EXPECT_TRUE(is_own_page(proc_, p_));
}

TEST_F(Dropped, RegisteredPagesAreSeen) {
  EXPECT_FALSE(has_registered_pages(status_));
  EXPECT_TRUE(has_registered_pages(-1)) << "when it cannot be told";
  io_uring_params parameters = {};
  const auto ring = static_cast<int>(syscall(SYS_io_uring_setup, 2, &parameters));
  const iovec all = {p_, kBytes};
  if (ring < 0 || syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &all, 1) != 0) {
    errno = kErrno;
    GTEST_SKIP() << "no io_uring";
  }
  EXPECT_TRUE(has_registered_pages(status_));
  ASSERT_EQ(syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, nullptr, 0), 0);
  EXPECT_FALSE(has_registered_pages(status_));
  close(ring);
}

}  // namespace
}  // namespace weir::os
