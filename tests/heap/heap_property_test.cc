// heap_property_test.cc: random operations on several heaps, and on none, beside a model of what each holds. One thread
// plays all, so that a failure repeats from its seed.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

#include "support/pattern.h"
#include "support/private_heaps.h"

namespace weir {
namespace {

struct Setting {
  const char* name;
  unsigned nodes = 1;
  bool tcache = true;
  bool zero_on_free = false;
  bool guard = false;
};

constexpr Setting kSettings[] = {
    {.name = "Default"},
    {.name = "FourNodes", .nodes = 4},
    {.name = "NoTcache", .tcache = false},
    {.name = "ZeroOnFree", .zero_on_free = true},
    {.name = "Guard", .guard = true},
};

class HeapProperty : public testing::TestWithParam<std::tuple<Setting, uint64_t>> {
 protected:
  static constexpr size_t kCapacity = size_t{512} << 20;
  static constexpr unsigned kHeaps = 6;  // and the last one is none: objects that belong to no heap

  struct Block {
    size_t size = 0, usable = 0;
    uint64_t seed = 0;
    unsigned heap = 0;
  };
  using Live = std::map<char*, Block>;

  void SetUp() override {
    const Setting& s = std::get<0>(GetParam());
    make_topology(h_.allocator.topology(), s.nodes, 0);
    h_.allocator.options().tcache = s.tcache;
    h_.allocator.options().zero_on_free = s.zero_on_free;
    h_.allocator.options().guard = s.guard;
    ASSERT_TRUE(h_.start(kCapacity));
    cache_ = h_.allocator->attach();
    for (unsigned i = 0; i < kHeaps; ++i) make_heap(i);
  }

  uint64_t below(uint64_t n) { return random_() % n; }
  void make_heap(unsigned i) {
    HeapSettings settings;
    limits_[i] = below(3) == 0 ? (1 + below(40)) << 18 : 0;
    settings.limit = limits_[i];
    if (below(2) == 0) settings.node = static_cast<int32_t>(below(std::get<0>(GetParam()).nodes));
    heaps_[i] = h_.create(nullptr, settings);
  }
  size_t any_size() {
    const uint64_t what = below(1000);
    if (what < 700) return below(1024);
    if (what < 900) return below(kMaxSmallSize + 1);
    if (what < 980) return below(40 * kPageSize);
    return below(6 << 20);
  }

  void adopt(char* p, size_t size, unsigned heap) {
    Block block{size, h_.allocator->usable_size(p), random_(), heap};
    ASSERT_GE(block.usable, size);
    const auto next = live_.lower_bound(p);
    ASSERT_TRUE(next == live_.end() || p + block.usable <= next->first) << "overlaps";
    ASSERT_TRUE(next == live_.begin() || std::prev(next)->first + std::prev(next)->second.usable <= p) << "overlaps";
    ASSERT_EQ(h_.registry->heap_of(p), heap == kHeaps ? HeapId() : heaps_[heap]);
    write_pattern(p, size, block.seed);
    live_[p] = block;
  }
  Live::iterator pick() {
    char* low = live_.begin()->first;
    const size_t span = static_cast<size_t>(live_.rbegin()->first - low);
    const auto at = live_.lower_bound(low + below(span + 1));
    return at == live_.end() ? live_.begin() : at;
  }

