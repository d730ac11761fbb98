// shrinkers_test.cc: who runs which shrinkers, one thread at a time; that none of them runs after it was removed,
// however the two meet; and the mailbox for the thread.
#include "reclaim/shrinkers.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <thread>
#include <vector>

#include "support/random.h"
#include "support/sanitizer.h"

namespace weir {
namespace {

using Kind = Shrinkers::Kind;
using Caller = Shrinkers::Caller;

struct Cache {
  Shrinkers* shrinkers = nullptr;
  std::atomic<size_t> objects{0};
  std::atomic<unsigned> counts{0}, scans{0}, running{0};
  std::atomic<bool> registered{true}, hold{false}, was_inside{false};
  bool removes_itself = false;

  void enter() {
    if (running.fetch_add(1) != 0) ADD_FAILURE() << "two threads at a time";
    if (!registered.load()) ADD_FAILURE() << "called after it was removed";
  }
  static size_t count(void* arg) {
    auto& self = *static_cast<Cache*>(arg);
    self.enter();
    self.counts.fetch_add(1);
    self.running.fetch_sub(1);
    return self.objects.load();
  }
  static size_t scan(void* arg, size_t wanted) {
    auto& self = *static_cast<Cache*>(arg);
    self.enter();
    self.scans.fetch_add(1);
    if (self.shrinkers->is_inside()) self.was_inside.store(true);
    while (self.hold.load()) usleep(100);
    size_t now = self.objects.load(), less;
    do {
      less = now > wanted ? now - wanted : 0;
    } while (!self.objects.compare_exchange_weak(now, less));
    if (self.removes_itself) {
      EXPECT_TRUE(self.shrinkers->remove(&self));
      EXPECT_FALSE(self.shrinkers->remove(&self));
    }
    self.running.fetch_sub(1);
    return now - less;
  }
  void add(Shrinkers& to, Kind kind, size_t count_of_objects = 1000) {
    shrinkers = &to;
    objects.store(count_of_objects);
    ASSERT_EQ(to.add(this, {count, scan, this, kDefaultSeeks, 0}, "cache", kind), Shrinkers::Added::kAdded);
  }
};

TEST(Shrinkers, EachOnceUnderItsAddress) {
  Shrinkers shrinkers;
  EXPECT_EQ(shrinkers.shrink(Caller::kTrim, 0), 0u);
  std::deque<Cache> caches(60);  // more than one chunk
  for (Cache& cache : caches) cache.add(shrinkers, Kind::kProgram);
  EXPECT_EQ(shrinkers.add(&caches[7], {Cache::count, Cache::scan, &caches[7], 2, 0}, "", Kind::kProgram),
            Shrinkers::Added::kExists);
  EXPECT_EQ(shrinkers.shrink(Caller::kTrim, 0), 60u * 1000);
  for (const Cache& cache : caches) EXPECT_EQ(cache.counts.load(), 1u);
  for (Cache& cache : caches) EXPECT_TRUE(shrinkers.remove(&cache));
  for (Cache& cache : caches) EXPECT_FALSE(shrinkers.remove(&cache));
  EXPECT_FALSE(shrinkers.has_any());
  // The places are used again, and remember nothing.
  caches[0].add(shrinkers, Kind::kProgram, 10);
  Shrinkers::Stats stats;
  ASSERT_TRUE(shrinkers.stats(&caches[0], stats));
  EXPECT_EQ(stats.scanned + stats.freed + stats.deferred, 0u);
  EXPECT_EQ(shrinkers.shrink(Caller::kThread, 12), 0u);
  ASSERT_TRUE(shrinkers.stats(&caches[0], stats));
  EXPECT_EQ(stats.deferred, 0u) << "10 >> 12";
  EXPECT_TRUE(shrinkers.remove(&caches[0]));
}

TEST(Shrinkers, WhoRunsWhich) {
  const struct {
    Caller caller;
    bool own, program, direct;
  } rows[] = {{Caller::kKswapd, true, false, false},
              {Caller::kWaiter, true, false, true},
              {Caller::kThread, false, true, true},
              {Caller::kTrim, false, true, true}};
  for (const auto& row : rows) {
    Shrinkers shrinkers;
    Cache own, program, direct;
    own.add(shrinkers, Kind::kOwn);
    program.add(shrinkers, Kind::kProgram);
    direct.add(shrinkers, Kind::kDirect);
    shrinkers.shrink(row.caller, 1);
    EXPECT_EQ(own.scans.load() != 0, row.own);
    EXPECT_EQ(program.scans.load() != 0, row.program);
    EXPECT_EQ(direct.scans.load() != 0, row.direct);
    // Who runs code of the program never waits for memory; nor does kswapd, which is no such thread.
    for (const Cache* each : {&own, &program, &direct})
      EXPECT_EQ(each->was_inside.load(), each->scans.load() != 0 && row.caller != Caller::kKswapd);
    EXPECT_FALSE(shrinkers.is_inside());
    for (Cache* each : {&own, &program, &direct}) EXPECT_TRUE(shrinkers.remove(each));
  }
}

TEST(Shrinkers, OneThatRunsIsPassedOver) {
  Shrinkers shrinkers;
  Cache slow, other;
  slow.add(shrinkers, Kind::kDirect);
  other.add(shrinkers, Kind::kDirect);
  slow.hold.store(true);
  std::thread thread([&] { shrinkers.shrink(Caller::kWaiter, 0); });
  while (slow.scans.load() == 0) usleep(100);
  EXPECT_EQ(shrinkers.shrink(Caller::kTrim, 0), 1000u) << "the other one's";
  EXPECT_EQ(slow.scans.load(), 1u);
  slow.hold.store(false);
  thread.join();
  EXPECT_TRUE(shrinkers.remove(&slow));
  EXPECT_TRUE(shrinkers.remove(&other));
}

TEST(Shrinkers, RemovingWaitsForIt) {
  Shrinkers shrinkers;
  Cache cache;
  cache.add(shrinkers, Kind::kProgram);
  cache.hold.store(true);
  std::thread shrinking([&] { shrinkers.shrink(Caller::kThread, 0); });
  while (cache.scans.load() == 0) usleep(100);
  std::atomic<bool> removed{false};
  std::thread removing([&] {
    EXPECT_TRUE(shrinkers.remove(&cache));
    EXPECT_EQ(cache.running.load(), 0u);
    removed.store(true);
  });
  usleep(20000);
  EXPECT_FALSE(removed.load());
  cache.hold.store(false);
  removing.join();
  shrinking.join();
  EXPECT_EQ(cache.scans.load(), 1u) << "the round ended with the batch that was under way";
}

TEST(Shrinkers, RemovedByItself) {
  Shrinkers shrinkers;
  Cache cache, other;
  cache.removes_itself = true;
  cache.add(shrinkers, Kind::kProgram);
  other.add(shrinkers, Kind::kProgram);
  EXPECT_EQ(shrinkers.shrink(Caller::kThread, 0), 128u + 1000) << "no second batch";
  EXPECT_FALSE(shrinkers.remove(&cache));
  cache.registered.store(false);
  other.objects.store(1000);
  EXPECT_EQ(shrinkers.shrink(Caller::kThread, 0), 1000u);
  EXPECT_TRUE(shrinkers.remove(&other));
}

// Threads of all kinds shrink while others add and remove; the callbacks themselves look whether they may be run.
TEST(Shrinkers, AddAndRemoveWhileOthersShrink) {
  Shrinkers shrinkers;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> freed{0};
  std::vector<std::thread> threads;
  for (const Caller caller : {Caller::kThread, Caller::kWaiter, Caller::kTrim})
    threads.emplace_back([&, caller] {
      for (Random random(7); !stop.load();)
        freed.fetch_add(shrinkers.shrink(caller, static_cast<unsigned>(random.below(4))));
    });
  for (unsigned t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      Random random(t + 1);
      std::vector<Cache> caches(8);
      std::vector<bool> in(caches.size());
      // On two processors these can be through before one of the others has had its turn.
      for (int i = 0; i < 4000 || freed.load() == 0; ++i) {
        const size_t n = random.below(caches.size());
        Cache& cache = caches[n];
        if (in[n]) {
          ASSERT_TRUE(shrinkers.remove(&cache));
          cache.registered.store(false);
        } else {
          cache.registered.store(true);
          cache.removes_itself = false;
          cache.add(shrinkers, random.below(2) == 0 ? Kind::kProgram : Kind::kDirect, random.below(2000));
        }
        in[n] = !in[n];
      }
      for (size_t n = 0; n < caches.size(); ++n) ASSERT_EQ(shrinkers.remove(&caches[n]), in[n]);
    });
  threads[3].join();
  threads[4].join();
  stop.store(true);
  for (int t = 0; t < 3; ++t) threads[static_cast<size_t>(t)].join();
  EXPECT_GT(freed.load(), 0u);
  EXPECT_FALSE(shrinkers.has_any());
  EXPECT_FALSE(shrinkers.is_inside());
}

TEST(Shrinkers, TheMailboxKeepsTheGreatestNeed) {
  Shrinkers shrinkers;
  shrinkers.ask(5);
  EXPECT_FALSE(shrinkers.wants_thread()) << "there is nothing to shrink";
  Cache cache;
  cache.add(shrinkers, Kind::kProgram);
  shrinkers.ask(9);
  EXPECT_TRUE(shrinkers.wants_thread());
  EXPECT_FALSE(shrinkers.is_busy()) << "nobody will come";
  shrinkers.thread_begins();
  EXPECT_FALSE(shrinkers.wants_thread());
  EXPECT_TRUE(shrinkers.is_inside());
  EXPECT_TRUE(shrinkers.is_busy());
  shrinkers.ask(3);
  shrinkers.ask(7);
  EXPECT_EQ(shrinkers.begin_round(), 3u);
  EXPECT_TRUE(shrinkers.is_busy());
  shrinkers.ask(12);
  shrinkers.end_round();
  EXPECT_TRUE(shrinkers.is_busy());
  EXPECT_EQ(shrinkers.begin_round(), 12u);
  shrinkers.end_round();
  EXPECT_FALSE(shrinkers.is_busy());
  EXPECT_EQ(shrinkers.begin_round(), Shrinkers::kNothing);
  EXPECT_FALSE(shrinkers.is_busy());
  EXPECT_TRUE(shrinkers.remove(&cache));
}

// In the child of a fork, what other threads were doing is not being done. By a real one, in which they do not exist.
TEST(Shrinkers, AfterAFork) {
  if (kTsan) GTEST_SKIP() << "forks with threads";
  Shrinkers shrinkers;
  Cache busy, leaving, quiet;
  busy.add(shrinkers, Kind::kProgram);
  leaving.add(shrinkers, Kind::kDirect);
  quiet.add(shrinkers, Kind::kProgram);
  busy.hold.store(true);
  leaving.hold.store(true);
  std::thread two([&] { shrinkers.shrink(Caller::kWaiter, 0); });
  while (leaving.scans.load() == 0) usleep(100);
  std::thread one([&] {
    shrinkers.thread_begins();
    shrinkers.shrink(Caller::kThread, 0);
  });
  while (busy.scans.load() == 0) usleep(100);
  std::thread three([&] { EXPECT_TRUE(shrinkers.remove(&leaving)); });
  usleep(20000);
  shrinkers.lock_for_fork();
  const pid_t child = fork();
  if (child == 0) {
    shrinkers.after_fork_in_child();
    shrinkers.unlock_for_fork();
    busy.running.store(0);
    busy.hold.store(false);
    unsigned wrong = 0;
    if (shrinkers.has_thread() || shrinkers.is_busy() || shrinkers.is_inside()) wrong |= 1;
    if (shrinkers.remove(&leaving)) wrong |= 2;
    if (shrinkers.shrink(Caller::kThread, 0) != 2000) wrong |= 4;
    if (!shrinkers.remove(&busy) || !shrinkers.remove(&quiet)) wrong |= 8;
    _exit(static_cast<int>(wrong));
  }
  shrinkers.unlock_for_fork();
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  busy.hold.store(false);
  leaving.hold.store(false);
  one.join();
  two.join();
  three.join();
}

}  // namespace
}  // namespace weir
