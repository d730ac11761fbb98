// timer_test.cc: readable after a time, again after the same time, and no more when it was stopped.
#include "os/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

namespace weir {
namespace {

bool is_readable_within(int fd, int ms) {
  pollfd p = {fd, POLLIN, 0};
  return poll(&p, 1, ms) == 1 && (p.revents & POLLIN) != 0;
}

TEST(Timer, ComesAgainUntilItIsStopped) {
  // Only what must come is waited for; what must not is asked about at once.
  constexpr int kLongMs = 60000;
  errno = 0;
  const int fd = os::open_timer();
  ASSERT_GE(fd, 0);
  EXPECT_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  os::drain_timer(fd);  // does not wait
  EXPECT_FALSE(is_readable_within(fd, 0));
  os::set_timer(fd, 1500);
  EXPECT_TRUE(is_readable_within(fd, kLongMs));
  os::drain_timer(fd);
  EXPECT_TRUE(is_readable_within(fd, kLongMs));
  os::set_timer(fd, 0);
  EXPECT_FALSE(is_readable_within(fd, 0)) << "stopped, and what had come is gone";
  // More than a second.
  os::set_timer(fd, 3600ull * 1000 * 1000 + 1);
  EXPECT_FALSE(is_readable_within(fd, 0));
  EXPECT_EQ(errno, 0);
  close(fd);
}

}  // namespace
}  // namespace weir
