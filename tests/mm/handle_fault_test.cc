// handle_fault_test.cc: a touch of a page that is away, for each place where it can be; what comes back with it, and
// what happens when it cannot come back.
#include "mm/handle_fault.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "os/swap_ring.h"
#include "support/memory_lock.h"
#include "support/page_content.h"
#include "support/random.h"
#include "support/squeeze.h"
#include "support/swap_place.h"
#include "support/touch.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{32} << 20;
constexpr size_t kCapacity = size_t{256} << 20;
constexpr size_t kData = size_t{4} << 20;
constexpr uint64_t kDataPages = kData >> kPageShift;

class HandleFault : public testing::Test {
 protected:
  void SetUp() override {
    configure(a_.options());
    if (const char* why = a_.start(kLimit, kCapacity)) GTEST_SKIP() << why;
    ASSERT_STREQ(a_.reclaimer().swap_problem(), nullptr);
    // Counted when it is given out: a long run would be by touch.
    for (size_t at = 0; at < kData; at += kData / 4) {
      p_.push_back(static_cast<char*>(a_->malloc(nullptr, kData / 4)));
      ASSERT_NE(p_.back(), nullptr);
      write_content(p_.back(), kData / 4, kSeed + at * 4);
    }
  }
  virtual void configure(Options&) {}

  static constexpr uint64_t kSeed = content_seed(uint64_t{7} << 40, Content::kCompressible);
  static constexpr size_t kBlockPages = kDataPages / 4;
  char* page(size_t i) const { return p_[i / kBlockPages] + i % kBlockPages * kPageSize; }
  Pfn pfn(size_t i) { return a_.zone().pfn_of(page(i)); }
  Cluster& cluster(size_t i) { return a_.node().cluster(cluster_of(pfn(i))); }
  // Entries belong to who has the page's busy bit.
  SwapEntry entry(size_t i) {
    NodeReclaim& node = a_.node();
    const ClusterId c = cluster_of(pfn(i));
    const uint64_t page = page_bit(pfn(i));
    while (node.claim(c, page) == 0) sched_yield();
    const SwapEntry entry = node.entry(pfn(i));
    node.release(c, page);
    return entry;
  }
  bool is_standby(size_t i) { return (cluster(i).standby.load() & page_bit(pfn(i))) != 0; }
  bool is_swapped(size_t i) { return (cluster(i).swapped.load() & page_bit(pfn(i))) != 0; }
  bool is_counted(size_t i) { return (a_.zone().resident_mask(cluster_of(pfn(i))) & page_bit(pfn(i))) != 0; }
  // Reads it.
  bool is_intact(size_t i) const {
    const size_t block = i / kBlockPages;
    return check_content_at(p_[block], i % kBlockPages * kPageSize, kPageSize, kSeed + block * kData);
  }
  void expect_whole() { EXPECT_STREQ(find_fault(a_), nullptr); }
  ReclaimStats stats() { return settled_stats(a_); }
  [[nodiscard]] bool swap_all() {
    return squeeze(a_, Pages(1), [&] {
      for (size_t i = 0; i < kDataPages; ++i)
        if (!is_swapped(i)) return false;
      return true;
    });
  }
  // The first page of a cluster that is ours throughout, past page `from`.
  size_t cluster_start(size_t from) {
    size_t i = from;
    while (pfn(i) % kClusterPages != 0 || i % kBlockPages + kClusterPages > kBlockPages) ++i;
    return i;
  }

  LimitedAllocator a_;
  std::vector<char*> p_;
};

// Touches the pages of a cluster from its first one on; returns by how much `counter` rose with each touch that did.
template <class Counter>
std::vector<uint64_t> walk_cluster(LimitedAllocator& a, const char* first, Counter counter) {
  std::vector<uint64_t> steps;
  uint64_t before = settled_stats(a).*counter;
  for (unsigned i = 0; i < kClusterPages; ++i) {
    touch(first + i * kPageSize);
    const uint64_t now = settled_stats(a).*counter;
    if (now != before) steps.push_back(now - before);
    before = now;
  }
  return steps;
}

const std::vector<uint64_t> kDoubling{1, 2, 4, 8, 16, 32, 1};  // the last one by the end of the cluster

// -- zero-fill -------------------------------------------------------------------------------------------------------

class ZeroFill : public HandleFault {
 protected:
  void SetUp() override {
    HandleFault::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    run_ = static_cast<char*>(a_->malloc(nullptr, kRun));
    ASSERT_NE(run_, nullptr);
    // From the first whole cluster on.
    while (a_.zone().pfn_of(run_) % kClusterPages != 0) run_ += kPageSize;
  }
  static constexpr size_t kRun = size_t{16} << 20;
  char* run_ = nullptr;
};

