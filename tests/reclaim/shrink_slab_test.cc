// shrink_slab_test.cc: how many objects a cache is asked for: by hand, and against the kernel's formula written down
// once more in signed 128-bit numbers; and what a cache of real objects loses at each priority.
#include "reclaim/shrink_slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "support/random.h"

namespace weir {
namespace {

// A cache that does as it is told, or as the test says.
struct Cache {
  size_t objects = 0;
  std::vector<size_t> asked;               // of each call of scan
  size_t stop_after = SIZE_MAX;            // calls of scan
  std::atomic<bool>* stop_flag = nullptr;  // set in the first call
  size_t least = SIZE_MAX;                 // frees no more per call

  static size_t count(void* self) { return static_cast<Cache*>(self)->objects; }
  static size_t scan(void* arg, size_t wanted) {
    auto& self = *static_cast<Cache*>(arg);
    if (self.stop_flag != nullptr) self.stop_flag->store(true);
    if (self.asked.size() == self.stop_after) return kShrinkStop;
    self.asked.push_back(wanted);
    const size_t freed = std::min({wanted, self.least, self.objects});
    self.objects -= freed;
    return freed;
  }
};

ShrinkOps ops_of(Cache& cache, unsigned seeks, size_t batch) {
  return {Cache::count, Cache::scan, &cache, seeks, batch};
}

struct Round {
  ShrinkResult result;
  uint64_t deferred;
  uint32_t beats;
};

Round shrink(Cache& cache, uint64_t deferred, unsigned priority, unsigned seeks = kDefaultSeeks, size_t batch = 0) {
  std::atomic<uint32_t> beat{0};
  std::atomic<bool> stop{false};
  Round round;
  cache.asked.clear();
  round.deferred = deferred;
  round.result = do_shrink_slab(ops_of(cache, seeks, batch), round.deferred, priority, beat, stop);
  round.beats = beat.load();
  return round;
}

TEST(ShrinkSlab, NothingToFree) {
  for (const size_t count : {size_t{0}, kShrinkStop}) {
    Cache cache;
    cache.objects = count;
    const Round round = shrink(cache, 77, 1);
    EXPECT_EQ(round.result.scanned, 0u);
    EXPECT_EQ(round.deferred, 77u) << "still owed";
    EXPECT_TRUE(cache.asked.empty());
    EXPECT_EQ(round.beats, 1u);
  }
}

TEST(ShrinkSlab, ByHand) {
  // 100,000 >> 5 = 3,125, times 4, over 2: 6,250 = 48 batches of 128, and 106 for later.
  Cache cache;
  cache.objects = 100000;
  Round round = shrink(cache, 0, 5);
  EXPECT_EQ(cache.asked, std::vector<size_t>(48, 128));
  EXPECT_EQ(round.result.scanned, 48u * 128);
  EXPECT_EQ(round.result.freed, 48u * 128);
  EXPECT_EQ(round.deferred, 106u);
  EXPECT_EQ(round.beats, 49u);
  // At the least priority that is less than a batch, and adds up.
  cache.objects = 100000;
  round = shrink(cache, 0, 12);
  EXPECT_TRUE(cache.asked.empty());
  EXPECT_EQ(round.deferred, 48u);
  // Dearer objects, fewer of them; costless ones, half of all.
  cache.objects = 100000;
  EXPECT_EQ(shrink(cache, 0, 5, 20).result.scanned, 625 / 128 * 128u);
  cache.objects = 100000;
  EXPECT_EQ(shrink(cache, 0, 12, 0).result.scanned, 50000 / 128 * 128u);
  // Fewer than a batch, all of which are wanted.
  cache.objects = 20;
  round = shrink(cache, 0, 1);
  EXPECT_EQ(cache.asked, std::vector<size_t>{20});
  EXPECT_EQ(cache.objects, 0u);
  // What was put off counts, but never more than twice what there is.
  cache.objects = 1000;
  round = shrink(cache, 1 << 20, 0, kDefaultSeeks, 100);
  EXPECT_EQ(round.result.scanned, 2000u);
  EXPECT_EQ(round.deferred, 2000u);
}

TEST(ShrinkSlab, StopsWhenItIsTold) {
  Cache cache;
  cache.objects = 100000;
  cache.stop_after = 3;
  Round round = shrink(cache, 0, 5);
  EXPECT_EQ(cache.asked.size(), 3u);
  EXPECT_EQ(round.deferred, 6250u - 3 * 128);
  // Its owner is removing it.
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> beat{0};
  Cache leaving;
  leaving.objects = 100000;
  leaving.stop_flag = &stop;
  uint64_t deferred = 0;
  EXPECT_EQ(do_shrink_slab(ops_of(leaving, 2, 0), deferred, 1, beat, stop).scanned, 128u);
}

TEST(ShrinkSlab, EndsWhateverACacheSays) {
  Cache cache;
  cache.objects = SIZE_MAX - 1;
  cache.least = 0;
  cache.stop_after = 1000;
  const Round round = shrink(cache, UINT64_MAX / 4, 0);
  EXPECT_EQ(cache.asked.size(), 1000u);
  EXPECT_LE(round.deferred, uint64_t{1} << 61);
}

// mm/shrinker.c once more, as it is written there: signed, and step by step.
struct Model {
  __int128 scanned = 0, freed = 0, deferred = 0;
  std::vector<size_t> asked;
};
Model model(size_t objects, uint64_t deferred, unsigned priority, unsigned seeks, size_t batch, size_t stop_after,
            size_t least) {
  Model m;
  const __int128 freeable = objects, nr = deferred, size = batch != 0 ? batch : 128;
  if (objects == 0) {
    m.deferred = nr;
    return m;
  }
  __int128 delta = freeable / 2;
  if (seeks != 0) delta = (freeable / (__int128{1} << priority)) * 4 / seeks;
  __int128 todo = std::min(nr / (__int128{1} << priority) + delta, 2 * freeable);
  size_t left = objects;
  for (;;) {
    if (todo < size && todo < freeable) break;
    const __int128 now = todo < size ? todo : size;
    if (m.asked.size() == stop_after) break;
    m.asked.push_back(static_cast<size_t>(now));
    const size_t freed = std::min({static_cast<size_t>(now), least, left});
    left -= freed;
    m.freed += freed;
    todo -= now;
    m.scanned += now;
  }
  m.deferred = std::min(std::max(nr + delta - m.scanned, __int128{0}), 2 * freeable);
  return m;
}

TEST(ShrinkSlab, AgreesWithTheFormula) {
  Random random(3);
  for (int i = 0; i < 50000; ++i) {
    const size_t objects = random.below(uint64_t{1} << random.below(18));
    const uint64_t deferred = random.below(uint64_t{1} << random.below(20));
    const unsigned priority = static_cast<unsigned>(random.below(13));
    const unsigned seeks = static_cast<unsigned>(random.below(6));
    const size_t batch = random.below(3) == 0 ? 0 : 1 + random.below(1000);
    const size_t stop_after = random.below(4) == 0 ? random.below(5) : SIZE_MAX;
    const size_t least = random.below(4) == 0 ? random.below(50) : SIZE_MAX;
    Cache cache;
    cache.objects = objects;
    cache.stop_after = stop_after;
    cache.least = least;
    const Round got = shrink(cache, deferred, priority, seeks, batch);
    const Model want = model(objects, deferred, priority, seeks, batch, stop_after, least);
    ASSERT_TRUE(got.result.scanned == want.scanned && got.result.freed == want.freed && got.deferred == want.deferred)
        << objects << " objects, " << deferred << " deferred, priority " << priority << ", seeks " << seeks
        << ", batch " << batch;
    ASSERT_EQ(cache.asked, want.asked);
  }
}

// The shorter memory is, the larger the part; nothing is put off for ever.
TEST(ShrinkSlab, SmallNeedsAddUp) {
  Cache cache;
  cache.objects = 50000;
  uint64_t deferred = 0, freed = 0;
  for (int round = 0; round < 20000; ++round) {
    const Round one = shrink(cache, deferred, 10);
    deferred = one.deferred;
    freed += one.result.freed;
  }
  EXPECT_GT(freed, 10000u);
  EXPECT_GT(cache.objects, 0u);
}

}  // namespace
}  // namespace weir
