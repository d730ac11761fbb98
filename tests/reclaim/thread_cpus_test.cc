// thread_cpus_test.cc: from another thread: on which processor does a thread run.
#include "reclaim/thread_cpus.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <barrier>
#include <thread>
#include <vector>

#include "os/service_thread.h"

namespace weir {
namespace {

std::vector<unsigned> allowed_cpus() {
  cpu_set_t set;
  std::vector<unsigned> cpus;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

class ThreadCpusTest : public testing::Test {
 protected:
  void SetUp() override {
    if (os::cpu_word() == nullptr || static_cast<int>(*os::cpu_word()) < 0)
      GTEST_SKIP() << "the C library registers no rseq area here";
    ASSERT_TRUE(cpus_.init());
  }
  ThreadCpus cpus_;
};

TEST(ThreadCpus, WithoutATableNothingIsKnown) {
  ThreadCpus cpus;
  cpus.add();
  EXPECT_LT(cpus.cpu_of(os::thread_id()), 0);
  cpus.remove();
  cpus.clear();
}

TEST_F(ThreadCpusTest, OnlyThreadsThatWereAddedAreKnown) {
  const uint32_t own = os::thread_id();
  EXPECT_LT(cpus_.cpu_of(own), 0);
  cpus_.add();
  EXPECT_GE(cpus_.cpu_of(own), 0);
  EXPECT_LT(cpus_.cpu_of(0), 0) << "an unknown thread";
  EXPECT_LT(cpus_.cpu_of(own + ThreadCpus::kRoom), 0);
  // A second time takes no second place: once is enough to go.
  cpus_.add();
  cpus_.remove();
  EXPECT_LT(cpus_.cpu_of(own), 0);
  cpus_.remove();
  cpus_.add();
  EXPECT_GE(cpus_.cpu_of(own), 0);
}

TEST_F(ThreadCpusTest, FollowsAThreadFromProcessorToProcessor) {
  const std::vector<unsigned> all = allowed_cpus();
  std::barrier step(2);
  uint32_t thread = 0;
  std::thread traveller([&] {
    thread = os::thread_id();
    cpus_.add();
    for (const unsigned cpu : all) {
      EXPECT_TRUE(os::run_on_cpu(0, cpu));
      step.arrive_and_wait();
      step.arrive_and_wait();
    }
    cpus_.remove();
  });
  for (const unsigned cpu : all) {
    step.arrive_and_wait();
    EXPECT_EQ(cpus_.cpu_of(thread), static_cast<int>(cpu));
    step.arrive_and_wait();
  }
  traveller.join();
  EXPECT_LT(cpus_.cpu_of(thread), 0);
}

TEST_F(ThreadCpusTest, ManyThreadsAreToldApart) {
  constexpr unsigned kThreads = 100;
  const std::vector<unsigned> all = allowed_cpus();
  std::barrier step(kThreads + 1);
  std::vector<uint32_t> ids(kThreads);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      ids[i] = os::thread_id();
      EXPECT_TRUE(os::run_on_cpu(0, all[i % all.size()]));
      cpus_.add();
      step.arrive_and_wait();
      step.arrive_and_wait();
      if (i % 2 == 0) cpus_.remove();
      step.arrive_and_wait();
      step.arrive_and_wait();
    });
  }
  step.arrive_and_wait();
  for (unsigned i = 0; i < kThreads; ++i) EXPECT_EQ(cpus_.cpu_of(ids[i]), static_cast<int>(all[i % all.size()]));
  step.arrive_and_wait();
  step.arrive_and_wait();
  for (unsigned i = 0; i < kThreads; ++i)
    EXPECT_EQ(cpus_.cpu_of(ids[i]), i % 2 == 0 ? -1 : static_cast<int>(all[i % all.size()]));
  // In the child of a fork nobody of them is left.
  cpus_.clear();
  for (const uint32_t id : ids) EXPECT_LT(cpus_.cpu_of(id), 0);
  cpus_.add();
  EXPECT_GE(cpus_.cpu_of(os::thread_id()), 0);
  step.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ThreadCpusTest, ThreadsThatWentLeaveTheirPlaces) {
  unsigned unknown = 0;
  for (unsigned i = 0; i < ThreadCpus::kRoom + ThreadCpus::kRoom / 4; ++i) {
    std::thread([&] {
      cpus_.add();
      unknown += cpus_.cpu_of(os::thread_id()) < 0;
      cpus_.remove();
    }).join();
  }
  EXPECT_EQ(unknown, 0u);
}

}  // namespace
}  // namespace weir
