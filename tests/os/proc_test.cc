// proc_test.cc: time, processor, limits and randomness of the process, and the services that base/ gets from here.
#include "os/proc.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "base/port.h"

namespace weir::os {
namespace {

class ProcTest : public testing::Test {
 protected:
  ProcTest() { errno = kErrno; }
  ~ProcTest() override { EXPECT_EQ(errno, kErrno) << "errno was touched"; }
  static constexpr int kErrno = 4711;
};

// Runs `body` in a child; true when it returned true there.
template <class Body>
bool in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(ProcTest, TheClocksAgreeAndNeverGoBack) {
  uint64_t last_ms = now_ms(), last_ns = now_ns();
  for (int i = 0; i < 1000; ++i) {
    const uint64_t ms = now_ms(), ns = now_ns();
    EXPECT_GE(ms, last_ms);
    EXPECT_GE(ns, last_ns);
    last_ms = ms, last_ns = ns;
  }
  // The coarse clock is at most a tick behind the exact one that is read after it; a second is beyond any tick.
  const uint64_t coarse = now_ms(), exact = now_ns();
  EXPECT_LE(coarse, exact / 1000000);
  struct timespec reference;
  clock_gettime(CLOCK_MONOTONIC, &reference);
  EXPECT_GE(static_cast<uint64_t>(reference.tv_sec) * 1000000000u + static_cast<uint64_t>(reference.tv_nsec), exact);
}

TEST_F(ProcTest, SleepTakesAtLeastAsLong) {
  const uint64_t before = now_ns();
  sleep_ms(20);
  EXPECT_GE(now_ns() - before, 20000000u);
  sleep_ms(0);
}

TEST_F(ProcTest, CurrentCpuIsTheOneTheThreadIsBoundTo) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::thread([cpu] {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
      EXPECT_EQ(current_cpu(), cpu);
    }).join();
  }
}

TEST_F(ProcTest, LimitsAreReadAsSet) {
  EXPECT_TRUE(in_child([] {
    const rlimit space = {size_t{1} << 40, RLIM_INFINITY}, data = {size_t{1} << 39, RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &space) != 0 || setrlimit(RLIMIT_DATA, &data) != 0) return false;
    return address_space_limit() == size_t{1} << 40 && data_limit() == size_t{1} << 39;
  }));
  rlimit now;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &now), 0);
  EXPECT_EQ(address_space_limit(), now.rlim_cur == RLIM_INFINITY ? SIZE_MAX : now.rlim_cur);
  ASSERT_EQ(getrlimit(RLIMIT_DATA, &now), 0);
  EXPECT_EQ(data_limit(), now.rlim_cur == RLIM_INFINITY ? SIZE_MAX : now.rlim_cur);
}

TEST_F(ProcTest, RandomnessIsTheProcessesOwnAndStable) {
  EXPECT_EQ(process_random(), process_random());
  const uint64_t own = process_random();
  EXPECT_TRUE(in_child([own] { return process_random() == own; })) << "a fork is the same program start";
  EXPECT_NE(own, 0u);
}

TEST_F(ProcTest, ExitNowRunsNoHandlers) {
  const pid_t child = fork();
  if (child == 0) {
    atexit([] { _exit(7); });
    exit_now(42);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST_F(ProcTest, WriteAllWritesMoreThanAPipeHolds) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string data(300000, 'w');
  size_t received = 0;
  std::thread reader([&] {
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;) received += static_cast<size_t>(n);
  });
  port::write_all(ends[1], data.data(), data.size());
  close(ends[1]);
  reader.join();
  EXPECT_EQ(received, data.size());
  close(ends[0]);
}

TEST_F(ProcTest, FutexWaitReturnsWhenTheWordDiffers) {
  std::atomic<uint32_t> word{1};
  port::futex_wait(word, 0);  // returns at once, or the test hangs
  std::thread waiter([&] {
    while (word.load() == 1) port::futex_wait(word, 1);
  });
  word.store(2);
  port::futex_wake(word, 1);
  waiter.join();
}

TEST_F(ProcTest, DescriptorRoomIsMadeAndGivenBack) {
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  struct rlimit tight = {3, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  EXPECT_TRUE(DescriptorRoom::is_short_of(4));
  EXPECT_FALSE(DescriptorRoom::is_short_of(3));
  DescriptorRoom room;
  EXPECT_TRUE(room.open());
  EXPECT_FALSE(DescriptorRoom::is_short_of(64));
  EXPECT_TRUE(room.open()) << "open already";
  room.close();
  struct rlimit now;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &now), 0);
  EXPECT_EQ(now.rlim_cur, 3u);
  EXPECT_EQ(now.rlim_max, before.rlim_max);
  room.close();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_FALSE(DescriptorRoom::is_short_of(3));
}

}  // namespace
}  // namespace weir::os
