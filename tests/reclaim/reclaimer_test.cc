// reclaimer_test.cc: a limit that is kept: when kswapd works and when it rests, what is counted, what happens when
// nothing can be freed, and that content survives. Everything is recounted, also against the kernel, after each phase.
#include "reclaim/reclaimer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "os/service_thread.h"
#include "os/uffd.h"
#include "support/page_content.h"
#include "support/random.h"
#include "support/squeeze.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{16} << 20;
constexpr size_t kCapacity = size_t{256} << 20;
constexpr Pages kLimitPages(kLimit >> kPageShift);

struct Block {
  char* p;
  size_t size;
  uint64_t seed;
};

class ReclaimerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const char* why = a_.start(kLimit, kCapacity)) GTEST_SKIP() << why;
  }
  // False: no memory.
  bool allocate(size_t size, Content kind) {
    char* p = static_cast<char*>(a_->malloc(nullptr, size));
    if (p == nullptr) return false;
    blocks_.push_back({p, size, content_seed(random_.next(), kind)});
    write_content(p, size, blocks_.back().seed);
    return true;
  }
  void expect_content() {
    for (const Block& b : blocks_)
      ASSERT_TRUE(check_content_at(b.p, 0, b.size, b.seed)) << "block " << &b - blocks_.data();
  }
  void release(size_t keep = 0) {
    for (; blocks_.size() > keep; blocks_.pop_back())
      ASSERT_EQ(a_->free(nullptr, blocks_.back().p).misuse, Misuse::kNone);
  }
  void expect_whole() { EXPECT_STREQ(find_fault(a_), nullptr); }
  void expect_nothing_left() {
    release();
    a_->trim(nullptr);
    expect_whole();
    EXPECT_EQ(a_->charged(), 0u);
    EXPECT_EQ(a_.node().swapped_pages(), 0u);
    EXPECT_EQ(a_.node().standby(), Pages(0));
  }
  ReclaimStats stats() { return settled_stats(a_); }

  LimitedAllocator a_;
  std::vector<Block> blocks_;
  Random random_{1};
};

TEST_F(ReclaimerTest, KswapdStartsBelowLowAndStopsAtHigh) {
  constexpr size_t kBlock = size_t{64} << 10;
  const Zone& zone = a_.zone();
  const Watermarks marks = zone.watermarks();
  ASSERT_GT(marks.low, marks.min);
  ASSERT_GT(marks.high, marks.low);
  while (zone.free_budget() >= marks.low + pages_of(kBlock)) ASSERT_TRUE(allocate(kBlock, Content::kCompressible));
  // It may look, and finds nothing to do.
  for (int i = 0; i < 20; ++i) {
    a_.reclaimer().wake_kswapd(zone.node());
    usleep(5000);
  }
  EXPECT_EQ(stats().pgscan_kswapd, 0u);
  EXPECT_EQ(stats().standby, Pages(0));
  expect_whole();

  while (zone.free_budget() >= marks.low && stats().pgsteal_kswapd == 0)
    ASSERT_TRUE(allocate(kBlock, Content::kCompressible));
  ASSERT_TRUE(wait_until([&] { return zone.free_budget() >= marks.high; }));
  const ReclaimStats at_high = stats();
  EXPECT_GT(at_high.kswapd_wake, 0u);
  EXPECT_GT(at_high.pgsteal_kswapd, 0u);
  EXPECT_EQ(at_high.pgsteal_direct, 0u) << "nobody had to wait";
  // Beyond the mark go at most what was under way, a cluster, and what gaps in the pool gave back.
  EXPECT_LE(zone.free_budget(), marks.high + Pages(4 * kClusterPages));
  for (int i = 0; i < 20; ++i) {
    a_.reclaimer().wake_kswapd(zone.node());
    usleep(5000);
  }
  EXPECT_EQ(stats().pgscan_kswapd, at_high.pgscan_kswapd) << "it rests";
  EXPECT_EQ(stats().pgsteal_kswapd, at_high.pgsteal_kswapd);
  expect_whole();
  expect_content();
  expect_nothing_left();
}

