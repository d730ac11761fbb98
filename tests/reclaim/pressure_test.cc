// pressure_test.cc: what a limited allocator does about pressure: stalls begin and end in pairs, whichever way a page
// comes back, and are time that was lost; caches are asked, in steps, before an allocation fails, and one that stands
// still does not hold it up for ever; who frees memory is given the reserve.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "os/proc.h"
#include "reclaim/reclaimer.h"
#include "support/page_content.h"
#include "support/random.h"
#include "support/squeeze.h"
#include "support/swap_place.h"
#include "weir/events.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{16} << 20;
constexpr size_t kCapacity = size_t{256} << 20;
constexpr size_t kBlock = size_t{40} << 10;

// Blocks of noise that their owner could do without, the oldest first; and the thread that is asked for them.
struct Cache {
  Cache(LimitedAllocator& from, Shrinkers& in) : a(from), shrinkers(in) {}

  LimitedAllocator& a;
  Shrinkers& shrinkers;
  Mutex mutex{LockRank::kDecay};
  std::vector<void*> blocks;
  std::atomic<unsigned> scans{0};
  std::atomic<size_t> freed{0};
  std::atomic<bool> stands_still{false}, stop{false};
  std::vector<unsigned> priorities;
  std::thread thread;

  static size_t count(void* self) {
    auto& c = *static_cast<Cache*>(self);
    while (c.stands_still.load()) usleep(1000);
    LockGuard guard(c.mutex);
    return c.blocks.size();
  }
  static size_t scan(void* self, size_t wanted) {
    auto& c = *static_cast<Cache*>(self);
    c.scans.fetch_add(1);
    std::vector<void*> taken;
    {
      LockGuard guard(c.mutex);
      const size_t n = wanted < c.blocks.size() ? wanted : c.blocks.size();
      taken.assign(c.blocks.begin(), c.blocks.begin() + static_cast<ptrdiff_t>(n));
      c.blocks.erase(c.blocks.begin(), c.blocks.begin() + static_cast<ptrdiff_t>(n));
    }
    for (void* p : taken) EXPECT_EQ(c.a->free(nullptr, p).misuse, Misuse::kNone);
    c.freed.fetch_add(taken.size());
    return taken.size();
  }
  void begin() {
    ASSERT_EQ(shrinkers.add(this, {count, scan, this, kDefaultSeeks, 8}, "cache", Shrinkers::Kind::kProgram),
              Shrinkers::Added::kAdded);
    thread = std::thread([this] {
      shrinkers.thread_begins();
      while (!stop.load()) {
        const uint32_t seen = shrinkers.bell().look();
        const unsigned priority = shrinkers.begin_round();
        if (priority != Shrinkers::kNothing) {
          priorities.push_back(priority);
          shrinkers.shrink(Shrinkers::Caller::kThread, priority);
          shrinkers.end_round();
          a.reclaimer().wake_all_kswapds();
        }
        shrinkers.bell().wait(seen, 10);
      }
    });
    while (!shrinkers.has_thread()) usleep(100);
  }
  void end() {
    stands_still.store(false);
    EXPECT_TRUE(shrinkers.remove(this));
    stop.store(true);
    shrinkers.bell().ring();
    thread.join();
  }
  // False: no memory.
  bool insert(uint64_t seed) {
    void* p = a->malloc(nullptr, kBlock);
    if (p == nullptr) return false;
    write_content(p, kBlock, content_seed(seed, Content::kRandom));
    LockGuard guard(mutex);
    blocks.push_back(p);
    return true;
  }
};

