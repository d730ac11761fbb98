// eventfd_test.cc: readable after a signal, unreadable after it was drained, and nothing ever waits.
#include "os/eventfd.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

namespace weir {
namespace {

bool is_readable(int fd) {
  pollfd p = {fd, POLLIN, 0};
  return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

TEST(Eventfd, SignalsAndDrains) {
  errno = 0;
  const int fd = os::open_eventfd();
  ASSERT_GE(fd, 0);
  EXPECT_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_FALSE(is_readable(fd));
  os::drain_eventfd(fd);
  EXPECT_FALSE(is_readable(fd));
  os::signal_eventfd(fd);
  os::signal_eventfd(fd);
  EXPECT_TRUE(is_readable(fd));
  os::drain_eventfd(fd);
  EXPECT_FALSE(is_readable(fd)) << "both at once";
  close(fd);
  errno = 0;
  os::signal_eventfd(fd);
  os::drain_eventfd(fd);
  EXPECT_EQ(errno, 0);
}

}  // namespace
}  // namespace weir
