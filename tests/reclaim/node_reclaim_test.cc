// node_reclaim_test.cc: several nodes under a limit: whose pages are taken, and what is reclaimed before, by
// zone_reclaim_mode. The nodes are made up.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <thread>
#include <vector>

#include "support/page_content.h"
#include "support/random.h"
#include "support/squeeze.h"
#include "support/swap_place.h"

namespace weir {
namespace {

constexpr unsigned kNodes = 3;
constexpr size_t kMega = size_t{1} << 20;
constexpr size_t kNodeBytes = 16 * kMega;
constexpr size_t kCapacity = 128 * kMega;
// Room that single threads leave below low: what one allocation takes, and more for what was compressed meanwhile.
constexpr Pages kSlack(256);

class NodeReclaimTest : public testing::Test {
 protected:
  void start(
      int64_t mode, void (*more)(Options&) = [](Options&) {}, Shrinkers* shrinkers = nullptr) {
    make_topology(a_->topology(), kNodes);
    a_.options().zone_reclaim_mode = mode;
    a_.options().swap.assign(folder_.path());
    more(a_.options());
    const auto prepare = [&](Reclaimer& reclaimer) {
      if (shrinkers != nullptr) reclaimer.connect(*shrinkers, events());
    };
    if (const char* why = a_.start(kNodes * kNodeBytes, kCapacity, prepare)) GTEST_SKIP() << why;
    ASSERT_STREQ(a_.reclaimer().swap_problem(), nullptr);
    cache_ = a_.allocator().attach();
    cache_->node = 0;
  }
  void TearDown() override {
    if (cache_ == nullptr) return;
    for (size_t i = 0; i < objects_.size(); ++i) {
      ASSERT_TRUE(check_content_at(objects_[i].p, 0, objects_[i].size, objects_[i].seed)) << i;
      ASSERT_EQ(a_->free(cache_, objects_[i].p).misuse, Misuse::kNone);
    }
    EXPECT_EQ(a_.allocator().detach(cache_).misuse, Misuse::kNone);
    EXPECT_STREQ(find_fault(a_), nullptr);
    a_->trim(nullptr);
    EXPECT_EQ(a_->charged(), 0u);
  }
  // Objects of `size` on behalf of a thread of node 0, written to at once.
  void fill(size_t bytes, size_t size, Content kind = Content::kCompressible) {
    for (size_t done = 0; done < bytes; done += size) {
      auto* p = static_cast<char*>(a_->malloc(cache_, size));
      ASSERT_NE(p, nullptr);
      objects_.push_back({p, size, content_seed(objects_.size() + 1, kind)});
      write_content(p, size, objects_.back().seed);
      cache_->node = 0;  // the thread does not move
    }
  }
  // kswapd uses them for as long as the process lives.
  static Events& events() {
    static auto& events = *new Events();
    return events;
  }
  static Shrinkers& shrinkers() {
    static auto& shrinkers = *new Shrinkers();
    return shrinkers;
  }
  Zone& zone(unsigned n) { return a_.reclaimer().node(n)->zone(); }
  Pages used(unsigned n) { return zone(n).total(); }
  bool is_at_low(unsigned n) {
    const Pages free = zone(n).free_budget(), low = zone(n).watermarks().low;
    return free >= low && free <= low + kSlack;
  }
  ReclaimStats stats() { return settled_stats(a_); }
  void expect_nothing_reclaimed() {
    const ReclaimStats s = stats();
    EXPECT_EQ(s.pgscan_kswapd + s.pgscan_direct, 0u);
    EXPECT_EQ(s.standby, Pages(0));
    EXPECT_EQ(s.zswpout + s.pswpout, 0u);
  }