class PressureTest : public testing::Test {
 protected:
  void start() {
    // kswapd goes on for as long as the process lives.
    const auto connect = [this](Reclaimer& reclaimer) {
      reclaimer.connect(shrinkers_, events_);
      reclaimer.call_in_vain(give_own);
    };
    own = {&a_, {}};
    own_asked.store(0);
    if (const char* why = a_.start(kLimit, kCapacity, connect)) GTEST_SKIP() << why;
  }
  // What a thread keeps for itself, until it waits in vain.
  struct Own {
    LimitedAllocator* a;
    std::vector<void*> blocks;
  };
  static inline Own own{};
  static inline std::atomic<unsigned> own_asked{0};
  static void give_own() {
    own_asked.fetch_add(1);
    if (own.blocks.empty()) return;
    for (void* p : own.blocks) EXPECT_EQ((*own.a)->free(nullptr, p).misuse, Misuse::kNone);
    own.blocks.clear();
  }
  void expect_nobody_stalled() {
    settle(a_);
    EXPECT_EQ(a_.reclaimer().pressure().nr_stalled(), 0u);
    const uint64_t before = a_.reclaimer().pressure().total_ns(Psi::kSome);
    usleep(20000);
    EXPECT_EQ(a_.reclaimer().pressure().total_ns(Psi::kSome), before);
  }

  LimitedAllocator a_;
  // Known to the leak checker for as long as kswapd may use them.
  struct Known {
    Shrinkers shrinkers;
    Events events;
  };
  static Known& make_known() {
    static auto& all = *new std::vector<std::unique_ptr<Known>>();
    return *all.emplace_back(std::make_unique<Known>());
  }
  Known& known_ = make_known();
  Shrinkers& shrinkers_ = known_.shrinkers;
  Events& events_ = known_.events;
};

TEST_F(PressureTest, StallsAreTimeThatWasLost) {
  SwapFolder folder;
  ASSERT_TRUE(a_.options().swap.assign(folder.path()));
  a_.options().zswap = false;
  start();
  if (IsSkipped()) return;
  expect_nobody_stalled();
  constexpr size_t kBlocks = 3 * kLimit / kBlock;
  std::vector<char*> blocks;
  const uint64_t before = os::now_ns();
  for (size_t i = 0; i < kBlocks; ++i) {
    blocks.push_back(static_cast<char*>(a_->malloc(nullptr, kBlock)));
    ASSERT_NE(blocks.back(), nullptr);
    write_content(blocks.back(), kBlock, content_seed(i * 4, Content::kRandom));
  }
  // Several threads, so that reads are under way while other faults are served.
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      Random random(t + 1);
      for (int i = 0; i < 500; ++i) {
        const size_t b = random.below(kBlocks);
        EXPECT_TRUE(check_content_at(blocks[b], 0, kBlock, content_seed(b * 4, Content::kRandom)));
      }
    });
  for (std::thread& each : threads) each.join();
  const uint64_t passed = os::now_ns() - before;
  const Psi now = a_.reclaimer().pressure();
  EXPECT_GT(settled_stats(a_).pswpin, 0u);
  EXPECT_GT(now.total_ns(Psi::kSome), 0u);
  EXPECT_LE(now.total_ns(Psi::kSome), passed);
  EXPECT_LE(now.total_ns(Psi::kFull), now.total_ns(Psi::kSome));
  expect_nobody_stalled();
  for (char* p : blocks) ASSERT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone);
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_F(PressureTest, ACacheGivesBackBeforeAnAllocationFails) {
  start();
  if (IsSkipped()) return;
  Cache cache(a_, shrinkers_);
  cache.begin();
  for (uint64_t i = 0; i < 5 * kLimit / kBlock; ++i) ASSERT_TRUE(cache.insert(i)) << i;
  EXPECT_GT(cache.freed.load() * kBlock, 3 * kLimit);
  EXPECT_GT(settled_stats(a_).slabs_freed, 0u);
  cache.end();
  // It is asked for more and more, not for everything at once.
  ASSERT_FALSE(cache.priorities.empty());
  EXPECT_EQ(cache.priorities.front(), Shrinkers::kFirstPriority);
  for (size_t i = 1; i < cache.priorities.size(); ++i)
    EXPECT_GE(cache.priorities[i] + 1, cache.priorities[i - 1]) << "a step at a time";
  EXPECT_GT(cache.blocks.size() * kBlock, kLimit / 8) << "and keeps something";
  expect_nobody_stalled();
  for (void* p : cache.blocks) ASSERT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone);
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_F(PressureTest, OneThatStandsStillIsNotWaitedForInVain) {
  start();
  if (IsSkipped()) return;
  Cache cache(a_, shrinkers_);
  cache.begin();
  cache.stands_still.store(true);
  uint64_t i = 0;
  uint64_t before = os::now_ms();
  while (i < 2 * kLimit / kBlock && cache.insert(i)) ++i, before = os::now_ms();
  EXPECT_LT(i, 2 * kLimit / kBlock) << "more than there can be";
  EXPECT_GE(os::now_ms() - before, 500u) << "it had a chance";
  EXPECT_LE(os::now_ms() - before, 20000u);
  cache.stands_still.store(false);
  EXPECT_TRUE(wait_until([&] { return cache.freed.load() != 0 && cache.insert(i); }));
  cache.end();
  for (void* p : cache.blocks) ASSERT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone);
  EXPECT_STREQ(find_fault(a_), nullptr);
}

