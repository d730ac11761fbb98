// swap_file_test.cc: slots that are written and read, encrypted, inherited by children; space that is given back.
#include "swap/swap_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "support/sanitizer.h"
#include "support/swap_file_test_base.h"

namespace weir {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr unsigned kRun = SwapFile::kMaxRun;

TEST_F(SwapFileTest, RunsComeBackWholeAndInParts) {
  for (bool encrypt : {false, true}) {
    ASSERT_EQ(open(encrypt), SwapFile::Open::kOk);
    EXPECT_EQ(file_.capacity(), 16 * kMiB / kPageSize);
    const Slots a = put(100), b = put(200, 5), c = put(300, 1);
    expect_content(a, 100);
    expect_content(b, 200);
    expect_content(c, 300);
    expect_content({a.first + 10, 20}, 110);
    file_.free(a.first, a.count);
    const SwapFileStats stats = file_.stats();
    EXPECT_EQ(stats.slots.used, 6u);
    EXPECT_EQ(stats.pages_written, 70u);
    EXPECT_EQ(stats.pages_read, 90u);
    EXPECT_EQ(stats.encrypted, encrypt);
    file_.close();
  }
}

TEST_F(SwapFileTest, EncryptedPagesShowNothingAndNeverTheSameTwice) {
  ASSERT_EQ(open(true), SwapFile::Open::kOk);
  const PageBuffer same(2), raw(1), before(1);
  memset(same.data(), 0, same.bytes());
  Slots slots = file_.alloc(2);
  const uint64_t slot = slots.first;
  std::set<std::string> seen;
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(file_.write(slots, same.data()), IoResult::kOk);
    for (unsigned k = 0; k < 2; ++k) {
      raw_read(slot + k, raw);
      // 64 bytes of key stream each: none may ever come again.
      for (size_t at = 0; at < kPageSize; at += 64) EXPECT_TRUE(seen.emplace(raw.data() + at, 64).second);
    }
  }
  const PageBuffer in(2);
  uint64_t bad = 0;
  ASSERT_EQ(file_.read(slot, 2, in.data(), bad), IoResult::kOk);
  EXPECT_TRUE(is_zero(in.data(), in.bytes()));
  file_.close();
  ASSERT_EQ(open(true), SwapFile::Open::kOk);
  slots = file_.alloc(2);
  ASSERT_EQ(slots.first, slot);
  ASSERT_EQ(file_.write(slots, same.data()), IoResult::kOk);
  raw_read(slot, raw);
  EXPECT_TRUE(seen.emplace(raw.data(), 64).second) << "each file has a key of its own";
}

TEST_F(SwapFileTest, SmallFilesOnDevicesAndNamedFiles) {
  const std::string path = folder_.write("swap", "");
  ASSERT_EQ(open(false, "", 2 * kMiB, path), SwapFile::Open::kOk);
  const Slots run = put(5);
  expect_content(run, 5);
  file_.close();
  EXPECT_EQ(std::filesystem::file_size(path), 0u);
  const auto device = LoopDevice::make(folder_.sparse("image", 2 * kMiB));
  if (device == nullptr) GTEST_SKIP() << "no loop device";
  ASSERT_EQ(open(true, "", 0, device->path()), SwapFile::Open::kOk);
  EXPECT_EQ(file_.kind(), os::SwapIo::Kind::kDevice);
  EXPECT_EQ(file_.capacity(), 2 * kMiB / kPageSize - 1);
  std::vector<std::pair<Slots, uint64_t>> live;
  for (uint64_t seed = 0; live.size() < 7; seed += 100) live.push_back({put(seed), seed});
  const Slots last = file_.alloc(64);
  EXPECT_EQ(last.count, 63u);
  EXPECT_EQ(file_.alloc(1).count, 0u);
  for (const auto& [slots, seed] : live) expect_content(slots, seed);
}

TEST_F(SwapFileTest, ReportsWhyItCannotOpen) {
  EXPECT_EQ(open(false, "", kMiB, "/dev/null"), SwapFile::Open::kNotSupported);
  EXPECT_EQ(open(false, "write:ENOSPC", kMiB), SwapFile::Open::kNoRoom);
  EXPECT_FALSE(file_.is_open());
  EXPECT_EQ(file_.alloc(1).count, 0u);
  ASSERT_EQ(open(), SwapFile::Open::kOk) << "and can be opened afterwards";
}