  struct Object {
    char* p;
    size_t size;
    uint64_t seed;
  };
  SwapFolder folder_;
  LimitedAllocator a_;
  ThreadCache* cache_ = nullptr;
  std::vector<Object> objects_;
};

// Small objects, runs, and runs that are charged by what is touched of them.
class NodeReclaimSizes : public NodeReclaimTest, public testing::WithParamInterface<size_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, NodeReclaimSizes, testing::Values(size_t{1000}, size_t{64} << 10, 4 * kMega));

TEST_P(NodeReclaimSizes, OtherNodesFreePagesComeFirst) {
  start(0);
  if (IsSkipped()) return;
  fill(2 * kNodeBytes, GetParam());
  EXPECT_NE(used(2), Pages(0));
  expect_nothing_reclaimed();
  EXPECT_EQ(stats().zone_reclaim_success + stats().zone_reclaim_failed, 0u);
  if (GetParam() < 4 * kMega) {
    EXPECT_TRUE(is_at_low(0)) << zone(0).free_budget().v;
    EXPECT_TRUE(is_at_low(1)) << zone(1).free_budget().v;
  }
  // When all are low, pages leave.
  fill(kNodeBytes, GetParam());
  EXPECT_GT(stats().zswpout, 0u);
}

TEST_P(NodeReclaimSizes, PagesAreSwappedFirst) {
  start(1 | 4);
  if (IsSkipped()) return;
  fill(kNodeBytes + kNodeBytes / 2, GetParam());
  EXPECT_EQ(used(1), Pages(0));
  EXPECT_EQ(used(2), Pages(0));
  const ReclaimStats s = stats();
  EXPECT_GT(s.zswpout, 0u);
  EXPECT_EQ(s.pswpout, 0u);
  if (GetParam() == 4 * kMega) return;
  EXPECT_GT(s.zone_reclaim_success, 0u);
  EXPECT_GT(s.pgsteal_direct, 0u);
  EXPECT_GE(zone(0).free_budget(), zone(0).watermarks().low);
}

TEST_F(NodeReclaimTest, OnlyCachesAreAsked) {
  start(1);
  if (IsSkipped()) return;
  fill(2 * kNodeBytes, size_t{64} << 10);
  EXPECT_NE(used(1), Pages(0));
  expect_nothing_reclaimed();
  EXPECT_GT(stats().zone_reclaim_failed, 0u);
  EXPECT_EQ(stats().zone_reclaim_success, 0u);
}

// A cache of weir's own kind, which kswapd may ask: blocks on node 0 that are given back when it does.
struct Cache {
  LimitedAllocator* a;
  std::vector<void*> blocks;
  static size_t count(void* self) { return static_cast<Cache*>(self)->blocks.size(); }
  static size_t scan(void* self, size_t wanted) {
    auto& own = *static_cast<Cache*>(self);
    size_t freed = 0;
    for (; freed < wanted && !own.blocks.empty(); ++freed, own.blocks.pop_back())
      EXPECT_EQ((*own.a)->free(nullptr, own.blocks.back()).misuse, Misuse::kNone);
    return freed;
  }
};

TEST_F(NodeReclaimTest, CachesThatGiveEnoughAreEnough) {
  constexpr size_t kBlock = size_t{64} << 10;
  start(
      1, [](Options&) {}, &shrinkers());
  if (IsSkipped()) return;
  Cache cache{&a_, {}};
  for (size_t i = 0; i < kNodeBytes / 2 / kBlock; ++i) cache.blocks.push_back(a_->malloc(cache_, kBlock));
  ASSERT_EQ(
      shrinkers().add(&cache, {Cache::count, Cache::scan, &cache, kDefaultSeeks, 8}, "cache", Shrinkers::Kind::kOwn),
      Shrinkers::Added::kAdded);
  fill(kNodeBytes * 3 / 4, kBlock);
  EXPECT_EQ(used(1), Pages(0));
  expect_nothing_reclaimed();
  EXPECT_GT(stats().zone_reclaim_success, 0u);
  EXPECT_TRUE(shrinkers().remove(&cache));
  for (void* p : cache.blocks) EXPECT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone);
}

// Without permission to write, what cannot be compressed stays, and other nodes' pages are taken.
TEST_F(NodeReclaimTest, NothingIsWrittenWithoutPermission) {
  start(1 | 4, [](Options& o) { o.zswap = false; });
  if (IsSkipped()) return;
  fill(2 * kNodeBytes, size_t{64} << 10);
  EXPECT_NE(used(1), Pages(0));
  EXPECT_EQ(stats().pswpout, 0u);
  EXPECT_GT(stats().zone_reclaim_failed, 0u);
}