// Where others have the processors, kswapd has tried everything before a thread that waits looks again.
TEST_F(PressureTest, WhoComesAfterKswapdGaveUpGivesItsOwnFirst) {
  start();
  if (IsSkipped()) return;
  std::vector<void*> all;
  while (void* p = a_->malloc(nullptr, kBlock)) {
    write_content(p, kBlock, content_seed(all.size() * 4, Content::kRandom));
    all.push_back(p);
  }
  EXPECT_GT(own_asked.load(), 0u);
  for (int i = 0; i < 10; ++i) own.blocks.push_back(all.back()), all.pop_back();
  void* p = a_->malloc(nullptr, kBlock);
  EXPECT_NE(p, nullptr);
  EXPECT_TRUE(own.blocks.empty());
  if (p != nullptr) all.push_back(p);
  for (void* each : all) ASSERT_EQ(a_->free(nullptr, each).misuse, Misuse::kNone);
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_F(PressureTest, WhoFreesMemoryIsGivenTheReserve) {
  start();
  if (IsSkipped()) return;
  const Zone& zone = a_.zone();
  const Pages block(kBlock / kPageSize);
  std::vector<void*> all;
  // kswapd may still give back what it had begun with after an allocation was refused: full is what stays full.
  for (bool full = false; !full;) {
    while (void* p = a_->malloc(nullptr, kBlock)) {
      write_content(p, kBlock, content_seed(all.size() * 4, Content::kRandom));
      all.push_back(p);
      ASSERT_LT(all.size(), 2 * kLimit / kBlock);
    }
    a_.reclaimer().stop_evictions();
    full = zone.free_budget() < zone.watermarks().min + block;
    if (!full) a_.reclaimer().go_on();
  }
  const Pages free = zone.free_budget();
  // In a callback: at once, down to nothing, and then null without a wait.
  struct Inside {
    LimitedAllocator& a;
    std::vector<void*> more;
    uint64_t stalls_before;
    static size_t count(void*) { return 1000; }
    static size_t scan(void* arg, size_t) {
      auto& self = *static_cast<Inside*>(arg);
      while (void* p = self.a->malloc(nullptr, kBlock)) self.more.push_back(p);
      return kShrinkStop;
    }
  };
  Inside inside{a_, {}, a_.reclaimer().stats().allocstall};
  ASSERT_EQ(shrinkers_.add(&inside, {Inside::count, Inside::scan, &inside, 2, 0}, "", Shrinkers::Kind::kDirect),
            Shrinkers::Added::kAdded);
  shrinkers_.shrink(Shrinkers::Caller::kTrim, 0);
  EXPECT_TRUE(shrinkers_.remove(&inside));
  a_.reclaimer().go_on();
  EXPECT_FALSE(inside.more.empty());
  EXPECT_LE(inside.more.size() * kBlock, bytes_of(zone.watermarks().min) + kBlock);
  EXPECT_EQ(inside.more.size(), free.v / block.v) << "all of it";
  EXPECT_EQ(a_.reclaimer().stats().allocstall, inside.stalls_before);
  for (void* p : inside.more) ASSERT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone);
  for (void* p : all) ASSERT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone);
  EXPECT_STREQ(find_fault(a_), nullptr);
}

