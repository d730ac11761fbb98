// page_refs_test.cc: pages that are held are not dropped, and what they hold can be read even if they are.
#include "os/page_refs.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "os/file.h"
#include "os/pins.h"
#include "os/vm.h"
#include "support/pattern.h"

namespace weir::os {
namespace {

constexpr size_t kPages = 8;
constexpr size_t kBytes = kPages * kPageSize;

class PageRefsTest : public testing::Test {
 protected:
  void SetUp() override {
    errno = kErrno;
    p_ = static_cast<char*>(vm_map(kBytes));
    ASSERT_NE(p_, nullptr);
    vm_huge_pages(p_, kBytes, false);
    write_pattern(p_, kBytes, 7);
    ASSERT_TRUE(refs_.open(Pages(kPages)));
  }
  void TearDown() override {
    refs_.close();
    vm_unmap(p_, kBytes);
    EXPECT_EQ(errno, kErrno) << "errno was touched";
  }
  // Pages that the kernel has not put on its lists yet, or not again, are refused; they may wait for another processor
  // than the one this thread is on by then.
  void drop_until_left(uint64_t pages) {
    for (int tries = 0; tries < 1000 && vm_resident_mask(p_, kPages) != pages; ++tries) {
      vm_page_out(p_, kBytes);
      usleep(1000);
    }
  }
  static constexpr int kErrno = 4711;
  PageRefs refs_;
  char* p_ = nullptr;
  char copy_[kBytes] = {};
};

TEST_F(PageRefsTest, CopiesRangesOneBehindTheOther) {
  for (int round = 0; round < 3; ++round) {
    const VmRange ranges[] = {{p_ + 3 * kPageSize, 2 * kPageSize}, {p_, kPageSize}, {p_ + 7 * kPageSize, kPageSize}};
    ASSERT_TRUE(refs_.take(ranges, 3));
    refs_.copy_out(copy_);
    EXPECT_EQ(memcmp(copy_, p_ + 3 * kPageSize, 2 * kPageSize), 0);
    EXPECT_EQ(memcmp(copy_ + 2 * kPageSize, p_, kPageSize), 0);
    EXPECT_EQ(memcmp(copy_ + 3 * kPageSize, p_ + 7 * kPageSize, kPageSize), 0);
  }
}

TEST_F(PageRefsTest, WhatIsWrittenBeforeTheCopyIsInIt) {
  const VmRange all = {p_, kBytes};
  ASSERT_TRUE(refs_.take(&all, 1));
  write_pattern(p_, kBytes, 8);
  refs_.copy_out(copy_);
  EXPECT_EQ(memcmp(copy_, p_, kBytes), 0);
}

class Child {
 public:
  Child() : pid_(fork()) {
    if (pid_ == 0)
      for (;;) pause();
  }
  ~Child() {
    kill(pid_, SIGKILL);
    EXPECT_EQ(waitpid(pid_, nullptr, 0), pid_);
  }

