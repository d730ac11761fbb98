// allocator_property_test.cc: random operations on a private allocator with several thread caches, beside a model of
// the heap. One thread plays all of them, so that a failure repeats from its seed.
#include <gtest/gtest.h>

#include <random>

#include "support/heap_model.h"

namespace weir {
namespace {

struct Setting {
  const char* name;
  unsigned nodes = 1;
  unsigned memoryless = 0;
  bool bare = true;
  bool tcache = true;
  uint64_t tcache_bytes = 64 << 10;
  bool zero_on_free = false;
  bool guard = false;
};

constexpr Setting kSettings[] = {
    {.name = "Default"},
    {.name = "Reserved", .bare = false},
    {.name = "FourNodes", .nodes = 4, .memoryless = 0b0100},
    {.name = "NoTcache", .tcache = false},
    {.name = "TinyTcache", .tcache_bytes = 0},
    {.name = "SmallTcache", .nodes = 2, .tcache_bytes = 1000},
    {.name = "ZeroOnFree", .zero_on_free = true},
    {.name = "Guard", .guard = true},
};

class AllocatorProperty : public testing::TestWithParam<std::tuple<Setting, uint64_t>> {
 protected:
  static constexpr size_t kCapacity = size_t{512} << 20;
  static constexpr size_t kMostLive = size_t{160} << 20;
  static constexpr unsigned kCaches = 5;

  void SetUp() override {
    const Setting& s = std::get<0>(GetParam());
    make_topology(a_.topology(), s.nodes, s.memoryless);
    a_.options().tcache = s.tcache;
    a_.options().tcache_bytes = s.tcache_bytes;
    a_.options().zero_on_free = s.zero_on_free;
    a_.options().guard = s.guard;
    ASSERT_TRUE(a_.start(kCapacity, s.bare, std::get<1>(GetParam())));
    for (ThreadCache*& cache : caches_) attach(cache);
  }

  uint64_t below(uint64_t n) { return random_() % n; }
  void attach(ThreadCache*& cache) {
    cache = a_->attach();
    const unsigned nodes = std::get<0>(GetParam()).nodes;
    cache->node = a_.topology().zonelist(to_node_id(static_cast<unsigned>(below(nodes))))[0].v;
  }
  // The last one is a thread that has no cache any more.
  ThreadCache* any_cache() {
    const uint64_t i = below(kCaches + 1);
    return i == kCaches ? nullptr : caches_[i];
  }
  // Sizes of all magnitudes: most are small, some are runs, a few are tens of MiB.
  size_t any_size() {
    const uint64_t what = below(1000);
    if (what < 700) return below(1024);
    if (what < 900) return below(kMaxSmallSize + 1);
    if (what < 970) return below(20 * kPageSize);
    if (what < 996) return below(2 << 20);
    return below(48 << 20);
  }

  void step() {
    const bool filling = a_steps_ / 3000 % 2 == 0 && model_.live_bytes() < kMostLive;
    const uint64_t what = below(1000);
    if (what < (filling ? 500u : 300u)) {
      const auto kind = static_cast<HeapModel::Kind>(below(8) < 5 ? 0 : below(2) + 1);
      const uint64_t most = below(50) == 0 ? 24 : 14;
      model_.allocate(any_cache(), kind, any_size(), size_t{1} << below(most), random_());
    } else if (what < 800) {
      model_.release(any_cache(), random_());
    } else if (what < 985) {
      model_.resize(any_cache(), random_(), any_size(), random_());
    } else if (what < 990) {
      ASSERT_EQ(a_->decay_tick().misuse, Misuse::kNone);
    } else if (what < 992) {
      a_.trim(any_cache());
    } else if (what < 995) {
      ThreadCache*& cache = caches_[below(kCaches)];
      ASSERT_EQ(a_->detach(cache).misuse, Misuse::kNone);
      attach(cache);
    } else if (what < 998) {
      model_.expect_verified();
    }
    ++a_steps_;
  }

  std::mt19937_64 random_{std::get<1>(GetParam())};
  PrivateAllocator a_;
  HeapModel model_{a_};
  ThreadCache* caches_[kCaches] = {};
  uint64_t a_steps_ = 0;
};

TEST_P(AllocatorProperty, AgreesWithTheModel) {
  while (a_steps_ < 15000 && !HasFatalFailure()) {
    step();
    ASSERT_FALSE(model_.failed()) << model_.failure() << " in step " << a_steps_;
  }
  model_.release_all(caches_[0]);
  ASSERT_FALSE(model_.failed()) << model_.failure();
  for (ThreadCache* cache : caches_) ASSERT_EQ(a_->detach(cache).misuse, Misuse::kNone);
  ASSERT_EQ(a_->verify(), nullptr);
  // All that is charged now are the empty slabs and transfer caches that depots keep.
  uint64_t slab_pages = 0;
  for (unsigned n = 0; n < a_->nr_nodes(); ++n)
    for (unsigned c = 1; a_->has_zone(to_node_id(n)) && c < kNrSizeClasses; ++c)
      slab_pages += a_->depots(to_node_id(n)).stats(c).slabs << kSizeClasses[c].slab_order;
  EXPECT_EQ(a_.charged(), slab_pages);
  a_.trim(nullptr);
  EXPECT_EQ(a_.charged(), 0u);
  EXPECT_EQ(a_->decayable_bytes(), 0u);
  EXPECT_EQ(a_->verify(), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Settings, AllocatorProperty,
                         testing::Combine(testing::ValuesIn(kSettings), testing::Values(1, 2)), [](const auto& p) {
                           return std::string(std::get<0>(p.param).name) + std::to_string(std::get<1>(p.param));
                         });

}  // namespace
}  // namespace weir
