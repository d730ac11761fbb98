// lock_test.cc: the futex mutex, and the order that debug builds enforce.
#include "base/lock.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "support/sanitizer.h"

namespace weir {
namespace {

TEST(Lock, ExcludesAndLosesNothing) {
  Mutex mutex(LockRank::kZone);
  uint64_t counter = 0;  // plain: only the mutex protects it
  constexpr int kThreads = 4, kRounds = 20000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        LockGuard guard(mutex);
        ++counter;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(counter, uint64_t{kThreads} * kRounds);
}

// The holder keeps the lock for so long that every waiter goes to sleep; each must be woken.
TEST(Lock, SleepersAreWoken) {
  Mutex mutex(LockRank::kZone);
  int entered = 0;
  std::vector<std::thread> threads;
  mutex.lock();
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      LockGuard guard(mutex);
      ++entered;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(entered, 0);
  mutex.unlock();
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(entered, 4);
  EXPECT_TRUE(mutex.try_lock()) << "the lock is free again";
  mutex.unlock();
}

TEST(Lock, TryLockTellsWhetherItIsHeld) {
  Mutex mutex(LockRank::kDepot);
  ASSERT_TRUE(mutex.try_lock());
  std::thread([&] { EXPECT_FALSE(mutex.try_lock()); }).join();
  mutex.unlock();
  std::thread([&] {
    ASSERT_TRUE(mutex.try_lock());
    mutex.unlock();
  }).join();
}

TEST(Lock, RisingRanksAreAllowed) {
  Mutex decay(LockRank::kDecay), threads(LockRank::kThreads), depot(LockRank::kDepot), zone(LockRank::kZone);
  for (int i = 0; i < 2; ++i) {
    LockGuard a(decay), b(threads), c(depot), d(zone);
  }
  // Released out of order, then taken again.
  depot.lock();
  zone.lock();
  depot.unlock();
  zone.unlock();
  LockGuard again(depot);
}

void take_both(LockRank first, LockRank second, bool only_try) {
  Mutex outer(first), inner(second);
  LockGuard guard(outer);
  if (only_try)
    static_cast<void>(inner.try_lock());
  else
    inner.lock();
}

TEST(LockDeathTest, AFallingRankIsTrapped) {
  if (!kDebugChecks) GTEST_SKIP() << "lock ranks are checked in debug builds";
  EXPECT_DEATH(take_both(LockRank::kZone, LockRank::kDepot, false), "internal check failed");
}

TEST(LockDeathTest, TwoOfOneRankAreTrapped) {
  if (!kDebugChecks) GTEST_SKIP() << "lock ranks are checked in debug builds";
  EXPECT_DEATH(take_both(LockRank::kDepot, LockRank::kDepot, false), "internal check failed");
}

TEST(LockDeathTest, TryLockObeysTheOrderToo) {
  if (!kDebugChecks) GTEST_SKIP() << "lock ranks are checked in debug builds";
  EXPECT_DEATH(take_both(LockRank::kZone, LockRank::kThreads, true), "internal check failed");
}

TEST(Lock, RanksAreOfOneThread) {
  Mutex zone(LockRank::kZone), depot(LockRank::kDepot);
  LockGuard outer(zone);
  std::thread([&] { LockGuard inner(depot); }).join();
}

// Fork holds all locks of a rank at once, whatever the checks say, and others wait for it.
TEST(Lock, ForkTakesManyOfOneRank) {
  Mutex one(LockRank::kDepot), two(LockRank::kDepot);
  one.lock_for_fork();
  two.lock_for_fork();
  std::thread waiter([&] { LockGuard guard(two); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  one.unlock_for_fork();
  two.unlock_for_fork();
  waiter.join();
  LockGuard guard(one);
}

}  // namespace
}  // namespace weir