TEST_F(ZeroFill, AFirstTouchBringsOnePageOfZeros) {
  const ReclaimStats before = stats();
  const Pages total = a_.zone().total();
  char* p = run_ + 1000 * kPageSize;
  EXPECT_TRUE(is_zero(p, kPageSize));
  const ReclaimStats after = stats();
  EXPECT_EQ(after.pgfault - before.pgfault, 1u);
  EXPECT_EQ(after.pgfault_zero - before.pgfault_zero, 1u);
  EXPECT_EQ(after.pgmajfault, before.pgmajfault);
  EXPECT_EQ(a_.zone().total(), total + Pages(1));
  EXPECT_EQ(os::vm_resident(run_, kRun / 2), Pages(1));
  EXPECT_TRUE(is_zero(p, kPageSize));
  EXPECT_EQ(stats().pgfault, after.pgfault) << "it is there now";
  expect_whole();
}

TEST_F(ZeroFill, GrowsInSequence) {
  const Pages total = a_.zone().total();
  EXPECT_EQ(walk_cluster(a_, run_, &ReclaimStats::pgfault_zero), kDoubling);
  EXPECT_EQ(a_.zone().total(), total + Pages(kClusterPages));
  expect_whole();
}

// Beyond a cluster, too, up to half a pageblock, and never to more than twice what was touched.
TEST_F(ZeroFill, GrowsBeyondClustersInSequence) {
  char* block = run_;
  while (a_.zone().pfn_of(block) % kPageblockPages != 0) block += kPageSize;
  uint64_t before = stats().pgfault_zero, most = 0;
  const uint64_t start = before;
  for (uint64_t touched = 1; touched <= 2 * kPageblockPages; ++touched) {
    touch(block + (touched - 1) * kPageSize);
    const uint64_t now = stats().pgfault_zero;
    most = std::max(most, now - before);
    before = now;
    ASSERT_LT(now - start, 2 * touched);
  }
  EXPECT_EQ(most, kPageblockPages / 2);
  EXPECT_EQ(before - start, 2 * kPageblockPages) << "what lies behind is another pageblock's";
  expect_whole();
}

// What makes room for pages that nobody has touched is the others' memory.
TEST_F(ZeroFill, GrowsNoFurtherThanAClusterWithoutRoom) {
  Zone& zone = a_.zone();
  const Pages managed = zone.managed();
  // Enough for what is touched, above low, so that nothing has to leave.
  zone.set_managed(zone.used() + zone.watermarks().high + Pages(2 * kClusterPages));
  uint64_t before = stats().pgfault_zero;
  for (size_t i = 0; i < 3 * kClusterPages; ++i) {
    touch(run_ + i * kPageSize);
    const uint64_t now = stats().pgfault_zero;
    EXPECT_LE(now - before, kClusterPages);
    before = now;
  }
  zone.set_managed(managed);
  settle(a_);
  expect_whole();
}

TEST_F(ZeroFill, DoesNotGrowAtRandom) {
  const uint64_t before = stats().pgfault_zero;
  for (const size_t i : {100u, 37u, 2000u, 1500u, 36u, 800u, 1700u, 102u}) touch(run_ + i * kPageSize);
  EXPECT_EQ(stats().pgfault_zero - before, 8u);
  EXPECT_EQ(os::vm_resident(run_, kRun / 2), Pages(8));
  expect_whole();
}

TEST_F(ZeroFill, AWriteByASystemCallIsAFaultToo) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], "word", 4), 4);
  EXPECT_EQ(read(ends[0], run_ + 500 * kPageSize, 4), 4);
  EXPECT_EQ(memcmp(run_ + 500 * kPageSize, "word", 5), 0) << "zeros behind it";
  close(ends[0]);
  close(ends[1]);
  expect_whole();
}

// -- standby ---------------------------------------------------------------------------------------------------------

class Standby : public HandleFault {
 protected:
  void configure(Options& options) override { options.standby_percent = 50; }
};

