// process_test.cc: processes that are ended, by themselves and by a descriptor.
#include "os/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weir::os {
namespace {

template <class Body>
int signal_that_ended(Body body) {
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    pause();
    _exit(0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

TEST(Process, EndsItself) {
  EXPECT_EQ(signal_that_ended([] { terminate_self(); }), SIGTERM);
  EXPECT_EQ(signal_that_ended([] {
              signal(SIGTERM, SIG_IGN);
              terminate_self();
              kill_self();
            }),
            SIGKILL);
}

TEST(Process, IsEndedByItsDescriptorAndNobodyElseIs) {
  // Before the fork: the child may not have run at all when it is signalled.
  const auto before = signal(SIGTERM, SIG_IGN);
  const pid_t pid = fork();
  if (pid == 0)
    for (;;) pause();
  signal(SIGTERM, before);
  const int process = open_process(pid);
  ASSERT_GE(process, 0);
  ASSERT_EQ(kill(pid, SIGSTOP), 0);
  EXPECT_TRUE(end_process(process, Ending::kTerminate));
  EXPECT_TRUE(end_process(process, Ending::kKill));
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT_FALSE(end_process(process, Ending::kKill)) << "it is gone, whoever has its number now";
  close(process);
  EXPECT_LT(open_process(pid), 0);
}

}  // namespace
}  // namespace weir::os
