// swap_file_fault_test.cc: disks that fail, lie or are full.
#include "swap/swap_file.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "os/proc.h"
#include "support/random.h"
#include "support/swap_file_test_base.h"

namespace weir {
namespace {

using SwapFileFault = SwapFileTest;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr unsigned kRun = SwapFile::kMaxRun;

TEST_F(SwapFileFault, DamageIsSeenPageByPage) {
  for (bool encrypt : {false, true}) {
    ASSERT_EQ(open(encrypt), SwapFile::Open::kOk);
    const Slots run = put(1);
    const PageBuffer page(1), in(kRun);
    raw_read(run.first + 3, page);
    page.data()[4095] ^= 1;
    raw_write(run.first + 3, page);
    raw_read(run.first + 10, page);
    raw_write(run.first + 63, page);  // a write that went to the wrong place
    uint64_t bad = 0;
    EXPECT_EQ(file_.read(run.first, kRun, in.data(), bad), IoResult::kCorrupt);
    EXPECT_EQ(bad, uint64_t{1} << 3 | uint64_t{1} << 63);
    for (unsigned i = 0; i < kRun; ++i) EXPECT_EQ(in.page_is(i, 1 + i), (bad >> i & 1) == 0) << i;
    EXPECT_EQ(file_.stats().corrupt_pages, 2u);
    expect_content({run.first + 4, 59}, 5);
    file_.close();
  }
}

TEST_F(SwapFileFault, OldContentIsDamageToo) {
  ASSERT_EQ(open(), SwapFile::Open::kOk);
  Slots slots = put(1, 1);
  const PageBuffer old(1), out(1), in(1);
  raw_read(slots.first, old);
  out.fill(2);
  ASSERT_EQ(file_.write(slots, out.data()), IoResult::kOk);
  raw_write(slots.first, old);  // as when a disk loses a write
  uint64_t bad = 0;
  EXPECT_EQ(file_.read(slots.first, 1, in.data(), bad), IoResult::kCorrupt);
  EXPECT_EQ(bad, 1u);
}

TEST_F(SwapFileFault, DamagedReadsByPlan) {
  ASSERT_EQ(open(false, "read:corrupt:after=1:times=1"), SwapFile::Open::kOk);
  const Slots run = put(7);
  const PageBuffer in(kRun);
  uint64_t bad = 0;
  EXPECT_EQ(file_.read(run.first, kRun, in.data(), bad), IoResult::kCorrupt);
  EXPECT_EQ(__builtin_popcountll(bad), 1);
  expect_content(run, 7);
}

TEST_F(SwapFileFault, UnreadablePagesAreFoundOneByOne) {
  // The run fails; then every fifth of the single pages does.
  ASSERT_EQ(open(false, "read:EIO:after=1:times=1,read:EIO:after=2:every=5"), SwapFile::Open::kOk);
  const Slots run = put(7);
  const PageBuffer in(kRun);
  uint64_t bad = 0;
  EXPECT_EQ(file_.read(run.first, kRun, in.data(), bad), IoResult::kIoError);
  uint64_t wanted = 0;
  for (unsigned i = 4; i < kRun; i += 5) wanted |= uint64_t{1} << i;
  EXPECT_EQ(bad, wanted);
  for (unsigned i = 0; i < kRun; ++i) EXPECT_TRUE((bad >> i & 1) != 0 || in.page_is(i, 7 + i)) << i;
  EXPECT_EQ(file_.stats().read_errors, static_cast<uint64_t>(__builtin_popcountll(wanted)));
}

TEST_F(SwapFileFault, ShortTransfersGoOn) {
  ASSERT_EQ(open(true, "write:short:every=2,read:short:every=2"), SwapFile::Open::kOk);
  for (uint64_t i = 0; i < 10; ++i) {
    const Slots run = put(i * 1000);
    expect_content(run, i * 1000);
  }
  EXPECT_GT(faults_.injected(), 10u);
}

TEST_F(SwapFileFault, OneFailedWriteIsTriedAgain) {
  for (bool encrypt : {false, true}) {
    ASSERT_EQ(open(encrypt, "write:EIO:after=1:times=1"), SwapFile::Open::kOk);
    expect_content(put(1), 1);
    EXPECT_EQ(file_.stats().slots.retired, 0u);
    file_.close();
  }
}

TEST_F(SwapFileFault, ASlotThatFailsTwiceIsRetired) {
  // The probe is the first write. The run stops after a half and fails, and so does its next page alone.
  ASSERT_EQ(open(false, "write:short:after=1:times=1,write:EIO:after=2:times=2"), SwapFile::Open::kOk);
  const Slots half = put(5, 64, IoResult::kIoError);
  EXPECT_EQ(half.count, 32u);
  expect_content(half, 5);
  SwapFileStats stats = file_.stats();
  EXPECT_EQ(stats.slots.retired, 1u);
  EXPECT_EQ(stats.slots.used, 32u);
  EXPECT_EQ(stats.write_errors, 1u);
  uint64_t total = 0;
  for (Slots run; (run = file_.alloc(64)).count != 0; total += run.count)
    EXPECT_TRUE(half.first + 32 < run.first || half.first + 32 >= run.first + run.count) << "it was handed out again";
  EXPECT_EQ(total, 16 * kMiB / kPageSize - 33);
}

TEST_F(SwapFileFault, ADeadDiskIsLeftAloneForAWhile) {
  ASSERT_EQ(open(false, "write:EIO:after=1:times=16"), SwapFile::Open::kOk);
  const PageBuffer out(kRun);
  const uint64_t start = os::now_ms();
  Slots slots;
  for (int i = 0; i < 8; ++i) {
    slots = file_.alloc(kRun);
    ASSERT_EQ(slots.count, kRun);
    EXPECT_EQ(file_.write(slots, out.data()), IoResult::kIoError);
    EXPECT_EQ(slots.count, 0u);
  }
  EXPECT_EQ(file_.stats().slots.retired, 8u);
  slots = file_.alloc(kRun);
  EXPECT_TRUE(slots.count == 0 || os::now_ms() >= start + 1000) << "at once";
  file_.free(slots.first, slots.count);
  while ((slots = file_.alloc(kRun)).count == 0 && os::now_ms() < start + 20000) os::sleep_ms(50);
  ASSERT_EQ(slots.count, kRun) << "tried again after a while";
  EXPECT_EQ(file_.write(slots, out.data()), IoResult::kOk);
}

TEST_F(SwapFileFault, ErrorsThatAreNotTheSlotsFaultRetireNothing) {
  for (const char* plan :
       {"write:EBADF:after=1:times=1", "write:ENOMEM:after=1:times=1", "write:EROFS:after=1:times=1"}) {
    ASSERT_EQ(open(false, plan), SwapFile::Open::kOk);
    put(1, 64, IoResult::kIoError);
    EXPECT_EQ(file_.stats().slots.retired, 0u) << plan;
    EXPECT_EQ(file_.stats().slots.used, 0u) << plan;
    expect_content(put(2), 2);
    file_.close();
  }
}

TEST_F(SwapFileFault, FullByPlan) {
  ASSERT_EQ(open(false, "write:ENOSPC:after=3:times=1"), SwapFile::Open::kOk);
  const Slots a = put(1), b = put(100);
  EXPECT_EQ(put(7, 64, IoResult::kNoSpace).count, 0u);
  EXPECT_EQ(file_.stats().slots.starved, 64u);
  EXPECT_EQ(file_.stats().no_space, 1u);
  // Until, after a while, the others are tried again.
  EXPECT_TRUE(file_.alloc(1).count == 0 || file_.stats().slots.starved == 0);
  expect_content(a, 1);
  // What has space keeps working.
  file_.free(a.first, a.count);
  expect_content(put(300), 300);
  expect_content(b, 100);
}

// Fills a small disk, goes on with what has space, and gets more when there is more.
TEST_F(SwapFileFault, FullDiskInTheMiddle) {
  const SwapFolder disk;
  if (!disk.mount("none", "tmpfs", "size=1m")) GTEST_SKIP() << "cannot mount a tmpfs";
  const std::string ballast = disk.write("ballast", std::string(256 << 10, 'x'));
  ASSERT_EQ(open(true, "", 64 * kMiB, disk.path()), SwapFile::Open::kOk);
  const PageBuffer out(16);
  std::vector<std::pair<Slots, uint64_t>> live;
  Random random(1);
  unsigned full = 0;
  for (uint64_t seed = 1000; seed < 200000; seed += 100) {
    out.fill(seed);
    Slots slots = file_.alloc(16);
    if (slots.count != 0) {
      const IoResult result = file_.write(slots, out.data());
      ASSERT_TRUE(result == IoResult::kOk || result == IoResult::kNoSpace);
      full += result == IoResult::kNoSpace;
      if (slots.count != 0) live.push_back({slots, seed});
    }
    if (live.size() < 5 || (slots.count != 0 && random.below(3) != 0)) continue;
    const size_t at = random.below(live.size());
    expect_content(live[at].first, live[at].second);
    file_.free(live[at].first.first, live[at].first.count);
    live[at] = live.back();
    live.pop_back();
  }
  EXPECT_GT(full, 0u);
  EXPECT_LT(full, 100u) << "it kept trying slots that have no space";
  EXPECT_GT(file_.stats().pages_written, 10000u);
  for (const auto& [slots, seed] : live) expect_content(slots, seed);
  for (const auto& [slots, seed] : live) file_.free(slots.first, slots.count);
  EXPECT_EQ(file_.verify(), nullptr);
  ASSERT_TRUE(std::filesystem::remove(ballast));
  // Slots that found no space are tried again after a while.
  const uint64_t start = os::now_ms();
  while (file_.stats().slots.starved != 0 && os::now_ms() < start + 20000) {
    const Slots slots = file_.alloc(1);
    if (slots.count != 0) file_.free(slots.first, 1);
    os::sleep_ms(20);
  }
  EXPECT_EQ(file_.stats().slots.starved, 0u);
}

}  // namespace
}  // namespace weir