TEST_F(Standby, ATouchBringsThePageBackActive) {
  // Half of this limit may be in Standby, so that nothing has to be written yet.
  ASSERT_TRUE(squeeze(a_, Pages(kDataPages + 64), [&] { return a_.node().standby().v >= kDataPages / 4; }));
  std::vector<size_t> standby;
  for (size_t i = 0; i < kDataPages; ++i)
    if (is_standby(i)) standby.push_back(i);
  ASSERT_GE(standby.size(), 2u);
  const size_t one = standby[standby.size() / 2];
  EXPECT_TRUE(is_counted(one)) << "still in memory";
  EXPECT_EQ(os::vm_resident(page(one), kPageSize), Pages(0));
  expect_whole();
  const ReclaimStats before = stats();
  const Pages total = a_.zone().total();
  EXPECT_TRUE(is_intact(one));
  const ReclaimStats after = stats();
  EXPECT_EQ(after.pgfault - before.pgfault, 1u);
  EXPECT_EQ(after.pgfault_standby - before.pgfault_standby, 1u);
  EXPECT_EQ(after.pgactivate - before.pgactivate, 1u);
  EXPECT_EQ(after.pgmajfault, before.pgmajfault) << "nothing was read";
  EXPECT_EQ(after.standby + Pages(1), before.standby) << "the others stay";
  EXPECT_FALSE(is_standby(one));
  EXPECT_NE(cluster(one).active.load() & page_bit(pfn(one)), 0u);
  EXPECT_EQ(a_.zone().total(), total + Pages(1)) << "its old place is memory until it is given back";
  expect_whole();
  for (size_t i = 0; i < kDataPages; ++i) ASSERT_TRUE(is_intact(i)) << i;
  expect_whole();
}

// The program allowed the kernel to drop pages (MADV_FREE), weir took them to Standby, and there the kernel drops them.
// Nobody waits for them, neither who touches one nor kswapd, which reads them.
TEST_F(Standby, WhatTheProgramGaveUpMayBeDroppedThere) {
  if (os::vm_system_swaps()) GTEST_SKIP() << "the kernel swaps by itself";
  list_all_pages();
  for (char* block : p_) ASSERT_EQ(madvise(block, kData / 4, MADV_FREE), 0);
  ASSERT_TRUE(squeeze(a_, Pages(kDataPages + 64), [&] { return a_.node().standby().v >= kDataPages / 4; }));
  size_t standby = 0, dropped = 0;
  for (size_t i = 0; i < kDataPages; ++i) {
    if (!is_standby(i)) continue;
    ++standby;
    char* const at = a_.node().staging_address(pfn(i));
    os::vm_page_out(at, kPageSize);
    dropped += os::vm_resident(at, kPageSize) == Pages(0);
  }
  if (dropped == 0) GTEST_SKIP() << "where the kernel makes pages dirty when it moves them";
  EXPECT_GE(standby, kDataPages / 4);
  const auto intact_or_zero = [&](size_t i) { return is_zero(page(i), kPageSize) || is_intact(i); };
  for (size_t i = 0; i < kDataPages / 2; ++i) EXPECT_TRUE(intact_or_zero(i)) << i;
  ASSERT_TRUE(swap_all());
  for (size_t i = 0; i < kDataPages; ++i) EXPECT_TRUE(intact_or_zero(i)) << i;
  expect_whole();
}

// The process forks while a handler is filling a page from Standby: the program has the page already and has written to
// it, the page's state is still the old one. The memory that it was filled from must be known to be of no use: else it
// would be taken for the page's content when the page leaves again.
TEST_F(Standby, AChildForkedWhileAPageComesBackKnowsTheCopyIsOld) {
  ASSERT_TRUE(squeeze(a_, Pages(kDataPages + 64), [&] { return a_.node().standby().v >= kDataPages / 4; }));
  size_t one = 0;
  while (!is_standby(one)) ++one;
  const uint64_t bit = page_bit(pfn(one));
  EXPECT_TRUE(is_intact(one));
  const StandStill still(a_.reclaimer());
  const Pages total = a_.zone().total();
  ASSERT_EQ(cluster(one).garbage.fetch_and(~bit) & bit, bit);
  cluster(one).standby.fetch_or(bit);
  cluster(one).busy.fetch_or(bit);
  ASSERT_TRUE(a_.node().after_fork_in_child(NodeReclaim::Fork::kNothingAway));
  EXPECT_EQ(cluster(one).busy.load(), 0u);
  EXPECT_FALSE(is_standby(one));
  EXPECT_EQ(cluster(one).garbage.load() & bit, bit);
  EXPECT_EQ(a_.zone().total(), total);
}

// -- compressed memory -----------------------------------------------------------------------------------------------

class Zswap : public HandleFault {};