// Where all pages are active for as long as can be, some leave before all of that has passed.
TEST_F(ReclaimerTest, PagesThatAreAllActiveAgeFaster) {
  constexpr size_t kBlock = size_t{64} << 10;
  const Zone& zone = a_.zone();
  while (zone.free_budget() >= zone.watermarks().low + pages_of(kBlock))
    ASSERT_TRUE(allocate(kBlock, Content::kCompressible));
  ASSERT_EQ(stats().pgsteal_kswapd, 0u);
  uint64_t pages = 0;
  for (const Block& b : blocks_) {
    for (size_t at = 0; at < b.size; at += kPageSize, ++pages) {
      const Pfn pfn = zone.pfn_of(b.p + at);
      while (a_.node().rounds_left(pfn) != Rounds::kMost) a_.node().activate(cluster_of(pfn), page_bit(pfn));
    }
  }
  while (zone.free_budget() >= zone.watermarks().low && stats().pgsteal_kswapd == 0)
    ASSERT_TRUE(allocate(kBlock, Content::kCompressible));
  ASSERT_TRUE(wait_until([&] { return zone.free_budget() >= zone.watermarks().high; }));
  const uint64_t scanned = stats().pgscan_kswapd;
  EXPECT_GE(scanned, pages) << "each had its turn";
  EXPECT_LT(scanned, pages * (Rounds::kMost - 1));
  expect_content();
  expect_nothing_left();
}

TEST_F(ReclaimerTest, ALongRunCountsWhatIsTouchedOfIt) {
  constexpr size_t kRun = size_t{64} << 20;
  constexpr unsigned kPlaces = 10;
  const Pages before = a_.zone().total();
  char* run = static_cast<char*>(a_->malloc(nullptr, kRun));
  ASSERT_NE(run, nullptr) << "four times the limit";
  EXPECT_EQ(a_.zone().total(), before);
  for (size_t i = 0; i < kPlaces; ++i) write_content(run + i * (kRun / kPlaces) / kPageSize * kPageSize, 100, i + 1);
  settle(a_);
  const Pages touched = a_.zone().total() - before;
  EXPECT_GE(touched, Pages(kPlaces));
  EXPECT_LE(touched, Pages(2 * kPlaces)) << "few more";
  EXPECT_EQ(os::vm_resident(run, kRun), touched);
  expect_whole();
  for (size_t i = 0; i < kPlaces; ++i)
    EXPECT_TRUE(check_content_at(run + i * (kRun / kPlaces) / kPageSize * kPageSize, 0, 100, i + 1));
  ASSERT_EQ(a_->free(nullptr, run).misuse, Misuse::kNone);
  expect_nothing_left();
  EXPECT_EQ(a_.zone().total(), Pages(0));
}

TEST_F(ReclaimerTest, NoMemoryWhenNothingCanBeFreed) {
  constexpr size_t kBlock = size_t{100} << 10;
  // Does not compress, and there is no file.
  while (blocks_.size() * kBlock <= 2 * kLimit && allocate(kBlock, Content::kRandom)) {
  }
  ASSERT_LT(blocks_.size() * kBlock, kLimit) << "more than there can be";
  EXPECT_GE(blocks_.size() * kBlock, kLimit / 2);
  EXPECT_EQ(a_->malloc(nullptr, kBlock), nullptr) << "and again";
  EXPECT_EQ(a_->malloc(nullptr, kLimit / 5), nullptr);
  expect_whole();
  expect_content();
  expect_whole();
  // Room is room again at once.
  release(blocks_.size() / 2);
  EXPECT_TRUE(allocate(kBlock, Content::kRandom));
  EXPECT_TRUE(allocate(kBlock, Content::kCompressible));
  expect_content();
  expect_nothing_left();
}

// What does not compress has nowhere to go without a file. It must not keep the rest from leaving: seven eighths of all
// compress well.
TEST_F(ReclaimerTest, WhatDoesNotCompressIsInNobodysWay) {
  constexpr size_t kBlock = size_t{20} << 10;
  for (size_t i = 0; i < kLimit * 2 / kBlock; ++i)
    ASSERT_TRUE(allocate(kBlock, i % 8 == 0 ? Content::kRandom : Content::kCompressible)) << i;
  expect_content();
  expect_whole();
  expect_nothing_left();
}

