// The compressed pool: what is stored comes back, same-filled pages cost nothing, limits hold, damage is found, memory
// goes back, a forked child goes on.
#include "swap/zswap_pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "swap/zswap_pages.h"

namespace weir {
namespace {

using Result = ZswapPool::Result;

// Nothing runs before main for a pool in static storage.
[[maybe_unused]] constinit ZswapPool in_static_storage;

class ZswapPoolTest : public testing::TestWithParam<Codec> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(pool_->init(size_t{256} << 20));
    ASSERT_TRUE(compressor_.init());
  }
  void TearDown() override {
    EXPECT_EQ(pool_->verify(), nullptr) << pool_->verify();
    compressor_.destroy();
    pool_->destroy();
  }
  // The handle of a page that must be stored.
  uint64_t store(const Page& page) {
    const ZswapPool::Stored stored = pool_->store(compressor_, GetParam(), page.bytes);
    EXPECT_EQ(stored.result, Result::kStored);
    EXPECT_NE(stored.handle, 0u);
    EXPECT_LT(stored.handle, uint64_t{1} << 56);
    return stored.handle;
  }
  bool comes_back(uint64_t handle, const Page& page) {
    memset(back_.bytes, 0x5a, kPageSize);
    return pool_->load(compressor_, handle, back_.bytes) && back_ == page;
  }
  std::vector<uint64_t> store_many(uint64_t count) {
    std::vector<uint64_t> handles;
    for (uint64_t i = 0; i < count; ++i) {
      make_records(page_, i);
      handles.push_back(store(page_));
    }
    return handles;
  }
  std::unique_ptr<ZswapPool> pool_ = std::make_unique<ZswapPool>();
  Compressor compressor_;
  Page page_, back_;
};

TEST_P(ZswapPoolTest, PagesComeBackAsOftenAsLoaded) {
  make_records(page_, 1);
  const uint64_t handle = store(page_);
  EXPECT_FALSE(ZswapPool::is_same_filled(handle));
  EXPECT_TRUE(comes_back(handle, page_));
  EXPECT_TRUE(comes_back(handle, page_));
  const ZswapStats stats = pool_->stats();
  EXPECT_EQ(stats.stored, 1u);
  EXPECT_EQ(stats.same_filled, 0u);
  EXPECT_GT(stats.compressed_bytes, 100u);
  EXPECT_LT(stats.compressed_bytes, ZswapPool::kMaxCompressed);
  EXPECT_EQ(stats.pool, pool_->pool_pages());
  pool_->drop(handle);
  EXPECT_EQ(pool_->stats().stored, 0u);
  EXPECT_EQ(pool_->stats().compressed_bytes, 0u);
}

TEST_P(ZswapPoolTest, SameFilledPagesTakeNoMemory) {
  std::vector<uint64_t> handles;
  for (uint64_t word : {uint64_t{0}, ~uint64_t{0}, uint64_t{0x4141414141414141}, uint64_t{0x7f0123456780},
                        uint64_t{0x3ff0000000000000}, uint64_t{0xdeadbeefdeadbeef}}) {
    make_same_filled(page_, word);
    handles.push_back(store(page_));
    EXPECT_TRUE(ZswapPool::is_same_filled(handles.back()));
    EXPECT_TRUE(comes_back(handles.back(), page_));
  }
  EXPECT_EQ(pool_->pool_pages(), Pages(0));
  EXPECT_EQ(pool_->stats().same_filled, handles.size());
  EXPECT_EQ(pool_->stats().stored, handles.size());
  pool_->drop(handles.back());
  handles.pop_back();
  pool_->drop_many(handles.data(), static_cast<unsigned>(handles.size()));
  EXPECT_EQ(pool_->stats().stored, 0u);
  // A word with too many different bits is compressed like anything else.
  make_same_filled(page_, 0x1234567812345679);
  const uint64_t handle = store(page_);
  EXPECT_FALSE(ZswapPool::is_same_filled(handle));
  EXPECT_TRUE(comes_back(handle, page_));
}

TEST_P(ZswapPoolTest, NoiseIsRefusedWithoutMemory) {
  make_noise(page_, 1, kPageSize);
  EXPECT_EQ(pool_->store(compressor_, GetParam(), page_.bytes).result, Result::kIncompressible);
  make_noise(page_, 2, kPageSize * 93 / 100);
  EXPECT_EQ(pool_->store(compressor_, GetParam(), page_.bytes).result, Result::kIncompressible);
  EXPECT_EQ(pool_->stats().incompressible, 2u);
  EXPECT_EQ(pool_->pool_pages(), Pages(0));
  make_noise(page_, 3, kPageSize * 85 / 100);
  EXPECT_TRUE(comes_back(store(page_), page_));
  make_half_random(page_, 4);
  EXPECT_TRUE(comes_back(store(page_), page_));
}