TEST_F(Zswap, ATouchBringsThePageBack) {
  ASSERT_TRUE(swap_all());
  const size_t one = cluster_start(100) + 20;
  ASSERT_EQ(entry(one).kind(), SwapEntry::Kind::kZswap);
  EXPECT_FALSE(is_counted(one));
  const ReclaimStats before = stats();
  EXPECT_TRUE(is_intact(one));
  // Before anybody holds still, because what a fault leaves behind then waits for the next one.
  EXPECT_TRUE(wait_until([&] { return a_.reclaimer().stats().zswap_stored + Pages(1) == before.zswap_stored; }))
      << "its copy is gone";
  const ReclaimStats after = stats();
  EXPECT_EQ(after.pgfault - before.pgfault, 1u);
  EXPECT_EQ(after.pgmajfault - before.pgmajfault, 1u);
  EXPECT_EQ(after.zswpin - before.zswpin, 1u);
  EXPECT_EQ(after.swap_ra, before.swap_ra);
  EXPECT_TRUE(is_counted(one));
  EXPECT_FALSE(is_swapped(one));
  EXPECT_FALSE(entry(one));
  EXPECT_TRUE(is_swapped(one - 1) && is_swapped(one + 1));
  expect_whole();
}

// A page that comes back soon stays for a round, for four when it did so the time before, and for eight from the third
// time on. What comes back late starts anew.
TEST_F(Zswap, PagesThatComeBackSoonAgainStayLonger) {
  unsigned rounds[kDataPages] = {}, longer = 0, late = 0;
  for (int time = 0; time < 4; ++time) {
    ASSERT_TRUE(swap_all());
    for (size_t i = 0; i < kDataPages; ++i) {
      // So few that the next time they are all among the last that left.
      if (pfn(i) % kClusterPages != 0) continue;
      EXPECT_TRUE(is_intact(i));
      EXPECT_TRUE(wait_until([&] { return (cluster(i).busy.load() & page_bit(pfn(i))) == 0; }));
      const unsigned now = a_.node().rounds_left(pfn(i));
      const unsigned next = rounds[i] == 0               ? Rounds::kOnce
                            : rounds[i] == Rounds::kOnce ? Rounds::kTwice
                                                         : Rounds::kMost;
      EXPECT_TRUE(now == 0 || now == next) << now << " after " << rounds[i];
      rounds[i] = now;
      longer += now == Rounds::kMost;
      late += now == 0;
    }
  }
  EXPECT_GT(longer, 0u);
  EXPECT_GT(late, 0u);
}

sigjmp_buf g_away;

// A fault that a handler has read already when its thread goes on without it, and that it looks at when the page has
// been freed. (Here the thread leaves by a signal; else somebody else brings the page back.)
TEST_F(Zswap, AnOldFaultOnAFreedPageGivesItNoMemory) {
  if (kTsan) GTEST_SKIP() << "the thread sanitizer holds signals back";
  ASSERT_TRUE(swap_all());
  const size_t one = cluster_start(0) + 20;
  char* const freed = page(one);
  Cluster& c = cluster(one);
  const uint64_t before = stats().pgfault;
  {
    const StandStill still(a_.reclaimer());
    signal(SIGUSR1, [](int) { siglongjmp(g_away, 1); });
    std::thread thread([&] {
      if (sigsetjmp(g_away, 1) == 0) touch(freed);
    });
    usleep(20000);  // until the handler has it; if it takes longer, nothing is shown
    pthread_kill(thread.native_handle(), SIGUSR1);
    thread.join();
    signal(SIGUSR1, SIG_DFL);
    ASSERT_EQ(a_->free(nullptr, p_[0]).misuse, Misuse::kNone);
    ASSERT_EQ(c.allocated.load() & page_bit(pfn(one)), 0u);
  }
  for (int tries = 0; tries < 100 && a_.reclaimer().stats().pgfault == before; ++tries) usleep(1000);
  expect_whole();
  EXPECT_EQ(os::vm_resident(freed, kPageSize), Pages(0));
  // A program that does touch what it has freed is not held up, though it is wrong.
  EXPECT_TRUE(is_zero(freed, kPageSize));
  EXPECT_EQ(os::vm_resident(freed, kPageSize), Pages(1));
}

// calloc clears what has content, and a new run's old data may have left memory before that.
TEST_F(Zswap, WhatIsAwayIsContentToo) {
  ASSERT_TRUE(swap_all());
  const Pfn first = pfn(0), end = first + static_cast<Pfn>(kBlockPages);
  touch(page(3));
  EXPECT_FALSE(is_counted(2));
  const Zone::Stretch all = a_.zone().find_content(first, end);
  EXPECT_TRUE(all.first == first && all.end == end);
  ASSERT_EQ(a_.reclaimer().give_up(page(70), page(75), MADV_DONTNEED), 0);
  const Zone::Stretch before = a_.zone().find_content(first + 1, end);
  EXPECT_TRUE(before.first == first + 1 && before.end == first + 70);
  const Zone::Stretch behind = a_.zone().find_content(first + 71, end);
  EXPECT_TRUE(behind.first == first + 75 && behind.end == end);
  const Zone::Stretch none = a_.zone().find_content(first + 71, first + 74);
  EXPECT_TRUE(none.first == first + 74 && none.end == first + 74);
}