TEST_F(NodeReclaimTest, WithPermissionPagesAreWritten) {
  start(1 | 2 | 4, [](Options& o) { o.zswap = false; });
  if (IsSkipped()) return;
  fill(2 * kNodeBytes, size_t{64} << 10);
  EXPECT_EQ(used(1), Pages(0));
  EXPECT_GT(stats().pswpout, 0u);
}

TEST_F(NodeReclaimTest, WritingAloneSwapsNothing) {
  start(2);
  if (IsSkipped()) return;
  fill(2 * kNodeBytes, size_t{64} << 10);
  EXPECT_NE(used(1), Pages(0));
  expect_nothing_reclaimed();
  EXPECT_GT(stats().zone_reclaim_failed, 0u) << "any bit turns it on";
}

// The mode is read when it is needed, and may change at any time.
TEST_F(NodeReclaimTest, ThreadsWhileTheModeChanges) {
  start(0);
  if (IsSkipped()) return;
  constexpr unsigned kThreads = 4;
  std::atomic<unsigned> running{kThreads};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      ThreadCache* cache = a_.allocator().attach();
      Random random{t + 1};
      std::vector<Object> own(200);
      for (int i = 0; i < 3000; ++i) {
        Object& o = own[random.next() % own.size()];
        if (o.p != nullptr) {
          EXPECT_TRUE(check_content_at(o.p, 0, o.size, o.seed));
          EXPECT_EQ(a_->free(cache, o.p).misuse, Misuse::kNone);
        }
        cache->node = static_cast<uint16_t>(random.next() % 2);
        o.size = i % 3 == 0 ? 40000 + random.next() % 100000 : 500 + random.next() % 15000;
        o.p = static_cast<char*>(a_->malloc(cache, o.size));
        o.seed = content_seed(random.next(), Content::kCompressible);
        if (o.p != nullptr) write_content(o.p, o.size, o.seed);
      }
      for (Object& o : own)
        if (o.p != nullptr) {
          EXPECT_TRUE(check_content_at(o.p, 0, o.size, o.seed));
          EXPECT_EQ(a_->free(cache, o.p).misuse, Misuse::kNone);
        }
      EXPECT_EQ(a_.allocator().detach(cache).misuse, Misuse::kNone);
      --running;
    });
  for (int64_t mode = 0; running.load() != 0; mode = (mode + 1) % 8) {
    a_.options().zone_reclaim_mode = mode;
    usleep(2000);
  }
  for (std::thread& each : threads) each.join();
}

// Each node has its kswapd also where pages cannot be swapped; whoever waits for caches would otherwise wait for ever.
TEST(NodesWithoutSwapping, WaitingComesToAnEnd) {
  static auto& shrinkers = *new Shrinkers();
  static auto& events = *new Events();
  LimitedAllocator a;
  a.options().system_swap = false;
  make_topology(a->topology(), 2);
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const struct rlimit none = {0, before.rlim_max};  // not one userfaultfd
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const char* why = a.start(2 * kNodeBytes, kCapacity, [](Reclaimer& r) { r.connect(shrinkers, events); });
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_NE(why, nullptr);
  ASSERT_EQ(a.reclaimer().mode(), Reclaimer::Mode::kPurge);
  ASSERT_TRUE(a.reclaimer().has_kswapd());
  Cache cache{&a, {}};
  ASSERT_EQ(
      shrinkers.add(&cache, {Cache::count, Cache::scan, &cache, kDefaultSeeks, 8}, "empty", Shrinkers::Kind::kDirect),
      Shrinkers::Added::kAdded);
  ThreadCache* thread = a.allocator().attach();
  std::vector<void*> blocks;
  for (;;) {
    thread->node = 1;
    void* p = a->malloc(thread, size_t{64} << 10);
    if (p == nullptr) break;
    blocks.push_back(p);
  }
  EXPECT_GE(blocks.size() * 16, 2 * kNodeBytes / kPageSize * 9 / 10);
  for (void* p : blocks) EXPECT_EQ(a->free(thread, p).misuse, Misuse::kNone);
  EXPECT_TRUE(shrinkers.remove(&cache));
  EXPECT_EQ(a.allocator().detach(thread).misuse, Misuse::kNone);
}

}  // namespace
}  // namespace weir