// Pages that were found not to compress are tried again when they are others', or have been freed and given out again.
TEST_F(ReclaimerTest, WhatDidNotCompressMayBeReplacedByWhatDoes) {
  constexpr size_t kBlock = size_t{20} << 10;
  while (blocks_.size() * kBlock <= 2 * kLimit && allocate(kBlock, Content::kRandom)) {
  }
  release();
  for (size_t i = 0; i < kLimit * 2 / kBlock; ++i) ASSERT_TRUE(allocate(kBlock, Content::kCompressible)) << i;
  expect_content();
  expect_whole();
  expect_nothing_left();
}

// A scan that goes through everything, because it frees nothing, has pauses: when no cluster is owned, and so that no
// more than a few clusters' work lies between them. It ends when it may not go on.
struct PausingScan {
  LimitedAllocator* a;
  Workbench* bench;
  unsigned most_pauses;
  ScanControl sc{};
  unsigned pauses = 0;
  uint64_t longest = 0, before = 0;
  bool any_owned = false;

  static bool pause(void* self) {
    auto& scan = *static_cast<PausingScan*>(self);
    scan.note();
    for (ClusterId c = 0; c < scan.a->zone().accessible_estimate().v / kClusterPages; ++c)
      scan.any_owned =
          scan.any_owned || scan.a->node().cluster(c).owned.load() || scan.a->node().cluster(c).busy.load();
    return ++scan.pauses < scan.most_pauses;
  }
  void note() {
    const uint64_t work = (sc.visited + sc.scanned).v;
    if (work - before > longest) longest = work - before;
    before = work;
  }
  void run() {
    sc.to_reclaim = kLimitPages;
    sc.priority = 0;
    sc.may_write = false;
    sc.on_pause = pause;
    sc.pause_argument = this;
    a->node().shrink(sc, *bench);
    note();
  }

  // On kswapd, which has the descriptors for it, and does nothing else meanwhile.
  static inline std::atomic<PausingScan*> due{nullptr};
  static void run_due() {
    PausingScan* scan = due.load();
    if (scan == nullptr) return;
    scan->run();
    due.store(nullptr);
  }
};

class ScanTest : public ReclaimerTest {
 protected:
  void SetUp() override {
    const auto prepare = [](Reclaimer& reclaimer) { reclaimer.call_often(PausingScan::run_due); };
    if (const char* why = a_.start(kLimit, kCapacity, prepare)) GTEST_SKIP() << why;
  }
};

TEST_F(ScanTest, HasPauses) {
  while (blocks_.size() * 20 < 10 * 1024) ASSERT_TRUE(allocate(size_t{20} << 10, Content::kRandom));
  const auto bench = std::make_unique<Workbench>();
  ASSERT_TRUE(bench->init());
  for (const unsigned most_pauses : {100u, 1u}) {
    PausingScan scan{&a_, bench.get(), most_pauses};
    PausingScan::due.store(&scan);
    a_.reclaimer().wake_kswapd(a_.zone().node());
    ASSERT_TRUE(wait_until([] { return PausingScan::due.load() == nullptr; }));
    EXPECT_FALSE(scan.any_owned);
    EXPECT_EQ(scan.sc.reclaimed, Pages(0));
    EXPECT_LE(scan.longest, ScanControl::kBetweenPauses.v + 2 * kClusterPages);
    if (most_pauses == 1) {
      EXPECT_EQ(scan.pauses, 1u);
      EXPECT_LE((scan.sc.visited + scan.sc.scanned).v, scan.longest) << "it went on";
    } else {
      EXPECT_GE(scan.pauses, 2u);
    }
  }
  expect_whole();
  expect_content();
  expect_nothing_left();
}