TEST_F(Zswap, ReadaheadGrowsInSequence) {
  ASSERT_TRUE(swap_all());
  const ReclaimStats before = stats();
  EXPECT_EQ(walk_cluster(a_, page(cluster_start(0)), &ReclaimStats::zswpin), kDoubling);
  const ReclaimStats after = stats();
  EXPECT_EQ(after.pgfault - before.pgfault, kDoubling.size());
  EXPECT_EQ(after.swap_ra - before.swap_ra, kClusterPages - kDoubling.size());
  EXPECT_EQ(after.swap_ra_hit - before.swap_ra_hit, after.swap_ra - before.swap_ra) << "all of it was right";
  expect_whole();
}

TEST_F(Zswap, NoReadaheadAtRandom) {
  ASSERT_TRUE(swap_all());
  const ReclaimStats before = stats();
  for (const size_t i : {500u, 20u, 300u, 900u, 18u, 620u, 440u, 16u}) EXPECT_TRUE(is_intact(i));
  const ReclaimStats after = stats();
  EXPECT_EQ(after.zswpin - before.zswpin, 8u);
  EXPECT_EQ(after.swap_ra, before.swap_ra);
  expect_whole();
}

class LittleReadahead : public HandleFault {
 protected:
  void configure(Options& options) override { options.page_cluster = 1; }
};

// At most 2^page_cluster, and eight times that once a stream is steady.
TEST_F(LittleReadahead, ThePageClusterBoundsIt) {
  ASSERT_TRUE(swap_all());
  EXPECT_EQ(walk_cluster(a_, page(cluster_start(0)), &ReclaimStats::zswpin),
            (std::vector<uint64_t>{1, 2, 4, 8, 16, 16, 16, 1}));
}

class NoReadahead : public HandleFault {
 protected:
  void configure(Options& options) override { options.page_cluster = 0; }
};

TEST_F(NoReadahead, EveryPageIsAFaultInSequenceToo) {
  ASSERT_TRUE(swap_all());
  const ReclaimStats before = stats();
  EXPECT_EQ(walk_cluster(a_, page(cluster_start(0)), &ReclaimStats::zswpin), std::vector<uint64_t>(kClusterPages, 1));
  EXPECT_EQ(stats().swap_ra, before.swap_ra);
}

// What was never swapped cannot have been read ahead.
TEST_F(Zswap, FirstTouchesInSequenceAreNoHits) {
  ASSERT_TRUE(swap_all());
  const ReclaimStats before = stats();
  char* fresh = static_cast<char*>(a_->malloc(nullptr, size_t{8} << 20));
  ASSERT_NE(fresh, nullptr);
  for (size_t at = 0; at < size_t{2} << 20; at += kPageSize) fresh[at] = 1;
  const ReclaimStats after = stats();
  EXPECT_GT(after.pgfault_zero, before.pgfault_zero);
  EXPECT_EQ(after.swap_ra_hit, before.swap_ra_hit);
}

// -- the swap file ---------------------------------------------------------------------------------------------------

