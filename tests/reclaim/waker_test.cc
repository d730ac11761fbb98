// waker_test.cc: who waits for pages is woken by a thread that runs only where nothing else does, or by the handler
// where that thread is kept from it; and a program whose threads are always woken so finds its content.
#include "reclaim/waker.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "os/file.h"
#include "os/uffd.h"
#include "os/vm.h"
#include "support/page_buffer.h"
#include "support/page_content.h"
#include "support/random.h"
#include "support/sanitizer.h"
#include "support/squeeze.h"
#include "support/touch.h"

namespace weir {
namespace {

// More than a waker has room for.
constexpr unsigned kPages = 100;
constexpr size_t kBytes = kPages * kPageSize;

// The threads of this process that run only where nothing else does.
std::vector<pid_t> idle_class_threads() {
  std::vector<pid_t> found;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    const pid_t id = std::stoi(task.path().filename().string());
    if (sched_getscheduler(id) == SCHED_IDLE) found.push_back(id);
  }
  return found;
}

class WakerTest : public testing::Test {
 protected:
  void SetUp() override {
    os::UffdFeatures features;
    fd_ = os::uffd_open(-1, features);
    if (fd_ < 0) GTEST_SKIP() << "userfaultfd cannot be had here: " << strerror(-fd_);
    memory_ = static_cast<char*>(os::vm_map(kBytes));
    ASSERT_NE(memory_, nullptr);
    os::vm_huge_pages(memory_, kBytes, false);
    ASSERT_GE(os::uffd_register(fd_, memory_, kBytes, false), 0);
    content_.fill(100);
  }
  // The wakers' threads live as long as the process, and so do their descriptors.
  void TearDown() override {
    if (memory_ != nullptr) os::vm_unmap(memory_, kBytes);
  }

  char* page(unsigned i) const { return memory_ + i * kPageSize; }
  // A thread that touches a page, once that has been reported, and the page is there, and nobody was woken.
  std::thread waiting_for(unsigned i) {
    std::thread thread([this, i] {
      touch(page(i));
      ++woken_;
    });
    os::UffdFault fault{};
    EXPECT_EQ(os::uffd_read(fd_, &fault, 1), 1);
    EXPECT_EQ(fault.address, page(i));
    int error = 0;
    EXPECT_EQ(os::uffd_copy(fd_, page(i), content_.page(0), kPageSize, false, error, os::Waking::kLater), kPageSize);
    return thread;
  }

  int fd_ = -1;
  char* memory_ = nullptr;
  PageBuffer content_{1};
  std::atomic<unsigned> woken_{0};
};

TEST_F(WakerTest, ItsThreadWakesWhoWaits) {
  Waker& waker = *new Waker;
  const unsigned cpu = static_cast<unsigned>(sched_getcpu());
  ASSERT_TRUE(waker.start(fd_, static_cast<int>(cpu)));
  ASSERT_TRUE(waker.start(fd_, static_cast<int>(cpu))) << "the same thread again";
  for (unsigned i = 0; i < 2; ++i) {
    std::thread thread = waiting_for(i);
    EXPECT_EQ(woken_.load(), i);
    waker.add(page(i), kPageSize);
    waker.post();
    thread.join();
    EXPECT_EQ(woken_.load(), i + 1);
  }
  EXPECT_TRUE(wait_until([&] { return !waker.is_behind(); }));
  const std::vector<pid_t> threads = idle_class_threads();
  ASSERT_EQ(threads.size(), 1u);
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(threads[0], sizeof(set), &set), 0);
  EXPECT_EQ(CPU_COUNT(&set), 1);
  EXPECT_TRUE(CPU_ISSET(cpu, &set));
}

// As when something else runs on its processor all the time: here it cannot be started.
TEST_F(WakerTest, WhatTheThreadIsKeptFromTheHandlerDoes) {
  if (kAsan || kTsan) GTEST_SKIP() << "sanitizers need address space for themselves";
  Waker& waker = *new Waker;
  ASSERT_FALSE(waker.is_behind());
  std::thread thread = waiting_for(0);
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  const struct rlimit nothing = {1, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &nothing), 0);
  const bool started = waker.start(fd_, -1);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  ASSERT_FALSE(started);
  waker.add(page(0), kPageSize);
  waker.post();
  EXPECT_TRUE(waker.is_behind());
  EXPECT_FALSE(waker.watch()) << "this may have been posted just now";
  EXPECT_EQ(woken_.load(), 0u);
  EXPECT_TRUE(waker.watch());
  thread.join();
  EXPECT_FALSE(waker.is_behind());
}