// A child of a fork goes on with the lists as they were at any moment of the parent's handlers: one that is being
// dropped must not be counted any more, or the child would drop it again.
TEST_F(ReclaimerTest, WhatIsDroppedLateIsCountedNoMoreBeforeItIsDropped) {
  constexpr unsigned kDrops = 3;
  ASSERT_TRUE(allocate(size_t{4} << 20, Content::kCompressible));
  NodeReclaim& node = a_.node();
  ASSERT_TRUE(squeeze(a_, Pages(1), [&] { return node.swapped_pages() >= 512; }));
  const auto bench = std::make_unique<Workbench>();
  unsigned found = 0;
  for (Pfn pfn = node.zone().pfn_of(blocks_[0].p); found < kDrops; ++pfn) {
    const ClusterId c = cluster_of(pfn);
    if ((node.cluster(c).swapped.load() & page_bit(pfn)) == 0) continue;
    ASSERT_NE(node.claim(c, page_bit(pfn)), 0u);
    bench->late_drop_node[found] = &node;
    bench->late_drops[found++] = node.entry(pfn);
    node.leave_swap(c, page_bit(pfn), 0);
    node.release(c, page_bit(pfn));
  }
  bench->nr_late_drops.store(kDrops);
  node.lock_for_fork();
  std::thread handler([&] { a_.reclaimer().drop(node, nullptr, 0, *bench); });
  EXPECT_TRUE(wait_until([&] { return bench->nr_late_drops.load() == kDrops - 1; })) << "it waits for the first one";
  node.unlock_for_fork();
  handler.join();
  EXPECT_EQ(bench->nr_late_drops.load(), 0u);
  expect_whole();
  expect_nothing_left();
}

TEST_F(ReclaimerTest, MoreThanTheLimitWithinTheLimit) {
  while (blocks_.size() < 3 * kLimit / (size_t{200} << 10))
    ASSERT_TRUE(allocate(size_t{200} << 10, blocks_.size() % 4 == 0 ? Content::kUniform : Content::kCompressible));
  expect_whole();
  for (int round = 0; round < 2; ++round) expect_content();
  expect_whole();
  const ReclaimStats s = stats();
  EXPECT_GT(s.zswpout, kLimitPages.v);
  EXPECT_GT(s.zswpin, kLimitPages.v);
  EXPECT_GT(s.zswap_same_filled, 0u);
  EXPECT_LE(s.resident_peak, kLimitPages + Pages(kLimitPages.v / 8));
  expect_nothing_left();
}

// A page of which so many percent do not compress.
void write_noise(char* page, uint64_t seed, unsigned percent) {
  for (size_t at = 0; at < kPageSize; at += sizeof(uint64_t)) {
    const uint64_t word = at * 100 < kPageSize * percent ? pattern_word(seed, at) : seed;
    memcpy(page + at, &word, sizeof(word));
  }
}

// Pages are written anew in random order, and compress a little better or worse each time. Compressed memory in slots
// of sizes that are not needed any more is then moved together; otherwise the limit would be exceeded by a fifth.
TEST_F(ReclaimerTest, PagesThatCompressDifferentlyLaterFindRoom) {
  constexpr Pages kData(kLimitPages.v * 15 / 8);
  char* data = static_cast<char*>(a_->malloc(nullptr, bytes_of(kData)));
  ASSERT_NE(data, nullptr);
  std::vector<unsigned> written(kData.v, 30);
  for (uint64_t i = 0; i < kData.v; ++i) write_noise(data + i * kPageSize, i, 30);
  for (unsigned percent : {36u, 27u, 33u, 30u, 36u, 28u}) {
    for (uint64_t n = 0; n < kData.v; ++n) {
      const uint64_t i = random_.below(kData.v);
      write_noise(data + i * kPageSize, i, percent);
      written[i] = percent;
    }
  }
  expect_whole();
  std::vector<char> expected(kPageSize);
  for (uint64_t i = 0; i < kData.v; ++i) {
    write_noise(expected.data(), i, written[i]);
    ASSERT_EQ(memcmp(data + i * kPageSize, expected.data(), kPageSize), 0) << "page " << i;
  }
  const ReclaimStats s = stats();
  EXPECT_GT(s.zswap_moved, kLimitPages.v / 4);
  EXPECT_LE(s.resident_peak, kLimitPages + Pages(kLimitPages.v / 16));
  ASSERT_EQ(a_->free(nullptr, data).misuse, Misuse::kNone);
  expect_nothing_left();
}