class File : public HandleFault {
 protected:
  void configure(Options& options) override {
    options.zswap = false;
    file_ = folder_.sparse("swap", off_t{64} << 20);
    ASSERT_TRUE(options.swap.assign(file_));
  }
  void SetUp() override {
    HandleFault::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_TRUE(swap_all());
  }
  // As a disk does that forgets.
  void damage(size_t i) {
    const int fd = open(file_.c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    const std::string garbage(kPageSize, 'x');
    // The file's first page says whose it is.
    const auto at = static_cast<off_t>((1 + entry(i).slot()) * kPageSize);
    EXPECT_EQ(pwrite(fd, garbage.data(), kPageSize, at), static_cast<ssize_t>(kPageSize));
    EXPECT_EQ(fsync(fd), 0);
    close(fd);
  }
  // Touches the pages of a cluster from its first one on, of which `bad` is lost, and only when it is touched.
  void walk_over_damage(size_t first, size_t bad) {
    damage(bad);
    testing::internal::CaptureStderr();
    for (size_t i = first; i < bad; ++i) ASSERT_TRUE(is_intact(i)) << i;
    EXPECT_EQ(stats().swap_read_error, 0u) << "nobody touched it";
    EXPECT_TRUE(touch_fails(page(bad)));
    for (size_t i = bad + 1; i < first + kClusterPages; ++i) ASSERT_TRUE(is_intact(i)) << i;
    EXPECT_EQ(stats().swap_read_error, 1u);
    static_cast<void>(testing::internal::GetCapturedStderr());
    EXPECT_STREQ(a_.allocator().verify(), nullptr);
  }
  SwapFolder folder_;
  std::string file_;
};

TEST_F(File, AReadKeepsTheCopyAndAWriteDropsIt) {
  if (!a_.node().may_keep(entry(cluster_start(300)))) GTEST_SKIP() << "copies are not kept";
  const size_t one = cluster_start(300) + 30;
  const ReclaimStats before = stats();
  const uint64_t slot = entry(one).slot();
  EXPECT_TRUE(is_intact(one));
  // First what waits for the handler, which still holds the page after the thread goes on.
  EXPECT_EQ(entry(one).slot(), slot) << "it need not be written again";
  EXPECT_FALSE(is_swapped(one));
  EXPECT_EQ(stats().swap_used, before.swap_used);
  volatile char* const byte = page(one);
  *byte = *byte;
  EXPECT_TRUE(wait_until([&] { return a_.reclaimer().stats().swap_used + Pages(1) == before.swap_used; }))
      << "its slot is free";
  EXPECT_FALSE(static_cast<bool>(entry(one)));
  EXPECT_TRUE(is_intact(one));
  expect_whole();
}

TEST_F(File, ATouchReadsThePage) {
  const size_t one = cluster_start(300) + 30;
  ASSERT_EQ(entry(one).kind(), SwapEntry::Kind::kFile);
  const ReclaimStats before = stats();
  EXPECT_GE(before.swap_used, Pages(kDataPages));
  EXPECT_TRUE(is_intact(one));
  const ReclaimStats after = stats();
  EXPECT_EQ(after.pgfault - before.pgfault, 1u);
  EXPECT_EQ(after.pgmajfault - before.pgmajfault, 1u);
  EXPECT_EQ(after.pswpin - before.pswpin, 1u);
  EXPECT_FALSE(is_swapped(one));
  EXPECT_TRUE(is_swapped(one - 1) && is_swapped(one + 1));
  expect_whole();
  for (size_t i = 0; i < kDataPages; ++i) ASSERT_TRUE(is_intact(i)) << i;
  EXPECT_EQ(stats().pswpin - before.pswpin, kDataPages) << "each once";
  expect_whole();
}

TEST_F(File, ReadaheadGrowsInSequence) {
  // Pages that were written together lie side by side.
  size_t first = cluster_start(0);
  const auto in_one_piece = [&](size_t at) {
    for (unsigned i = 1; i < kClusterPages; ++i)
      if (entry(at + i).slot() != entry(at).slot() + i) return false;
    return true;
  };
  while (!in_one_piece(first)) first = cluster_start(first + 1);
  const ReclaimStats before = stats();
  EXPECT_EQ(walk_cluster(a_, page(first), &ReclaimStats::pswpin), kDoubling);
  EXPECT_EQ(stats().pgfault - before.pgfault, kDoubling.size());
  expect_whole();
}

TEST_F(File, NoReadaheadAtRandom) {
  const ReclaimStats before = stats();
  for (const size_t i : {500u, 20u, 300u, 900u, 18u, 620u, 440u, 16u}) EXPECT_TRUE(is_intact(i));
  EXPECT_EQ(stats().pswpin - before.pswpin, 8u);
  EXPECT_EQ(stats().swap_ra, before.swap_ra);
  expect_whole();
}

// Handlers that were told to stand still finish the reads that are under way: nobody else can.
TEST_F(File, StandsStillWhileOthersRead) {
  constexpr unsigned kThreads = 4, kStops = 50;
  Reclaimer& reclaimer = a_.reclaimer();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      Random random{t + 1};
      reclaimer.add_thread();
      while (!stop.load()) touch(page(random.below(kDataPages)));
      reclaimer.remove_thread();
    });
  const Pages before = a_.zone().managed();
  a_.zone().set_managed(Pages(kDataPages / 2));
  const uint64_t pswpin = reclaimer.stats().pswpin;
  for (unsigned i = 0; i < kStops; ++i) {
    usleep(2000);
    reclaimer.stop_evictions();
    while (!reclaimer.stop_faults()) {
    }
    reclaimer.go_on();
  }
  EXPECT_GT(reclaimer.stats().pswpin, pswpin);
  a_.zone().set_managed(before);
  stop.store(true);
  for (std::thread& each : threads) each.join();
  for (size_t i = 0; i < kDataPages; ++i) ASSERT_TRUE(is_intact(i)) << i;
  expect_whole();
}