 private:
  pid_t pid_;
};

TEST_F(PageRefsTest, OfSharedPagesThoseAreHeldThatAWriteReplaces) {
  const Child child;
  const VmRange all = {p_, kBytes};
  ASSERT_TRUE(refs_.take(&all, 1));
  write_pattern(p_, kBytes, 8);
  refs_.copy_out(copy_);
  EXPECT_NE(memcmp(copy_, p_, kBytes), 0);
  write_pattern(p_, kBytes, 7);
  EXPECT_EQ(memcmp(copy_, p_, kBytes), 0);
}

TEST_F(PageRefsTest, OnesThatAreUnsharedBeforeAreNotReplaced) {
  constexpr size_t kProtected = 2;
  const Child child;
  ASSERT_EQ(mprotect(p_ + kProtected * kPageSize, kPageSize, PROT_READ), 0);
  const VmRange ranges[] = {{p_, kProtected * kPageSize},
                            {p_ + kProtected * kPageSize, kPageSize},
                            {p_ + (kProtected + 1) * kPageSize, (kPages - kProtected - 1) * kPageSize}};
  vm_unshare_many(ranges, 3);
  ASSERT_EQ(mprotect(p_, kBytes, PROT_READ | PROT_WRITE), 0);
  ASSERT_TRUE(refs_.take(ranges, 3));
  write_pattern(p_, kBytes, 8);
  refs_.copy_out(copy_);
  // (Before Linux 6.14 the kernel does not do that for several ranges.)
  const bool offered = can_drop_in_place();
  for (size_t i = 0; i < kPages; ++i)
    EXPECT_EQ(memcmp(copy_ + i * kPageSize, p_ + i * kPageSize, kPageSize) == 0, offered && i != kProtected) << i;
}

TEST_F(PageRefsTest, WhatIsHeldIsNotDropped) {
  const int proc = open_directory("/proc"), status = open_pin_status(proc);
  const int why_not = why_not_lift(status);
  close_descriptor(status);
  close_descriptor(proc);
  if (why_not != 0) GTEST_SKIP() << "the kernel cannot drop single pages, or not only those that nothing refers to";
  const VmRange some = {p_ + kPageSize, 2 * kPageSize};
  ASSERT_TRUE(refs_.take(&some, 1));
  ASSERT_TRUE(vm_mark_droppable(p_, kBytes));
  constexpr uint64_t kHeld = 0b110;
  drop_until_left(kHeld);
  EXPECT_EQ(vm_resident_mask(p_, kPages), kHeld);
  refs_.copy_out(copy_);
  EXPECT_EQ(memcmp(copy_, p_ + kPageSize, 2 * kPageSize), 0);
  drop_until_left(0);
  EXPECT_EQ(vm_resident_mask(p_, kPages), 0u) << "copied, it is held no more";
}

TEST_F(PageRefsTest, WhatIsHeldNoMoreCanBeHeldAgain) {
  const VmRange all = {p_, kBytes}, one = {p_ + kPageSize, kPageSize};
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(refs_.take(&all, 1));
    refs_.drop();
    ASSERT_TRUE(refs_.is_open());
    ASSERT_TRUE(refs_.take(&one, 1));
    refs_.copy_out(copy_);
    EXPECT_EQ(memcmp(copy_, p_ + kPageSize, kPageSize), 0) << "of what was dropped nothing is left";
  }
}

TEST_F(PageRefsTest, WhatIsGoneMeanwhileCanBeCopied) {
  const VmRange all = {p_, kBytes};
  ASSERT_TRUE(refs_.take(&all, 1));
  ASSERT_TRUE(vm_purge(p_, kBytes));
  refs_.copy_out(copy_);
  write_pattern(p_, kBytes, 7);
  EXPECT_EQ(memcmp(copy_, p_, kBytes), 0);
}

TEST_F(PageRefsTest, AllOrNothing) {
  ASSERT_TRUE(vm_protect_none(p_ + 2 * kPageSize, kPageSize));
  const VmRange all = {p_, kBytes};
  EXPECT_FALSE(refs_.take(&all, 1));
  EXPECT_TRUE(refs_.is_open());
  ASSERT_TRUE(vm_commit(p_ + 2 * kPageSize, kPageSize));
  ASSERT_TRUE(refs_.take(&all, 1)) << "nothing is left of the first attempt";
  refs_.copy_out(copy_);
  EXPECT_EQ(memcmp(copy_, p_, 2 * kPageSize), 0);
}

TEST_F(PageRefsTest, MoreThanAPipeMayHoldIsRefused) {
  PageRefs more;
  EXPECT_FALSE(more.open(Pages(uint64_t{1} << 20)));
  EXPECT_FALSE(more.is_open());
}

TEST_F(PageRefsTest, WithoutDescriptorsThereAreNone) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = {3, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  PageRefs more;
  EXPECT_FALSE(more.open(Pages(kPages)));
  EXPECT_FALSE(more.is_open());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace weir::os
