// rights_test.cc: a thread that has given up rights, or whose process has, is told from one that has those of its
// process (os/rights.h).
#include "os/rights.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

namespace weir::os {
namespace {

class RightsTest : public testing::Test {
 protected:
  ~RightsTest() override { close(proc_); }
  const int proc_ = open("/proc", O_RDONLY | O_DIRECTORY);
};

TEST_F(RightsTest, ThreadsBeginWithThoseOfTheirProcess) {
  EXPECT_TRUE(has_rights_of_process(proc_));
  std::thread([&] { EXPECT_TRUE(has_rights_of_process(proc_)); }).join();
}

// By system calls, because the C library's functions change all threads.
TEST_F(RightsTest, OfAThreadThatGaveThemUp) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give up rights";
  constexpr gid_t kOthers[] = {65534, 12345};
  std::thread([&] {
    ASSERT_EQ(syscall(SYS_setgroups, 2, kOthers), 0);
    EXPECT_FALSE(has_rights_of_process(proc_));
  }).join();
  std::thread([&] {
    ASSERT_EQ(syscall(SYS_setresgid, -1, 65534, -1), 0);
    EXPECT_FALSE(has_rights_of_process(proc_));
  }).join();
  std::thread([&] {
    ASSERT_EQ(syscall(SYS_setresuid, 65534, 65534, 65534), 0);
    EXPECT_FALSE(has_rights_of_process(proc_));
  }).join();
  EXPECT_TRUE(has_rights_of_process(proc_));
}

TEST_F(RightsTest, WithoutProcItCannotBeTold) {
  EXPECT_FALSE(has_rights_of_process(-1));
  const int other = open("/", O_RDONLY | O_DIRECTORY);
  EXPECT_FALSE(has_rights_of_process(other));
  close(other);
}

}  // namespace
}  // namespace weir::os