TEST_F(WakerTest, TheHandlerWakesEverybodyItself) {
  Waker& waker = *new Waker;
  ASSERT_TRUE(waker.start(fd_, -1));
  for (unsigned round = 0; round < 20; ++round) {
    std::thread thread = waiting_for(round);
    waker.add(page(round), kPageSize);
    waker.wake_all();
    EXPECT_FALSE(waker.is_behind());
    thread.join();
  }
  EXPECT_EQ(woken_.load(), 20u);
}

// Nobody looks after the thread, so that it comes to nothing but by chance.
TEST_F(WakerTest, MoreThanThereIsRoomForIsWokenAtOnce) {
  Waker& waker = *new Waker;
  ASSERT_TRUE(waker.start(fd_, -1));
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kPages; ++i) {
    threads.push_back(waiting_for(i));
    waker.add(page(i), kPageSize);
  }
  waker.post();
  waker.stop();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(woken_.load(), kPages);
  EXPECT_FALSE(waker.is_behind());
  // It goes on afterwards.
  waker.add(page(0), kPageSize);
  waker.post();
  EXPECT_TRUE(wait_until([&] { return !waker.is_behind(); }));
}

// The timer runs while there is something to do, and stops after it.
TEST_F(WakerTest, TheTimerStopsWhenAllIsQuiet) {
  Waker& waker = *new Waker;
  ASSERT_TRUE(waker.start(fd_, -1));
  waker.add(page(0), kPageSize);
  waker.post();
  EXPECT_TRUE(wait_until([&] { return !waker.is_behind(); }));
  pollfd timer = {waker.timer(), POLLIN, 0};
  for (unsigned looks = 0; looks < 2; ++looks) {
    ASSERT_EQ(poll(&timer, 1, 60000), 1);
    EXPECT_FALSE(waker.watch());
  }
  EXPECT_EQ(poll(&timer, 1, 20), 0);
}

// Each fault of three threads, of reads and writes, in memory and in a file; 0 moves: always.
TEST(AlwaysWithWaker, ContentComesBack) {
  constexpr size_t kLimit = size_t{16} << 20;
  constexpr size_t kBlock = size_t{12} << 20;
  LimitedAllocator a;
  a.options().waker_moves = 0;
  ASSERT_TRUE(a.options().swap.assign(std::filesystem::temp_directory_path().string()));
  if (const char* why = a.start(kLimit, size_t{256} << 20)) GTEST_SKIP() << why;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t)
    threads.emplace_back([&a, t] {
      Random random(t + 1);
      char* const p = static_cast<char*>(a->malloc(nullptr, kBlock));
      ASSERT_NE(p, nullptr);
      std::vector<uint64_t> seeds(kBlock / kPageSize);
      const auto write = [&](size_t i) {
        seeds[i] = content_seed(random.next(), i % 4 == 0 ? Content::kRandom : Content::kCompressible);
        write_content(p + i * kPageSize, kPageSize, seeds[i]);
      };
      for (size_t i = 0; i < seeds.size(); ++i) write(i);
      for (unsigned n = 0; n < 20000; ++n) {
        const size_t i = random.below(seeds.size());
        if (n % 3 == 0) write(i);
        ASSERT_TRUE(check_content_at(p + i * kPageSize, 0, kPageSize, seeds[i])) << "page " << i;
      }
      ASSERT_EQ(a->free(nullptr, p).misuse, Misuse::kNone);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_STREQ(find_fault(a), nullptr);
  const ReclaimStats s = settled_stats(a);
  EXPECT_GT(s.pswpin, 0u);
  EXPECT_GT(s.zswpin, 0u);
  EXPECT_FALSE(idle_class_threads().empty());
}

}  // namespace
}  // namespace weir