// A cluster of which every third page was written later than the others.
class ScatteredFile : public File {
 protected:
  void SetUp() override {
    File::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (!a_.node().may_keep(entry(0))) GTEST_SKIP() << "copies are not kept";
    if (os::SwapRing ring; !ring.open(1)) GTEST_SKIP() << "no io_uring: what lies apart is not read ahead";
    first_ = cluster_start(0);
    for (size_t i = first_; i < first_ + kClusterPages; ++i) {
      volatile char* const byte = page(i);
      if (i % 3 == 0) *byte = *byte;
      EXPECT_TRUE(is_intact(i));
    }
    ASSERT_TRUE(swap_all());
    unsigned extents = 1;
    for (size_t i = first_ + 1; i < first_ + kClusterPages; ++i) extents += entry(i).slot() != entry(i - 1).slot() + 1;
    ASSERT_GT(extents, kClusterPages / 2);
  }
  size_t first_ = 0;
};

TEST_F(ScatteredFile, ReadaheadGrowsInSequence) {
  const ReclaimStats before = stats();
  EXPECT_EQ(walk_cluster(a_, page(first_), &ReclaimStats::pswpin), kDoubling);
  const ReclaimStats after = stats();
  EXPECT_EQ(after.pgmajfault - before.pgmajfault, kDoubling.size()) << "what came ahead was not asked for";
  EXPECT_EQ(after.swap_ra_hit - before.swap_ra_hit, kClusterPages - kDoubling.size());
  for (size_t i = first_; i < first_ + kClusterPages; ++i) EXPECT_TRUE(is_intact(i)) << i;
  expect_whole();
}

// Several threads at once, so that all buffers are in use, and pages are touched that others have under way.
TEST_F(ScatteredFile, EveryPageComesBackToThreadsThatReadInSequence) {
  constexpr unsigned kThreads = 12;
  for (int round = 0; round < 5; ++round) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        for (size_t i = 0; i < kDataPages; ++i) {
          const size_t mine = (i + t * (kDataPages / 8)) % kDataPages;
          EXPECT_TRUE(is_intact(mine)) << mine;
        }
      });
    for (std::thread& each : threads) each.join();
    expect_whole();
    EXPECT_EQ(a_.reclaimer().pressure().nr_stalled(), 0u);
    for (size_t i = static_cast<size_t>(round); i < kDataPages; i += 3) {
      volatile char* const byte = page(i);
      *byte = *byte;
    }
    ASSERT_TRUE(swap_all());
  }
}

// Random touches in between, as many as there are streams and more, do not end one that was gone on with.
TEST_F(ScatteredFile, AStreamOutlastsTouchesAtRandom) {
  const size_t elsewhere = cluster_start(kBlockPages);
  const ReclaimStats before = stats();
  for (unsigned i = 0; i < kClusterPages; ++i) {
    touch(page(first_ + i));
    touch(page(elsewhere + i * 37 % 256 * 2));
  }
  EXPECT_EQ(stats().swap_ra - before.swap_ra, kClusterPages - kDoubling.size());
}

// -- pages that are lost ---------------------------------------------------------------------------------------------

TEST_F(File, ADamagedPageRaisesSigbusAndNoOtherDoes) {
  const size_t bad = cluster_start(500) + 25;
  damage(bad);
  testing::internal::CaptureStderr();
  EXPECT_TRUE(touch_fails(page(bad)));
  EXPECT_TRUE(touch_fails(page(bad) + 100)) << "every time";
  settle(a_);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("could not be read back from swap"), std::string::npos) << said;
  EXPECT_EQ(said.find("weir:"), said.rfind("weir:")) << "once: " << said;
  EXPECT_EQ(stats().swap_read_error, 1u);
  EXPECT_EQ(entry(bad).kind(), SwapEntry::Kind::kPoisoned);
  for (size_t i = 0; i < kDataPages; ++i) ASSERT_TRUE(i == bad || is_intact(i)) << i;
  EXPECT_TRUE(touch_fails(page(bad)));
  EXPECT_EQ(stats().swap_read_error, 1u);
  EXPECT_STREQ(a_.allocator().verify(), nullptr);
  // Given out again, it is as good as any other.
  char* const block = p_[bad / kBlockPages];
  ASSERT_EQ(a_->free(nullptr, block).misuse, Misuse::kNone);
  char* const again = static_cast<char*>(a_->malloc(nullptr, kData / 4));
  ASSERT_EQ(again, block);
  write_content(again, kData / 4, kSeed);
  EXPECT_TRUE(check_content_at(again, 0, kData / 4, kSeed));
}

TEST_F(File, ReadaheadStopsBeforeADamagedPage) {
  const size_t first = cluster_start(0);
  walk_over_damage(first, first + 10);
}