// What was compressed stays as it is when zswap_compressor changes.
TEST_F(ReclaimerTest, EntriesOfBothCodecsLieSideBySide) {
  for (ZswapCompressor compressor : {ZswapCompressor::kLz4, ZswapCompressor::kZstd, ZswapCompressor::kLz4}) {
    a_.options().zswap_compressor = compressor;
    ASSERT_TRUE(a_.reclaimer().options_changed(Reclaimer::Budget::kStays));
    for (int i = 0; i < 80; ++i) ASSERT_TRUE(allocate(size_t{200} << 10, Content::kCompressible));
  }
  expect_whole();
  for (int round = 0; round < 2; ++round) expect_content();
  expect_whole();
  expect_nothing_left();
}

TEST_F(ReclaimerTest, ContentIsExactAfterEverythingWasSwapped) {
  constexpr size_t kBlock = size_t{200} << 10;
  constexpr uint64_t kBlocks = 60;
  for (uint64_t i = 0; i < kBlocks; ++i)
    ASSERT_TRUE(allocate(kBlock, i % 5 == 0 ? Content::kUniform : Content::kCompressible));
  const uint64_t data = kBlocks * pages_of(kBlock).v;
  ASSERT_TRUE(squeeze(a_, Pages(1), [&] { return a_.node().swapped_pages() >= data; })) << a_.node().swapped_pages();
  for (const Block& b : blocks_) ASSERT_EQ(os::vm_resident(b.p, b.size), Pages(0)) << "all are away";
  expect_whole();
  const ReclaimStats before = stats();
  expect_content();
  expect_whole();
  const ReclaimStats after = stats();
  EXPECT_EQ(after.zswpin - before.zswpin, data) << "each once";
  EXPECT_EQ(after.workingset_refault_anon - before.workingset_refault_anon, data);
  EXPECT_EQ(a_.node().swapped_pages(), 0u);
  expect_nothing_left();
}

// Whether one of the copies of this descriptor does it: weir's threads have a table of their own, and those of the
// allocators of earlier tests are still there. The kernel gives none before 6.9.
template <class Try>
bool try_weirs(int fd, Try attempt) {
  bool done = false;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    const int copy = os::copy_descriptor(static_cast<uint32_t>(std::stoul(task.path().filename())), fd);
    if (copy < 0) continue;
    done = done || attempt(copy);
    close(copy);
  }
  return done;
}

// What the kernel may do to a page that it migrates or swaps out by itself: it is at its staging address, and the move
// says that it stayed. And the other way round: something is there, and the page is where it belongs.
TEST_F(ReclaimerTest, APageThatWasMovedWithoutBeingCountedIsNotLost) {
  constexpr size_t kBlock = size_t{1} << 20;
  for (size_t i = 0; i < kLimit / kBlock * 5 / 4; ++i) ASSERT_TRUE(allocate(kBlock, Content::kCompressible));
  ASSERT_GT(stats().zswpout, 0u);
  NodeReclaim& node = a_.node();
  unsigned moved = 0, left = 0;
  for (const Block& b : blocks_) {
    const Pfn pfn = node.zone().pfn_of(b.p);
    const ClusterId c = cluster_of(pfn);
    // A touch may bring it back; then it is at its address, and its pageblock is armed.
    ASSERT_TRUE(check_content_at(b.p, 0, kPageSize, b.seed));
    if (!node.is_armed(pfn / kPageblockPages) || (node.cluster(c).standby.load() & page_bit(pfn)) != 0) continue;
    int error = 0;
    char* const staging = node.staging_address(pfn);
    const char other[kPageSize] = {1};
    if (moved <= left) {
      moved += try_weirs(node.uffd_of(c), [&](int uffd) {
        return os::uffd_move(uffd, staging, node.zone().address(pfn), kPageSize, error) == kPageSize;
      });
    } else {
      left += try_weirs(node.uffd_of(c), [&](int uffd) {
        return os::uffd_copy(uffd, staging, other, kPageSize, false, error) == kPageSize;
      });
    }
    if (moved + left == 8) break;
  }
  if (moved == 0) GTEST_SKIP() << "the kernel cannot move pages, or gives no descriptor of a thread";
  ASSERT_GT(left, 0u);
  // So much that everything that was there before leaves.
  for (size_t i = 0; i < 4 * kLimit / kBlock; ++i) ASSERT_TRUE(allocate(kBlock, Content::kUniform));
  expect_content();
  expect_whole();
  expect_nothing_left();
}