  void allocate(unsigned heap) {
    const size_t size = any_size();
    const uint64_t kind = below(8);
    const size_t alignment = kind == 7 ? size_t{1} << below(below(20) == 0 ? 22 : 14) : kMinAlignment;
    char* p;
    if (heap == kHeaps)
      p = static_cast<char*>(h_.allocator.memalign(cache_, alignment, size));
    else if (kind == 6)
      p = static_cast<char*>(h_.calloc(heaps_[heap], size));
    else
      p = static_cast<char*>(h_.memalign(heaps_[heap], alignment, size));
    if (p == nullptr) {
      ASSERT_TRUE(heap != kHeaps && limits_[heap] != 0) << "only a limit says no here";
      return;
    }
    if (heap != kHeaps && kind == 6) {
      ASSERT_TRUE(is_zero(p, size < kDensePattern ? size : kDensePattern));
    }
    ASSERT_EQ(reinterpret_cast<uintptr_t>(p) % alignment, 0u);
    adopt(p, size, heap);
  }
  void release() {
    const auto at = pick();
    const auto [p, block] = *at;
    live_.erase(at);
    ASSERT_TRUE(check_pattern(p, block.size, block.size, block.seed)) << "content changed";
    ASSERT_EQ(static_cast<int>(h_.free(p).misuse), static_cast<int>(Misuse::kNone));
  }
  void resize() {
    const auto at = pick();
    const auto [p, block] = *at;
    const size_t size = any_size() + 1;
    if (block.heap == kHeaps) return;
    char* q = static_cast<char*>(h_.realloc(p, size));
    if (q == nullptr) return;  // and p is as it was
    live_.erase(at);
    ASSERT_TRUE(check_pattern(q, std::min(size, block.size), block.size, block.seed)) << "content changed";
    adopt(q, size, block.heap);
  }
  void destroy(unsigned heap) {
    for (auto it = live_.begin(); it != live_.end();) it = it->second.heap == heap ? live_.erase(it) : std::next(it);
    const uint64_t charged = h_.charged(heaps_[heap]), all = h_.allocator.charged();
    ASSERT_EQ(h_.destroy(heaps_[heap]), charged);
    ASSERT_EQ(h_.allocator.charged(), all - charged);
    make_heap(heap);
  }
  void tick() { ASSERT_EQ(static_cast<int>(h_.allocator->decay_tick().misuse), static_cast<int>(Misuse::kNone)); }
  void step() {
    const uint64_t what = below(1000);
    const bool filling = steps_ / 4000 % 2 == 0;
    h_.thread = below(4) == 0 ? nullptr : cache_;
    // Mostly in the heap that was used last, so that a cache is worth keeping.
    if (below(20) == 0) favourite_ = static_cast<unsigned>(below(kHeaps + 1));
    if (what < (filling ? 520u : 320u) || live_.empty())
      allocate(below(10) != 0 ? favourite_ : static_cast<unsigned>(below(kHeaps + 1)));
    else if (what < 850)
      release();
    else if (what < 970)
      resize();
    else if (what < 975)
      destroy(static_cast<unsigned>(below(kHeaps)));
    else if (what < 980)
      tick();
    else if (what < 983)
      h_.allocator.trim(cache_);
    else if (what < 990)
      expect_all_right();
    ++steps_;
  }

  // Objects of a heap in the thread's cache: they count as in use.
  uint64_t kept(HeapId id) const {
    const HeapCache* cache = cache_->heap_cache;
    if (cache == nullptr || cache->id != id) return 0;
    uint64_t count = 0;
    for (const uint8_t of_class : cache->count) count += of_class;
    return count;
  }
  void expect_all_right() {
    ASSERT_EQ(h_.allocator->verify(), nullptr);
    uint64_t objects[kHeaps + 1] = {}, bytes[kHeaps + 1] = {};
    for (const auto& [p, block] : live_) {
      ++objects[block.heap];
      bytes[block.heap] += block.usable;
    }
    for (unsigned i = 0; i < kHeaps; ++i) {
      const HeapStats s = h_.stats(heaps_[i]);
      ASSERT_EQ(s.objects, objects[i] + kept(heaps_[i]));
      // A guard page before and one behind each large object are charged too.
      ASSERT_GE(s.object_bytes, bytes[i]);
      ASSERT_EQ(s.charged, s.slabs + s.runs);
      ASSERT_LE(s.charged, s.peak);
      if (limits_[i] != 0) {
        ASSERT_LE(bytes_of(s.peak), limits_[i]);
      }
    }
  }

  std::mt19937_64 random_{std::get<1>(GetParam())};
  PrivateHeaps h_;
  ThreadCache* cache_ = nullptr;
  unsigned favourite_ = 0;
  HeapId heaps_[kHeaps];
  uint64_t limits_[kHeaps] = {};
  Live live_;
  uint64_t steps_ = 0;
};

TEST_P(HeapProperty, AgreesWithTheModel) {
  while (steps_ < 20000 && !HasFatalFailure()) step();
  ASSERT_FALSE(HasFatalFailure()) << "in step " << steps_;
  expect_all_right();
  while (!live_.empty() && !HasFatalFailure()) release();
  h_.allocator.trim(cache_);
  for (const HeapId id : heaps_) EXPECT_EQ(h_.charged(id), 0u);
  EXPECT_EQ(h_.allocator.charged(), 0u);
  EXPECT_EQ(h_.allocator->verify(), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Settings, HeapProperty, testing::Combine(testing::ValuesIn(kSettings), testing::Values(1, 2)),
                         [](const auto& p) {
                           return std::string(std::get<0>(p.param).name) + std::to_string(std::get<1>(p.param));
                         });

}  // namespace
}  // namespace weir
