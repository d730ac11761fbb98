// swap_ring_test.cc: the io_uring by itself.
#include "os/swap_ring.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>

#include <cstring>
#include <set>

#include "support/page_buffer.h"
#include "support/swap_place.h"

namespace weir::os {
namespace {

constexpr unsigned kEntries = 8;

bool readable(int fd) {
  struct pollfd entry = {fd, POLLIN, 0};
  return poll(&entry, 1, 0) == 1;
}

class SwapRingTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!ring_.open(kEntries)) GTEST_SKIP() << "this kernel has no io_uring for us";
    fd_ = ::open((folder_ / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(fd_, 0);
  }
  ~SwapRingTest() override {
    ring_.close();
    if (fd_ >= 0) close(fd_);
  }
  // One result, waited for.
  int result_of(uint64_t wanted_tag) {
    uint64_t tag = 0;
    int result = 0;
    while (!ring_.pop(tag, result)) EXPECT_EQ(ring_.submit(true), 0);
    EXPECT_EQ(tag, wanted_tag);
    return result;
  }
  SwapFolder folder_;
  SwapRing ring_;
  int fd_ = -1;
};

TEST_F(SwapRingTest, WritesAndReads) {
  const PageBuffer out(4), in(4);
  out.fill(1);
  ring_.push(SwapRing::Op::kWrite, fd_, out.data(), out.bytes(), 8192, 11);
  EXPECT_EQ(result_of(11), static_cast<int>(out.bytes()));
  ring_.push(SwapRing::Op::kRead, fd_, in.data(), in.bytes(), 8192, 12);
  EXPECT_EQ(result_of(12), static_cast<int>(in.bytes()));
  EXPECT_TRUE(in.is(1));
  ring_.push(SwapRing::Op::kRead, -1, in.data(), in.bytes(), 0, 13);
  EXPECT_EQ(result_of(13), -EBADF);
}

TEST_F(SwapRingTest, ManyTimesAroundWithSeveralUnderWay) {
  const PageBuffer out(kEntries), in(kEntries);
  out.fill(5);
  ASSERT_EQ(pwrite(fd_, out.data(), out.bytes(), 0), static_cast<ssize_t>(out.bytes()));
  for (unsigned round = 0; round < 200; ++round) {
    memset(in.data(), 0, in.bytes());
    for (unsigned i = 0; i < kEntries; ++i)
      ring_.push(SwapRing::Op::kRead, fd_, in.page(i), kPageSize, i * kPageSize, 1000 * round + i);
    ASSERT_EQ(ring_.submit(false), 0);
    std::set<uint64_t> tags;
    while (tags.size() < kEntries) {
      uint64_t tag;
      int result;
      if (!ring_.pop(tag, result)) {
        ASSERT_EQ(ring_.submit(true), 0);
        continue;
      }
      ASSERT_EQ(result, static_cast<int>(kPageSize));
      ASSERT_TRUE(tags.insert(tag).second);
    }
    EXPECT_EQ(*tags.begin(), 1000 * round);
    ASSERT_TRUE(in.is(5));
  }
}

TEST_F(SwapRingTest, DescriptorIsReadableWhileResultsWait) {
  EXPECT_FALSE(readable(ring_.fd()));
  ring_.push(SwapRing::Op::kNothing, -1, nullptr, 0, 0, 7);
  EXPECT_FALSE(readable(ring_.fd())) << "not started";
  ASSERT_EQ(ring_.submit(false), 0);
  EXPECT_TRUE(readable(ring_.fd()));
  EXPECT_EQ(result_of(7), 0);
  EXPECT_FALSE(readable(ring_.fd()));
}

TEST_F(SwapRingTest, WhatIsTakenBackNeverStarts) {
  for (uint64_t tag = 1; tag <= 3; ++tag) ring_.push(SwapRing::Op::kNothing, -1, nullptr, 0, 0, tag);
  uint64_t tag = 0;
  ASSERT_TRUE(ring_.take_back(tag));
  EXPECT_EQ(tag, 3u);
  ASSERT_TRUE(ring_.take_back(tag));
  EXPECT_EQ(tag, 2u);
  ASSERT_EQ(ring_.submit(false), 0);
  EXPECT_FALSE(ring_.take_back(tag));
  EXPECT_EQ(result_of(1), 0);
  int result;
  EXPECT_FALSE(ring_.pop(tag, result));
}

TEST_F(SwapRingTest, AClosedDescriptorIsAnErrorAndWorkComesBack) {
  const int number = ring_.fd();
  const int spare = dup(number);
  close(number);
  ring_.push(SwapRing::Op::kNothing, -1, nullptr, 0, 0, 9);
  EXPECT_EQ(ring_.submit(false), -EBADF);
  uint64_t tag;
  ASSERT_TRUE(ring_.take_back(tag));
  EXPECT_EQ(tag, 9u);
  ASSERT_EQ(dup2(spare, number), number);
  close(spare);
}

TEST_F(SwapRingTest, AChildLetsGoOfIt) {
  const pid_t child = fork();
  if (child == 0) {
    ring_.abandon(true);
    _exit(ring_.is_open() ? 1 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  ring_.push(SwapRing::Op::kNothing, -1, nullptr, 0, 0, 3);
  EXPECT_EQ(result_of(3), 0);
}

TEST(SwapEvent, RaisedAndCleared) {
  const int event = open_event();
  ASSERT_GE(event, 0);
  EXPECT_FALSE(readable(event));
  clear_event(event);
  raise_event(event);
  raise_event(event);
  EXPECT_TRUE(readable(event));
  clear_event(event);
  EXPECT_FALSE(readable(event));
  close(event);
}

}  // namespace
}  // namespace weir::os