TEST_F(ReclaimerTest, WhatIsFreedWhileItIsAwayIsDropped) {
  constexpr size_t kBlock = size_t{1} << 20;
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(allocate(kBlock, Content::kCompressible));
  ASSERT_TRUE(squeeze(a_, Pages(1), [&] { return a_.node().swapped_pages() == 8 * pages_of(kBlock).v; }));
  const ReclaimStats before = stats();
  release(3);
  EXPECT_EQ(a_.node().swapped_pages(), 3 * pages_of(kBlock).v);
  EXPECT_EQ(stats().zswap_stored, Pages(3 * pages_of(kBlock).v));
  EXPECT_EQ(stats().pgfault, before.pgfault) << "nothing came back for it";
  expect_whole();
  // What lies there now is not what was there.
  char* fresh = static_cast<char*>(a_->calloc(nullptr, kBlock));
  ASSERT_NE(fresh, nullptr);
  EXPECT_TRUE(is_zero(fresh, kBlock));
  ASSERT_EQ(a_->free(nullptr, fresh).misuse, Misuse::kNone);
  expect_content();
  expect_nothing_left();
}

TEST_F(ReclaimerTest, NothingMovesWhileItHoldsStill) {
  constexpr size_t kBlock = size_t{64} << 10;
  while (a_.zone().free_budget() >= a_.zone().watermarks().low + pages_of(kBlock))
    ASSERT_TRUE(allocate(kBlock, Content::kCompressible));
  {
    const StandStill still(a_.reclaimer());
    a_.zone().set_managed(Pages(1));
    for (int i = 0; i < 10; ++i) {
      a_.reclaimer().wake_kswapd(a_.zone().node());
      usleep(5000);
    }
    EXPECT_EQ(a_.reclaimer().stats().pgscan_kswapd, 0u);
    EXPECT_EQ(a_.node().standby(), Pages(0));
    EXPECT_STREQ(a_.reclaimer().verify(), nullptr);
  }
  EXPECT_TRUE(wait_until([&] { return a_.node().swapped_pages() != 0; })) << "it goes on";
  a_.zone().set_managed(kLimitPages);
  expect_whole();
  expect_content();
  expect_nothing_left();
}

// Without threads of weir's own there is no swapping, and the limit is kept by refusing.
TEST(ReclaimerWithoutThreads, RefusesWhatIsAboveTheLimit) {
  LimitedAllocator a;
  a.options().background_thread = false;
  ASSERT_NE(a.start(kLimit, kCapacity), nullptr) << "pages are not swapped";
  ASSERT_EQ(a.reclaimer().mode(), Reclaimer::Mode::kPurge);
  constexpr size_t kBlock = size_t{100} << 10;
  std::vector<void*> all;
  while (all.size() * kBlock <= kLimit) {
    void* p = a->malloc(nullptr, kBlock);
    if (p == nullptr) break;
    memset(p, 1, kBlock);
    all.push_back(p);
  }
  EXPECT_LE(Pages(all.size() * pages_of(kBlock).v) + a.zone().watermarks().min, kLimitPages);
  EXPECT_GE(Pages((all.size() + 1) * pages_of(kBlock).v) + a.zone().watermarks().min, kLimitPages) << "all of it";
  EXPECT_EQ(a->malloc(nullptr, size_t{64} << 20), nullptr) << "long runs too: no touch would be seen";
  EXPECT_LE(a.zone().total(), kLimitPages);
  for (void* p : all) ASSERT_EQ(a->free(nullptr, p).misuse, Misuse::kNone);
  // What is free must not stand in the way of another size.
  void* half = a->malloc(nullptr, kLimit / 2);
  ASSERT_NE(half, nullptr);
  memset(half, 1, kLimit / 2);
  ASSERT_EQ(a->free(nullptr, half).misuse, Misuse::kNone);
  EXPECT_STREQ(a.allocator().verify(), nullptr);
}

}  // namespace
}  // namespace weir
