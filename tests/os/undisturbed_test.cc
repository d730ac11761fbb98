// Calls on a stack that stays in memory: only where the thread's own does not, with signals held back, within one
// another, and by many threads at a time; what is the thread's own is kept, where that may leave.
#include "os/undisturbed.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/units.h"

namespace weir::os {
namespace {

__attribute__((noinline)) uintptr_t here() {
  return reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
}

constexpr uintptr_t kNear = 16384;
bool is_near(uintptr_t a, uintptr_t b) {
  return (a < b ? b - a : a - b) < kNear;
}

// What was to stay, by whichever thread.
std::atomic<unsigned> nr_kept{0};
std::atomic<const char*> kept_begin{nullptr}, kept_end{nullptr};
void note_kept(void*, const char* begin, const char* end) {
  nr_kept.fetch_add(1);
  kept_begin = begin;
  kept_end = end;
}

// As much of the calling thread's stack as a test needs.
void make_stack_swappable() {
  swappable_memory(reinterpret_cast<const void*>(here() - 4 * kNear), 8 * kNear, {note_kept, nullptr});
}

bool holds_back(int signo) {
  sigset_t blocked;
  return pthread_sigmask(SIG_BLOCK, nullptr, &blocked) == 0 && sigismember(&blocked, signo) == 1;
}

TEST(UndisturbedTest, StaysWhereTheStackDoes) {
  uintptr_t inside = 0;
  bool held_back = false;
  undisturbed([&] {
    inside = here();
    held_back = holds_back(SIGTERM);
  });
  EXPECT_TRUE(is_near(inside, here()));
  EXPECT_TRUE(held_back);
  EXPECT_FALSE(holds_back(SIGTERM));
}

TEST(UndisturbedTest, LeavesAStackThatMayBeAway) {
  make_stack_swappable();
  uintptr_t outer = 0, inner = 0, again = 0;
  bool held_back = false;
  undisturbed([&] {
    outer = here();
    held_back = holds_back(SIGTERM);
    undisturbed([&] { inner = here(); });
  });
  undisturbed([&] { again = here(); });
  EXPECT_FALSE(is_near(outer, here()));
  EXPECT_TRUE(is_near(outer, inner));
  EXPECT_TRUE(is_near(outer, again));  // the same stack is used again
  EXPECT_TRUE(held_back);
  EXPECT_FALSE(holds_back(SIGTERM));
}

TEST(UndisturbedTest, WhatIsTheThreadsOwnIsKeptOnce) {
  std::thread([] {
    const auto* const own = static_cast<const char*>(__builtin_thread_pointer());
    const unsigned before = nr_kept;
    keep_thread_present();
    EXPECT_EQ(nr_kept, before);
    swappable_memory(own, 1, {note_kept, nullptr});
    undisturbed([] {});
    keep_thread_present();
    EXPECT_EQ(nr_kept, before + 1);
    EXPECT_LE(kept_begin, own);
    EXPECT_GT(kept_end, own);
    const auto* const errno_of_thread = reinterpret_cast<const char*>(&errno);
    EXPECT_LE(kept_begin, errno_of_thread);
    EXPECT_GT(kept_end, errno_of_thread);
  }).join();
}

TEST(UndisturbedTest, ThreadsHaveStacksOfTheirOwn) {
  constexpr unsigned kThreads = 40, kRounds = 300;  // more than stacks are kept
  // Wherever their stacks come to be; told before there are others.
  constexpr uintptr_t kEverywhere = uintptr_t{1} << 48;
  swappable_memory(reinterpret_cast<const void*>(kPageSize), kEverywhere, {note_kept, nullptr});
  std::atomic<unsigned> inside{0}, wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (unsigned round = 0; round < kRounds; ++round)
        undisturbed([&, t] {
          volatile unsigned mine[256];
          for (auto& each : mine) each = t;
          // All at once, the first time.
          inside.fetch_add(1);
          while (round == 0 && inside.load() < kThreads) std::this_thread::yield();
          for (auto& each : mine) wrong.fetch_add(each != t);
        });
    });
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(inside.load(), kThreads * kRounds);
}

}  // namespace
}  // namespace weir::os
