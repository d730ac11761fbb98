// events_test.cc: who is told of what and when, by a clock of the test's own: of each kind once a window, nothing lost;
// and that a callback that was taken back does not run.
#include "reclaim/events.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "os/eventfd.h"
#include "weir/events.h"

namespace weir {
namespace {

constexpr uint64_t kMs = 1'000'000, kSecond = 1000 * kMs;

bool is_readable(int fd) {
  pollfd p = {fd, POLLIN, 0};
  return poll(&p, 1, 0) == 1;
}

class EventsTest : public testing::Test {
 protected:
  EventsTest() { psi_.start(now_); }
  // A descriptor and the copy that weir's threads would have.
  int open(const Events::Filter& filter) {
    const int fd = os::open_eventfd();
    EXPECT_EQ(events_.add_descriptor(filter, fd), Events::Added::kAdded);
    events_.adopted(fd, dup(fd));
    return fd;
  }
  // As kswapd does: 50 ms later.
  bool tick() {
    now_ += 50 * kMs;
    psi_.update(now_, 1);
    return events_.poll(now_, psi_);
  }
  void tick_for(uint64_t ns) {
    for (uint64_t end = now_ + ns; now_ < end;) tick();
  }

  Events events_;
  Psi psi_;
  uint64_t now_ = 100 * kSecond;
};

TEST_F(EventsTest, ADescriptorIsReadableUntilItIsRead) {
  const int fd = open({WEIR_EVENT_LIMIT | WEIR_EVENT_OOM, 0, kSecond});
  tick();
  EXPECT_FALSE(is_readable(fd));
  EXPECT_EQ(events_.read(fd), 0);
  events_.note(WEIR_EVENT_LIMIT | WEIR_EVENT_KSWAPD);
  EXPECT_FALSE(is_readable(fd)) << "not before kswapd has looked";
  tick();
  EXPECT_TRUE(is_readable(fd));
  EXPECT_EQ(events_.read(fd), WEIR_EVENT_LIMIT) << "what it was not asked for is not told";
  EXPECT_FALSE(is_readable(fd));
  EXPECT_EQ(events_.read(fd), 0);
  EXPECT_TRUE(events_.remove_descriptor(fd));
  EXPECT_EQ(events_.read(fd), -1);
  EXPECT_FALSE(events_.remove_descriptor(fd));
  close(fd);
  // The copy is closed by who has it.
  tick();
}

TEST_F(EventsTest, OnceAWindowAndNothingIsLost) {
  const int fd = open({WEIR_EVENT_LIMIT | WEIR_EVENT_OOM, 0, kSecond});
  tick();
  unsigned told = 0;
  for (int i = 0; i < 200; ++i) {  // 10 s
    events_.note(WEIR_EVENT_LIMIT);
    tick();
    if (events_.read(fd) == WEIR_EVENT_LIMIT) ++told;
  }
  EXPECT_GE(told, 9u);
  EXPECT_LE(told, 11u);
  // Within the window of the last: told when that is over, once. Another kind has a window of its own.
  tick_for(3 * kSecond);
  static_cast<void>(events_.read(fd));
  events_.note(WEIR_EVENT_LIMIT);
  tick();
  EXPECT_EQ(events_.read(fd), WEIR_EVENT_LIMIT);
  events_.note(WEIR_EVENT_LIMIT | WEIR_EVENT_OOM);
  tick();
  EXPECT_EQ(events_.read(fd), WEIR_EVENT_OOM);
  tick_for(500 * kMs);
  EXPECT_EQ(events_.read(fd), 0);
  tick_for(kSecond);
  EXPECT_EQ(events_.read(fd), WEIR_EVENT_LIMIT);
  tick_for(3 * kSecond);
  EXPECT_EQ(events_.read(fd), 0);
  close(fd);
}

TEST_F(EventsTest, StallsAboveTheThreshold) {
  const int some = open({WEIR_EVENT_SOME, 100 * kMs, kSecond});
  const int full = open({WEIR_EVENT_FULL, 100 * kMs, kSecond});
  const int dear = open({WEIR_EVENT_SOME, 900 * kMs, kSecond});
  tick();
  for (int i = 0; i < 8; ++i) {  // 8 * 25 ms within 0.8 s, with one of two threads
    psi_.begin_stall(now_, 2);
    psi_.end_stall(now_ + 25 * kMs, 2);
    now_ += 50 * kMs;
    tick();
  }
  EXPECT_EQ(events_.read(some), WEIR_EVENT_SOME);
  EXPECT_EQ(events_.read(full), 0);
  EXPECT_EQ(events_.read(dear), 0);
  tick_for(5 * kSecond);
  static_cast<void>(events_.read(some));
  tick_for(5 * kSecond);
  EXPECT_EQ(events_.read(some), 0) << "nothing happens any more";
  psi_.begin_stall(now_, 1);
  tick_for(3 * kSecond);
  EXPECT_EQ(events_.read(some), WEIR_EVENT_SOME);
  EXPECT_EQ(events_.read(full), WEIR_EVENT_FULL);
  EXPECT_EQ(events_.read(dear), WEIR_EVENT_SOME);
  for (const int fd : {some, full, dear}) close(fd);
}

struct Heard {
  std::vector<uint32_t> events;
  Events* from = nullptr;
  bool takes_itself_back = false;
  std::atomic<bool> hold{false}, running{false};
  static void hear(uint32_t events, void* arg) {
    auto& self = *static_cast<Heard*>(arg);
    self.running.store(true);
    self.events.push_back(events);
    while (self.hold.load()) usleep(100);
    if (self.takes_itself_back) {
      EXPECT_TRUE(self.from->remove_callback(hear, arg));
    }
    self.running.store(false);
  }
};

TEST_F(EventsTest, Callbacks) {
  Heard heard, other;
  const Events::Filter filter = {WEIR_EVENT_KSWAPD, 0, kSecond};
  EXPECT_EQ(events_.add_callback(filter, Heard::hear, &heard), Events::Added::kAdded);
  EXPECT_EQ(events_.add_callback(filter, Heard::hear, &heard), Events::Added::kExists);
  EXPECT_EQ(events_.add_callback({WEIR_EVENT_OOM, 0, kSecond}, Heard::hear, &other), Events::Added::kAdded);
  EXPECT_FALSE(tick());
  events_.note(WEIR_EVENT_KSWAPD);
  EXPECT_TRUE(tick());
  events_.run_callbacks();
  EXPECT_EQ(heard.events, std::vector<uint32_t>{WEIR_EVENT_KSWAPD});
  EXPECT_TRUE(other.events.empty());
  EXPECT_FALSE(tick());
  // Told, but taken back before it was heard.
  tick_for(2 * kSecond);
  events_.note(WEIR_EVENT_KSWAPD);
  EXPECT_TRUE(tick());
  EXPECT_TRUE(events_.remove_callback(Heard::hear, &heard));
  EXPECT_FALSE(events_.remove_callback(Heard::hear, &heard));
  events_.run_callbacks();
  EXPECT_EQ(heard.events.size(), 1u);
  EXPECT_TRUE(events_.remove_callback(Heard::hear, &other));
  EXPECT_FALSE(events_.has_callbacks());
}

TEST_F(EventsTest, TakingACallbackBackWaitsForIt) {
  Heard heard;
  heard.hold.store(true);
  ASSERT_EQ(events_.add_callback({WEIR_EVENT_OOM, 0, kSecond}, Heard::hear, &heard), Events::Added::kAdded);
  events_.note(WEIR_EVENT_OOM);
  EXPECT_TRUE(tick());
  std::thread runs([&] { events_.run_callbacks(); });
  while (!heard.running.load()) usleep(100);
  std::atomic<bool> done{false};
  std::thread removes([&] {
    EXPECT_TRUE(events_.remove_callback(Heard::hear, &heard));
    EXPECT_FALSE(heard.running.load());
    done.store(true);
  });
  usleep(20000);
  EXPECT_FALSE(done.load());
  heard.hold.store(false);
  removes.join();
  runs.join();
  EXPECT_FALSE(events_.has_callbacks());
}

TEST_F(EventsTest, ACallbackMayTakeItselfBack) {
  Heard heard;
  heard.from = &events_;
  heard.takes_itself_back = true;
  ASSERT_EQ(events_.add_callback({WEIR_EVENT_OOM, 0, kSecond}, Heard::hear, &heard), Events::Added::kAdded);
  for (int i = 0; i < 3; ++i) {
    events_.note(WEIR_EVENT_OOM);
    tick_for(2 * kSecond);
    events_.run_callbacks();
  }
  EXPECT_EQ(heard.events.size(), 1u);
  EXPECT_FALSE(events_.has_callbacks());
}

TEST_F(EventsTest, ThereIsRoomForSoMany) {
  std::vector<Heard> all(Events::kMost);
  const Events::Filter filter = {WEIR_EVENT_OOM, 0, kSecond};
  for (Heard& each : all) ASSERT_EQ(events_.add_callback(filter, Heard::hear, &each), Events::Added::kAdded);
  Heard more;
  EXPECT_EQ(events_.add_callback(filter, Heard::hear, &more), Events::Added::kNoRoom);
  EXPECT_EQ(events_.add_descriptor(filter, 99), Events::Added::kNoRoom);
  EXPECT_TRUE(events_.remove_callback(Heard::hear, &all[100]));
  EXPECT_EQ(events_.add_callback(filter, Heard::hear, &more), Events::Added::kAdded);
}

// Threads note, one polls, one runs callbacks, others come and go.
TEST_F(EventsTest, FromManyThreads) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    while (!stop.load()) tick();
  });
  threads.emplace_back([&] {
    while (!stop.load()) events_.run_callbacks();
  });
  threads.emplace_back([&] {
    while (!stop.load()) events_.note(WEIR_EVENT_LIMIT);
  });
  std::atomic<uint64_t> calls{0};
  const auto count = [](uint32_t, void* arg) { static_cast<std::atomic<uint64_t>*>(arg)->fetch_add(1); };
  for (int i = 0; i < 2000 || calls.load() == 0; ++i) {
    ASSERT_EQ(events_.add_callback({WEIR_EVENT_LIMIT, 0, 500 * kMs}, count, &calls), Events::Added::kAdded);
    if (i % 3 == 0) std::this_thread::yield();
    ASSERT_TRUE(events_.remove_callback(count, &calls));
    const uint64_t before = calls.load();
    if (i % 100 == 0) usleep(100);
    ASSERT_EQ(calls.load(), before) << "called after it was taken back";
  }
  stop.store(true);
  for (std::thread& each : threads) each.join();
}

}  // namespace
}  // namespace weir