// Others in the cgroup take memory, and give it back: weir's part follows, down to half of the limit, and its pages
// leave.
TEST_F(PressureTest, RoomForOthersInTheCgroup) {
  start();
  if (IsSkipped()) return;
  Reclaimer& reclaimer = a_.reclaimer();
  Zone& zone = reclaimer.node(0)->zone();
  const Pages limit = zone.managed();
  std::vector<void*> all;
  for (size_t bytes = 0; bytes < kLimit * 3 / 4; bytes += kBlock) {
    all.push_back(a_->malloc(nullptr, kBlock));
    ASSERT_NE(all.back(), nullptr);
    write_content(all.back(), kBlock, content_seed(all.size() * 4, Content::kCompressible));
  }
  reclaimer.leave_to_cgroup(-(int64_t{4} << 20), false);
  EXPECT_EQ(zone.managed() + Pages(1024), limit);
  reclaimer.leave_to_cgroup(-(int64_t{1} << 20), true);
  EXPECT_EQ(zone.managed() + Pages(1024 + 256) + Pages(limit.v / 32), limit) << "it was not enough";
  EXPECT_TRUE(wait_until([&] { return zone.used() <= zone.managed(); })) << "its pages do not leave";
  for (int i = 0; i < 10; ++i) reclaimer.leave_to_cgroup(-(int64_t{16} << 20), true);
  EXPECT_EQ(zone.managed(), Pages(limit.v / 2));
  EXPECT_EQ(reclaimer.limit(), limit) << "the limit is what it was";
  reclaimer.leave_to_cgroup(1 << 12, false);
  EXPECT_EQ(zone.managed(), Pages(limit.v / 2)) << "that little room is no reason to take it";
  for (int i = 0; i < 40; ++i) reclaimer.leave_to_cgroup(int64_t{64} << 20, false);
  EXPECT_EQ(zone.managed(), limit);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_TRUE(check_content_at(all[i], 0, kBlock, content_seed((i + 1) * 4, Content::kCompressible)));
    ASSERT_EQ(a_->free(nullptr, all[i]).misuse, Misuse::kNone);
  }
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_F(PressureTest, EventsOfALimitThatIsMet) {
  start();
  if (IsSkipped()) return;
  static std::atomic<uint32_t> heard;
  heard.store(0);
  const auto hear = [](uint32_t events, void*) { heard.fetch_or(events); };
  const uint32_t wanted = WEIR_EVENT_LIMIT | WEIR_EVENT_OOM | WEIR_EVENT_KSWAPD;
  ASSERT_EQ(events_.add_callback({wanted | WEIR_EVENT_SOME, 1000000, 500000000}, hear, nullptr), Events::Added::kAdded);
  usleep(200000);
  events_.run_callbacks();
  EXPECT_EQ(heard.load(), 0u) << "nothing has happened";
  std::vector<void*> all;
  while (void* p = a_->malloc(nullptr, kBlock)) {
    write_content(p, kBlock, content_seed(all.size() * 4, Content::kRandom));
    all.push_back(p);
  }
  a_.reclaimer().note_oom(nullptr);
  EXPECT_TRUE(wait_until([&] {
    events_.run_callbacks();
    return (heard.load() & wanted) == wanted;
  })) << heard.load();
  EXPECT_TRUE(events_.remove_callback(hear, nullptr));
  for (void* p : all) ASSERT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone);
}

}  // namespace
}  // namespace weir