TEST_F(ScatteredFile, ADamagedPageAheadIsLostWhenItIsTouched) {
  const size_t bad = first_ + 12;
  ASSERT_NE(entry(bad).slot(), entry(bad - 1).slot() + 1) << "the first of an extent";
  walk_over_damage(first_, bad);
}

// -- content that the program gives up --------------------------------------------------------------------------------

class GivenUp : public HandleFault {
 protected:
  void configure(Options& options) override { options.standby_percent = 50; }
  long give_up(size_t first, size_t pages, int advice) {
    return a_.reclaimer().give_up(page(first), page(first) + pages * kPageSize, advice);
  }
  void expect_gone(size_t first, size_t pages) {
    for (size_t i = first; i < first + pages; ++i) {
      EXPECT_FALSE(is_swapped(i) || is_standby(i) || is_counted(i)) << i;
      EXPECT_EQ(os::vm_resident(page(i), kPageSize), Pages(0)) << i;
    }
    expect_whole();
    for (size_t i = first; i < first + pages; ++i) EXPECT_TRUE(is_zero(page(i), kPageSize)) << i;
    expect_whole();
  }
};

TEST_F(GivenUp, IsGoneFromCompressedMemory) {
  ASSERT_TRUE(swap_all());
  const uint64_t stored = stats().zswap_stored.v;
  const size_t first = cluster_start(0) + kClusterPages - 5;
  ASSERT_EQ(give_up(first, 10, MADV_DONTNEED), 0);
  EXPECT_EQ(stats().zswap_stored.v + 10, stored) << "of two clusters";
  expect_gone(first, 10);
  EXPECT_TRUE(is_intact(first - 1) && is_intact(first + 10));
}

TEST_F(GivenUp, IsGoneFromStandby) {
  ASSERT_TRUE(squeeze(a_, Pages(kDataPages + 64), [&] { return a_.node().standby().v >= kDataPages / 4; }));
  size_t one = 0;
  while (!is_standby(one)) ++one;
  ASSERT_EQ(give_up(one, 1, MADV_FREE), 0);
  expect_gone(one, 1);
}

TEST_F(GivenUp, IsGoneWhereItIs) {
  const size_t first = cluster_start(0);
  // Touches are not seen yet.
  ASSERT_EQ(give_up(first, 3, MADV_DONTNEED), 0);
  for (size_t i = first; i < first + 3; ++i) {
    EXPECT_TRUE(is_zero(page(i), kPageSize));
    page(i)[0] = 1;
  }
  ASSERT_TRUE(swap_all());
  for (size_t i = first; i < first + 14; ++i) touch(page(i));
  ASSERT_EQ(give_up(first, 7, MADV_DONTNEED), 0);
  expect_gone(first, 7);
  ASSERT_EQ(give_up(first + 7, 7, MADV_FREE), 0);
  expect_gone(first + 7, 7);
}

TEST_F(GivenUp, IsNotWhatTheKernelRefuses) {
  ASSERT_TRUE(swap_all());
  const size_t first = cluster_start(0);
  touch(page(first + 1));
  ASSERT_TRUE(lock_memory(page(first + 1), kPageSize));
  EXPECT_EQ(give_up(first, 2, MADV_DONTNEED), -EINVAL) << "locked";
  EXPECT_TRUE(unlock_memory(page(first + 1), kPageSize));
  EXPECT_TRUE(is_intact(first + 1));
  EXPECT_FALSE(Reclaimer::gives_up(MADV_WILLNEED));
  EXPECT_FALSE(Reclaimer::gives_up(MADV_PAGEOUT));
  expect_whole();
}

// Memory of the program's own on both sides of the arena, and gaps.
TEST_F(GivenUp, ReachesBeyondTheHeap) {
  auto* const other =
      static_cast<char*>(mmap(nullptr, 3 * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(other, MAP_FAILED);
  memset(other, 1, 3 * kPageSize);
  ASSERT_EQ(a_.reclaimer().give_up(other, other + kPageSize, MADV_DONTNEED), 0);
  EXPECT_TRUE(is_zero(other, kPageSize));
  ASSERT_EQ(munmap(other + kPageSize, kPageSize), 0);
  EXPECT_EQ(a_.reclaimer().give_up(other, other + 3 * kPageSize, MADV_DONTNEED), -ENOMEM);
  EXPECT_TRUE(is_zero(other + 2 * kPageSize, kPageSize)) << "behind the gap, too";
  munmap(other, kPageSize);
  munmap(other + 2 * kPageSize, kPageSize);
}

}  // namespace
}  // namespace weir