TEST_P(ZswapPoolTest, FullBeyondTheLimitAndUsableAgainAfterDrops) {
  pool_->set_max_pages(Pages(200));
  EXPECT_EQ(pool_->max_pages(), Pages(200));
  std::vector<uint64_t> handles;
  for (uint64_t seed = 0;; ++seed) {
    make_records(page_, seed);
    const auto stored = pool_->store(compressor_, GetParam(), page_.bytes);
    if (stored.result == Result::kFull) break;
    ASSERT_EQ(stored.result, Result::kStored);
    handles.push_back(stored.handle);
    ASSERT_LE(pool_->pool_pages(), Pages(200));
  }
  EXPECT_GT(handles.size(), 300u);
  EXPECT_EQ(pool_->stats().full, 1u);
  make_same_filled(page_, 7);
  EXPECT_NE(store(page_), 0u) << "a handle alone is never too much";
  pool_->drop_many(handles.data(), 100);
  for (uint64_t seed = 0; seed < 50; ++seed) {
    make_records(page_, seed);
    ASSERT_TRUE(comes_back(store(page_), page_));
    ASSERT_LE(pool_->pool_pages(), Pages(200));
  }
  // Lowered below what is used: nothing is lost, nothing more is taken.
  pool_->set_max_pages(Pages(10));
  make_records(page_, 100);
  EXPECT_TRUE(comes_back(handles[100], page_));
  pool_->set_max_pages(Pages(0));
  EXPECT_NE(store(page_), 0u);
}

TEST_P(ZswapPoolTest, ShrinkGivesBackWhatIsEmpty) {
  const std::vector<uint64_t> handles = store_many(2000);
  EXPECT_EQ(pool_->shrink(Pages(0)), Pages(0));
  pool_->drop_many(handles.data(), 1500);
  const Pages before = pool_->pool_pages(), empty = pool_->empty_pages();
  ASSERT_GT(empty, ZswapPool::kReserve);
  const Pages given = pool_->shrink();
  EXPECT_GT(given, Pages(0));
  EXPECT_EQ(pool_->pool_pages(), before - given);
  EXPECT_EQ(pool_->empty_pages(), empty - given);
  EXPECT_LE(pool_->empty_pages(), ZswapPool::kReserve);
  pool_->shrink(Pages(0));
  EXPECT_EQ(pool_->empty_pages(), Pages(0));
  for (uint64_t i = 1500; i < 2000; ++i) {
    make_records(page_, i);
    ASSERT_TRUE(comes_back(handles[i], page_)) << i;
  }
  pool_->drop_many(handles.data() + 1500, 500);
  pool_->shrink(Pages(0));
  EXPECT_LE(pool_->pool_pages(), Pages(2)) << "the descriptors of some 60 slabs";
}

// Of pages of one kind most are gone, and others come: without packing, their slots would be lost to these.
TEST_P(ZswapPoolTest, PackMakesRoomForOtherSizes) {
  std::vector<uint64_t> handles = store_many(6000), left;
  EXPECT_FALSE(pool_->is_loose());
  std::vector<uint64_t> seeds;
  for (uint64_t i = 0; i < handles.size(); ++i) {
    if (i % 5 == 0) {
      left.push_back(handles[i]);
      seeds.push_back(i);
    } else {
      pool_->drop(handles[i]);
    }
  }
  make_same_filled(page_, 5);
  const uint64_t same = store(page_);
  ASSERT_TRUE(pool_->is_loose());
  const Pages before = pool_->pool_pages();
  unsigned moved = 0;
  for (unsigned round = 0; pool_->is_loose() && round < 8; ++round) {
    for (size_t at = 0; at < left.size(); at += 40) {
      uint64_t batch[ZswapPool::kMostPacked] = {0, same};
      const size_t n = left.size() - at < 40 ? left.size() - at : 40;
      std::copy_n(left.begin() + static_cast<ptrdiff_t>(at), n, batch + 2);
      moved += pool_->pack(batch, static_cast<unsigned>(n + 2));
      ASSERT_EQ(batch[0], 0u);
      ASSERT_EQ(batch[1], same);
      std::copy_n(batch + 2, n, left.begin() + static_cast<ptrdiff_t>(at));
    }
  }
  EXPECT_GT(moved, 600u);
  EXPECT_FALSE(pool_->is_loose());
  EXPECT_EQ(pool_->verify(), nullptr) << pool_->verify();
  EXPECT_EQ(pool_->stats().stored, left.size() + 1);
  pool_->shrink(Pages(0));
  EXPECT_LT(pool_->pool_pages().v, before.v / 3);
  for (size_t i = 0; i < left.size(); ++i) {
    make_records(page_, seeds[i]);
    ASSERT_TRUE(comes_back(left[i], page_)) << i;
    pool_->drop(left[i]);
  }
  pool_->drop(same);
  EXPECT_EQ(pool_->stats().stored, 0u);
}

