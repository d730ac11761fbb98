// The compressed pool, with entries of both codecs, against a simple model: random operations from one thread, then
// from several at once.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "swap/zswap_pages.h"
#include "swap/zswap_pool.h"

namespace weir {
namespace {

using Result = ZswapPool::Result;

constexpr size_t kAddressSpace = size_t{128} << 20;
// What stays of a pool without entries: at most 96 bytes for each slab there was.
constexpr Pages kDescriptors = pages_of(kAddressSpace / zswap::kSlabBytes * 96);

// What a thread has in the pool: handles and the seeds of their pages.
class Model {
 public:
  Model(ZswapPool& pool, uint64_t seed) : pool_(pool), random_(seed), next_seed_(seed << 32) {
    EXPECT_TRUE(compressor_.init());
  }
  ~Model() { compressor_.destroy(); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // Null while all is as it should be.
  const char* step(unsigned fill_percent) {
    if (live_.empty() || random_.below(100) < fill_percent) return store();
    switch (random_.below(8)) {
      case 0:
      case 1:
        return load(pick());
      case 2:
        return drop_several();
      case 3:
      case 4:
        return pack();
      default:
        return take_out(pick());
    }
  }
  const char* drop_all() {
    while (!live_.empty())
      if (const char* wrong = take_out(live_.begin())) return wrong;
    return nullptr;
  }
  size_t live() const { return live_.size(); }
  uint64_t moved() const { return moved_; }
  uint64_t same_filled() const {
    uint64_t n = 0;
    for (const auto& entry : live_) n += ZswapPool::is_same_filled(entry.second.handle);
    return n;
  }
  bool duplicates() const {
    std::map<uint64_t, int> seen;
    for (const auto& [seed, entry] : live_)
      if (!ZswapPool::is_same_filled(entry.handle) && seen[entry.handle]++ != 0) return true;
    return false;
  }

 private:
  struct Entry {
    uint64_t handle;
  };
  using Live = std::map<uint64_t, Entry>;  // seed of the page -> entry

  // Many of a few sizes, so that there are slabs to win by packing.
  static void make(Page& page, uint64_t seed) {
    if (seed % 4 == 0) return make_page(page, seed);
    make_noise(page, seed, 1000 + seed % 2 * 1000);
  }
  const char* store() {
    const uint64_t seed = next_seed_++;
    make(page_, seed);
    const auto stored = pool_.store(compressor_, random_.below(2) == 0 ? Codec::kLz4 : Codec::kZstd, page_.bytes);
    if (stored.result != Result::kStored) return stored.handle == 0 ? nullptr : "a refusal has a handle";
    if (stored.handle == 0 || stored.handle >> 56 != 0) return "a handle out of range";
    live_.emplace(seed, Entry{stored.handle});
    return nullptr;
  }
  Live::iterator pick() {
    const uint64_t low = live_.begin()->first, high = live_.rbegin()->first;
    return live_.lower_bound(low + random_.below(high - low + 1));
  }
  const char* load(Live::iterator at) {
    make(page_, at->first);
    if (!pool_.load(compressor_, at->second.handle, back_.bytes)) return "an entry does not load";
    return page_ == back_ ? nullptr : "a page came back different";
  }
  const char* take_out(Live::iterator at) {
    if (const char* wrong = load(at)) return wrong;
    pool_.drop(at->second.handle);
    live_.erase(at);
    return nullptr;
  }
  const char* drop_several() {
    std::vector<uint64_t> handles;
    for (auto at = pick(); at != live_.end() && handles.size() < 20; at = live_.erase(at))
      handles.push_back(at->second.handle);
    pool_.drop_many(handles.data(), static_cast<unsigned>(handles.size()));
    return nullptr;
  }

  const char* pack() {
    std::vector<Live::iterator> entries;
    uint64_t handles[ZswapPool::kMostPacked];
    for (auto at = pick(); at != live_.end() && entries.size() < ZswapPool::kMostPacked; ++at) {
      handles[entries.size()] = at->second.handle;
      entries.push_back(at);
    }
    moved_ += pool_.pack(handles, static_cast<unsigned>(entries.size()));
    for (size_t i = 0; i < entries.size(); ++i) entries[i]->second.handle = handles[i];
    return entries.empty() ? nullptr : load(entries[random_.below(entries.size())]);
  }

  ZswapPool& pool_;
  uint64_t moved_ = 0;
  Random random_;
  uint64_t next_seed_;
  Compressor compressor_;
  Live live_;
  Page page_, back_;
};

TEST(ZswapProperty, RandomOperationsAgreeWithTheModel) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    auto pool = std::make_unique<ZswapPool>();
    ASSERT_TRUE(pool->init(kAddressSpace));
    Model model(*pool, seed);
    Random random(seed);
    for (unsigned i = 0; i < 12000; ++i) {
      const char* wrong = model.step(i / 3000 % 2 == 0 ? 90 : 45);
      ASSERT_EQ(wrong, nullptr) << wrong << ", seed " << seed << ", step " << i;
      if (random.below(500) == 0) pool->shrink(Pages(random.below(300)));
      if (random.below(1000) == 0) pool->set_max_pages(Pages(random.below(3) == 0 ? 0 : 200 + random.below(2000)));
      if (i % 1000 != 0) continue;
      ASSERT_EQ(pool->verify(), nullptr) << pool->verify();
      ASSERT_EQ(pool->stats().stored, model.live());
      ASSERT_EQ(pool->stats().same_filled, model.same_filled());
      ASSERT_FALSE(model.duplicates());
    }
    EXPECT_GT(model.moved(), 100u);
    ASSERT_EQ(model.drop_all(), nullptr);
    pool->shrink(Pages(0));
    const ZswapStats stats = pool->stats();
    EXPECT_EQ(stats.stored, 0u);
    EXPECT_EQ(stats.compressed_bytes, 0u);
    EXPECT_LE(stats.pool, kDescriptors);
    EXPECT_EQ(pool->verify(), nullptr);
    pool->destroy();
  }
}

// Four threads store, load and drop, each its own pages; a fifth shrinks, changes the limit and verifies.
TEST(ZswapProperty, ThreadsDoNotDisturbEachOther) {
  constexpr unsigned kThreads = 4;
  auto pool = std::make_unique<ZswapPool>();
  ASSERT_TRUE(pool->init(kAddressSpace));
  std::atomic<const char*> failure{nullptr};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> steps{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Model model(*pool, t + 100);
      for (unsigned i = 0; !stop && failure == nullptr; ++i) {
        if (const char* wrong = model.step(i / 2000 % 2 == 0 ? 90 : 45)) failure = wrong;
        ++steps;
      }
      if (const char* wrong = model.drop_all()) failure = wrong;
    });
  }
  Random random(9);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (std::chrono::steady_clock::now() < end && failure == nullptr) {
    pool->shrink(Pages(random.below(64)));
    pool->set_max_pages(Pages(random.below(4) == 0 ? 500 : 0));
    if (const char* wrong = pool->verify()) failure = wrong;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failure.load(), nullptr) << failure.load();
  EXPECT_GT(steps.load(), 1000u);
  pool->shrink(Pages(0));
  EXPECT_EQ(pool->stats().stored, 0u);
  EXPECT_EQ(pool->stats().compressed_bytes, 0u);
  EXPECT_LE(pool->pool_pages(), kDescriptors);
  EXPECT_EQ(pool->verify(), nullptr);
  pool->destroy();
}

}  // namespace
}  // namespace weir