TEST_F(SwapFileTest, ALargeLimitCostsNothing) {
  const auto resident = [] {
    std::ifstream statm("/proc/self/statm");
    uint64_t total = 0, pages = 0;
    statm >> total >> pages;
    return pages * kPageSize;
  };
  const uint64_t before = resident();
  ASSERT_EQ(open(true, "", uint64_t{64} << 30), SwapFile::Open::kOk);
  EXPECT_EQ(file_.capacity(), uint64_t{64} << 18);
  const Slots run = put(1);
  expect_content(run, 1);
  // The buffers of the test, a bounce buffer, and some pages of each table.
  EXPECT_TRUE(kAsan || kTsan || resident() - before < 2 * kMiB) << resident() - before;
}

TEST_F(SwapFileTest, LittleAddressSpaceMakesASmallerFile) {
  if (kAsan || kTsan) GTEST_SKIP() << "sanitizers need address space";
  EXPECT_EQ(in_child([&] {
              const struct rlimit limit = {512 * kMiB, 512 * kMiB};
              setrlimit(RLIMIT_AS, &limit);
              if (open(true, "", uint64_t{1} << 40) != SwapFile::Open::kOk) return 1;
              if (file_.capacity() < kMiB || file_.capacity() >= uint64_t{1} << 28) return 2;
              expect_content(put(1), 1);
              return HasFailure() ? 3 : 0;
            }),
            0);
}

TEST_F(SwapFileTest, AnotherDescriptorNumber) {
  ASSERT_EQ(open(), SwapFile::Open::kOk);
  const Slots run = put(1);
  const int number = fcntl(file_.fd(), F_DUPFD_CLOEXEC, 100);
  ASSERT_GE(number, 100);
  close(file_.fd());
  const PageBuffer in(kRun);
  uint64_t bad = 0;
  EXPECT_EQ(file_.read(run.first, kRun, in.data(), bad), IoResult::kIoError);
  EXPECT_EQ(bad, UINT64_MAX);
  file_.set_fd(number);
  expect_content(run, 1);
  expect_content(put(2), 2);
}

uint64_t space_of(const SwapFile& file) {
  struct stat s = {};
  fsync(file.fd());
  fstat(file.fd(), &s);
  return static_cast<uint64_t>(s.st_blocks) * 512;
}

TEST_F(SwapFileTest, SpaceIsAskedForByStretches) {
  for (const auto& [size, first] : {std::pair{6 * kMiB, 4 * kMiB}, std::pair{2 * kMiB, 2 * kMiB}}) {
    ASSERT_EQ(open(false, "", size), SwapFile::Open::kOk);
    // Extents beyond some number take blocks of their own.
    constexpr uint64_t kMetadata = kMiB / 8;
    if (fallocate(file_.fd(), FALLOC_FL_KEEP_SIZE, 0, kPageSize) != 0) GTEST_SKIP() << "not by this file system";
    EXPECT_LE(space_of(file_), kMetadata) << "nothing before there is something to write";
    expect_content(put(1, 1), 1);
    EXPECT_GE(space_of(file_), first);
    EXPECT_LE(space_of(file_), first + kMetadata);
    for (uint64_t left = size / kPageSize - 1; left != 0; --left) put(left, 1);
    EXPECT_EQ(file_.alloc(1).count, 0u);
    EXPECT_LE(space_of(file_), size + kMetadata);
    file_.close();
  }
}