TEST_P(ZswapPoolTest, DropManyLeavesOutNothing) {
  std::vector<uint64_t> handles = store_many(10);
  make_same_filled(page_, 3);
  handles.push_back(store(page_));
  handles.insert(handles.begin() + 4, uint64_t{0});
  pool_->drop_many(handles.data(), static_cast<unsigned>(handles.size()));
  EXPECT_EQ(pool_->stats().stored, 0u);
  EXPECT_EQ(pool_->stats().compressed_bytes, 0u);
  pool_->drop_many(nullptr, 0);
}

// Every single bit of an entry, its checksum's too, is flipped in turn.
TEST_P(ZswapPoolTest, EveryDamagedByteIsFound) {
  make_noise(page_, 77, 600);
  const uint64_t handle = store(page_);
  char* memory = pool_->slabs().memory() + zswap::entry_place(handle);
  const size_t bytes = zswap::entry_bytes(handle) + ZswapPool::kHeader;
  for (size_t at = 0; at < bytes; ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      memory[at] = static_cast<char>(memory[at] ^ 1 << bit);
      ASSERT_FALSE(pool_->load(compressor_, handle, back_.bytes)) << "byte " << at << " bit " << bit;
      memory[at] = static_cast<char>(memory[at] ^ 1 << bit);
    }
  }
  EXPECT_TRUE(comes_back(handle, page_));
}

TEST_P(ZswapPoolTest, ForeignHandlesAreRefused) {
  make_records(page_, 1);
  const uint64_t handle = store(page_);
  EXPECT_FALSE(pool_->load(compressor_, 0, back_.bytes));
  EXPECT_FALSE(pool_->load(compressor_, handle + 1, back_.bytes));
  EXPECT_FALSE(pool_->load(compressor_, zswap::entry_handle(size_t{1} << 40, 100, GetParam()), back_.bytes));
  EXPECT_FALSE(pool_->load(compressor_, zswap::entry_handle(0, 4095, GetParam()), back_.bytes));
  EXPECT_FALSE(pool_->load(compressor_, zswap::entry_handle(size_t{255} << 20, 100, GetParam()), back_.bytes));
}

TEST_P(ZswapPoolTest, DroppingTwiceEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  make_records(page_, 1);
  const uint64_t handle = store(page_);
  pool_->drop(handle);
  EXPECT_DEATH(pool_->drop(handle), "give");
}

TEST_P(ZswapPoolTest, ForkedChildGoesOnWithACopy) {
  const std::vector<uint64_t> handles = store_many(1000);
  pool_->drop_many(handles.data() + 500, 500);
  pool_->lock_for_fork();
  const pid_t child = fork();
  if (child == 0) {
    pool_->after_fork_in_child();
    pool_->unlock_for_fork();
    // What the child drops, stores and gives back is its own.
    for (uint64_t i = 0; i < 500; ++i) {
      make_records(page_, i);
      if (!comes_back(handles[i], page_)) _exit(1);
      if (i % 2 == 0) pool_->drop(handles[i]);
    }
    for (uint64_t i = 5000; i < 6000; ++i) {
      make_records(page_, i);
      if (!comes_back(store(page_), page_)) _exit(2);
    }
    pool_->shrink(Pages(0));
    _exit(pool_->verify() == nullptr ? 0 : 3);
  }
  pool_->unlock_for_fork();
  ASSERT_GT(child, 0);
  for (uint64_t i = 500; i < 1000; ++i) {
    make_records(page_, i + 10000);
    ASSERT_TRUE(comes_back(store(page_), page_));
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  for (uint64_t i = 0; i < 500; ++i) {
    make_records(page_, i);
    ASSERT_TRUE(comes_back(handles[i], page_)) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, ZswapPoolTest, testing::Values(Codec::kLz4, Codec::kZstd), codec_name);

}  // namespace
}  // namespace weir