TEST_F(SwapFileTest, SpaceIsGivenBack) {
  ASSERT_EQ(open(false, "", 256 * kMiB), SwapFile::Open::kOk);
  const auto blocks = [&] { return space_of(file_); };
  std::vector<Slots> runs;
  for (uint64_t i = 0; i < 160; ++i) runs.push_back(put(i * 100));  // 40 MiB
  constexpr uint64_t kKept = 16 * kMiB / kPageSize;
  EXPECT_EQ(file_.give_back(kKept), 0u);
  for (size_t i = 20; i < runs.size(); ++i) file_.free(runs[i].first, runs[i].count);
  const uint64_t before = blocks();
  uint64_t given = 0;
  for (uint64_t more; (more = file_.give_back(kKept)) != 0; given += more) EXPECT_LE(more, 16 * kMiB);
  if (given == 0) GTEST_SKIP() << "this file system has no holes";
  EXPECT_EQ(given, 140 * kRun * kPageSize - 16 * kMiB);
  EXPECT_LE(blocks(), before - given + kMiB);
  EXPECT_EQ(file_.give_back(0), 16 * kMiB);
  EXPECT_EQ(file_.stats().given_back, 140 * kRun * kPageSize);
  for (size_t i = 0; i < 20; ++i) expect_content(runs[i], i * 100);
  for (int i = 0; i < 50; ++i) expect_content(put(9), 9);
  for (size_t i = 0; i < 20; ++i) file_.free(runs[i].first, runs[i].count);
}

TEST_F(SwapFileTest, AChildReadsWhatTheParentFreesAndReplaces) {
  for (bool encrypt : {false, true}) {
    ASSERT_EQ(open(encrypt), SwapFile::Open::kOk);
    std::vector<Slots> runs;
    for (uint64_t i = 0; i < 20; ++i) runs.push_back(put(i * 100));
    int go[2], done[2];
    ASSERT_EQ(pipe(go), 0);
    ASSERT_EQ(pipe(done), 0);
    file_.lock_for_fork();
    const uint64_t fork_number = file_.freeze_locked();
    const pid_t child = fork();
    file_.unlock_for_fork();
    if (child == 0) {
      file_.become_reader();
      char byte;
      if (read(go[0], &byte, 1) != 1) _exit(9);
      const PageBuffer out(kRun);
      Slots mine = file_.alloc(1);
      if (mine.count != 0 || file_.give_back(0) != 0) _exit(1);
      mine = runs[0];
      if (file_.write(mine, out.data()) != IoResult::kReadOnly || mine.count != 0) _exit(2);
      for (uint64_t i = 0; i < 20; ++i) {
        expect_content(runs[i], i * 100);
        file_.free(runs[i].first, runs[i].count);  // drops its claim; the file does not change
      }
      if (HasFailure()) _exit(3);
      SwapFile second;
      const SwapFileConfig config = {folder_.path().c_str(), kMiB, encrypt, nullptr};
      if (second.open(config) != SwapFile::Open::kOk || second.alloc(64).count != 64) _exit(4);
      second.close();
      file_.close();
      _exit(0);
    }
    for (const Slots& run : runs) file_.free(run.first, run.count);
    EXPECT_EQ(file_.stats().slots.held, 20u * kRun);
    std::vector<Slots> others;
    for (uint64_t i = 0; i < 20; ++i) others.push_back(put(i * 777 + 5));
    EXPECT_EQ(file_.give_back(0), 0u);
    ASSERT_EQ(write(go[1], "x", 1), 1);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0) << WEXITSTATUS(status);
    for (uint64_t i = 0; i < 20; ++i) expect_content(others[i], i * 777 + 5);
    file_.thaw(fork_number);
    EXPECT_EQ(file_.stats().slots.held, 0u);
    EXPECT_EQ(file_.verify(), nullptr);
    for (int fd : {go[0], go[1], done[0], done[1]}) close(fd);
    file_.close();
  }
}

TEST_F(SwapFileTest, AFileWithANameIsErasedByItsOwnerOnly) {
  const std::string path = folder_.write("swap", "");
  ASSERT_EQ(open(false, "", kMiB, path), SwapFile::Open::kOk);
  const Slots run = put(1);
  const uint64_t number = file_.freeze();
  EXPECT_EQ(in_child([&] {
              file_.become_reader();
              file_.close();
              return 0;
            }),
            0);
  expect_content(run, 1);
  EXPECT_GT(std::filesystem::file_size(path), 0u);
  file_.thaw(number);
  file_.close();
  EXPECT_EQ(std::filesystem::file_size(path), 0u);
}

}  // namespace
}  // namespace weir
