// swap_io_test.cc: transfers, full disks, failures by plan, space given back.
#include "os/swap_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/statfs.h>

#include <cstring>
#include <fstream>
#include <string>

#include "support/swap_io_test_base.h"

namespace weir::os {
namespace {

TEST_F(SwapIoTest, LimitOnFileSizesIsNoSignal) {
  EXPECT_EQ(in_child([&] {
              signal(SIGXFSZ, SIG_DFL);
              const struct rlimit limit = {kMiB, kMiB};
              SwapIo io;
              if (io.open(folder_.path().c_str(), 4 * kMiB, nullptr) != SwapOpen::kOk) return 1;
              setrlimit(RLIMIT_FSIZE, &limit);
              const PageBuffer out(kRunPages);
              if (io.write(out.data(), kRun, kMiB - kRun).error != 0) return 2;
              const Transfer t = io.write(out.data(), kRun, kMiB - kPageSize);
              if (t.error != EFBIG || t.done != 0) return 3;
              io.close();
              if (io.open(folder_.path().c_str(), 4 * kMiB, nullptr) != SwapOpen::kOk || io.bytes() != kMiB) return 4;
              if (io.open(folder_.write("swap", "").c_str(), 4 * kMiB, nullptr) != SwapOpen::kOk) return 5;
              return io.bytes() == kMiB - kPageSize ? 0 : 6;
            }),
            0);
}

TEST_F(SwapIoTest, FullAtTheStartAndInTheMiddle) {
  if (!folder_.mount("none", "tmpfs", "size=1m")) GTEST_SKIP() << "cannot mount a tmpfs";
  ASSERT_EQ(open(folder_.path()), SwapOpen::kOk) << "the limit may be larger than the disk";
  const PageBuffer out(kRunPages);
  uint64_t at = 0;
  Transfer t;
  for (; at < 4 * kMiB; at += t.done) {
    t = io_.write(out.data(), kRun, at);
    if (t.error != 0) break;
  }
  EXPECT_EQ(t.error, ENOSPC);
  EXPECT_GE(at + t.done, kMiB - kRun);
  SwapIo second;
  EXPECT_EQ(second.open(folder_.path().c_str(), kMiB, nullptr), SwapOpen::kNoRoom);
  ASSERT_TRUE(io_.punch(0, kMiB / 2));
  expect_works(io_, kMiB);
  EXPECT_EQ(second.open(folder_.path().c_str(), kMiB, nullptr), SwapOpen::kOk) << "there is room again";
  second.close();
}

TEST_F(SwapIoTest, FullOnAFileSystemOfADisk) {
  const SwapFolder below;
  const std::string image = below.sparse("image", 8 * kMiB);
  if (system(("mkfs.ext4 -q -F " + image + " >/dev/null 2>&1").c_str()) != 0) GTEST_SKIP() << "no mkfs.ext4";
  const auto device = LoopDevice::make(image);
  if (device == nullptr) GTEST_SKIP() << "no loop device";
  if (!folder_.mount(device->path().c_str(), "ext4", "")) GTEST_SKIP() << "cannot mount ext4";
  ASSERT_EQ(open(folder_.path(), uint64_t{1} << 30), SwapOpen::kOk);
  const PageBuffer out(kRunPages), in(kRunPages);
  uint64_t at = 0;
  Transfer t;
  for (; at < 16 * kMiB; at += t.done) {
    out.fill(at);
    t = io_.write(out.data(), kRun, at);
    if (t.error != 0) break;
  }
  EXPECT_EQ(t.error, ENOSPC);
  ASSERT_GT(at, kMiB);
  for (uint64_t back = 0; back + kRun <= at; back += kRun) {
    ASSERT_EQ(io_.read(in.data(), kRun, back).error, 0);
    ASSERT_TRUE(in.is(back));
  }
  SwapIo device_itself;
  EXPECT_EQ(device_itself.open(device->path().c_str(), 0, nullptr), SwapOpen::kBusy) << "it is mounted";
}

TEST_F(SwapIoTest, DirectWhereTheFileSystemCan) {
  struct statfs s = {};
  ASSERT_EQ(statfs(folder_.path().c_str(), &s), 0);
  ASSERT_EQ(open(folder_.path()), SwapOpen::kOk);
  constexpr long kExt4 = 0xef53, kXfs = 0x58465342;
  if (s.f_type == kExt4 || s.f_type == kXfs) {
    EXPECT_TRUE(io_.direct());
  }
  EXPECT_EQ((fcntl(io_.fd(), F_GETFL) & O_DIRECT) != 0, io_.direct());
}

TEST_F(SwapIoTest, FaultsAndHowTheyEnd) {
  struct Case {
    const char* plan;
    int error;
    size_t least_done;
  };
  const Case writes[] = {{"write:short:after=1", EIO, kRun - kPageSize},  // a single page never gets through
                         {"write:short:every=2", 0, kRun},
                         {"write:EINTR:every=2", 0, kRun},
                         {"write:EAGAIN:after=1:times=10", 0, kRun},
                         {"write:EINTR:after=1", EIO, 0},
                         {"write:EIO:after=1", EIO, 0},
                         {"write:ENOSPC:after=1", ENOSPC, 0}};
  for (const Case& c : writes) {
    FaultInjector faults;
    ASSERT_FALSE(faults.parse(c.plan));
    ASSERT_EQ(open(folder_.path(), kMiB, &faults), SwapOpen::kOk) << c.plan;
    const PageBuffer out(kRunPages), in(kRunPages);
    out.fill(5);
    const Transfer t = io_.write(out.data(), kRun, 0);
    EXPECT_EQ(t.error, c.error) << c.plan;
    EXPECT_GE(t.done, c.least_done) << c.plan;
    EXPECT_GT(faults.injected(), 0u);
    ASSERT_EQ(io_.read(in.data(), kRun, 0).error, 0);
    EXPECT_EQ(in.is(5), c.error == 0) << c.plan;
    io_.close();
  }
}

TEST_F(SwapIoTest, ReadFaults) {
  FaultInjector faults;
  ASSERT_FALSE(faults.parse("read:short:every=3,read:corrupt:after=4:times=1"));
  ASSERT_EQ(open(folder_.path(), kMiB, &faults), SwapOpen::kOk);
  const PageBuffer out(kRunPages), in(kRunPages);
  out.fill(9);
  ASSERT_EQ(io_.write(out.data(), kRun, 0).error, 0);
  ASSERT_EQ(io_.read(in.data(), kRun, 0).error, 0);  // read 2
  EXPECT_TRUE(in.is(9));
  ASSERT_EQ(io_.read(in.data(), kRun, 0).error, 0);  // read 3 stops short, read 4 goes on
  EXPECT_TRUE(in.is(9));
  ASSERT_EQ(io_.read(in.data(), kRun, 0).error, 0);  // read 5 is damaged
  size_t differences = 0;
  for (size_t i = 0; i < kRun; ++i) differences += in.data()[i] != out.data()[i];
  EXPECT_EQ(differences, 1u);
}

TEST_F(SwapIoTest, AFullDiskAtTheStartByPlan) {
  FaultInjector faults;
  ASSERT_FALSE(faults.parse("write:ENOSPC"));
  EXPECT_EQ(open(folder_.path(), kMiB, &faults), SwapOpen::kNoRoom);
  ASSERT_FALSE(faults.parse("read:corrupt"));
  EXPECT_EQ(open(folder_.path(), kMiB, &faults), SwapOpen::kIoError);
}

TEST_F(SwapIoTest, TruncatedBySomebodyElse) {
  const std::string path = folder_.sparse("swap", 2 * kMiB);
  ASSERT_EQ(open(path, 0), SwapOpen::kOk);
  expect_works(io_, kMiB);
  ASSERT_EQ(truncate(path.c_str(), kMiB), 0);
  const PageBuffer in(kRunPages);
  const Transfer t = io_.read(in.data(), kRun, kMiB);
  EXPECT_EQ(t.error, EIO);
  EXPECT_EQ(t.done, 0u);
}

TEST_F(SwapIoTest, PunchingGivesSpaceBack) {
  ASSERT_EQ(open(folder_.path()), SwapOpen::kOk);
  for (uint64_t at = 0; at < 2 * kMiB; at += kRun) expect_works(io_, at);
  fsync(io_.fd());
  const auto before = status().st_blocks;
  if (!io_.punch(0, kMiB)) GTEST_SKIP() << "this file system has no holes";
  EXPECT_LE(status().st_blocks, before - static_cast<blkcnt_t>(kMiB / 512));
  const PageBuffer in(kRunPages);
  ASSERT_EQ(io_.read(in.data(), kRun, 0).error, 0);
  EXPECT_TRUE(is_zero(in.data(), kRun));
}

TEST(SecretPage, IsNotDumpedAndRandomNumbersDiffer) {
  auto* page = static_cast<unsigned char*>(map_secret_page());
  ASSERT_NE(page, nullptr);
  unsigned char other[32] = {};
  ASSERT_TRUE(fill_random(page, 32));
  ASSERT_TRUE(fill_random(other, 32));
  EXPECT_NE(memcmp(page, other, 32), 0);
  std::ifstream maps("/proc/self/smaps");
  std::string line, flags;
  bool here = false;
  while (std::getline(maps, line)) {
    unsigned long from = 0, to = 0;
    if (sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2)
      here = reinterpret_cast<unsigned long>(page) >= from && reinterpret_cast<unsigned long>(page) < to;
    if (here && line.rfind("VmFlags:", 0) == 0) flags = line;
  }
  EXPECT_NE(flags.find(" dd"), std::string::npos) << flags;
  EXPECT_NE(flags.find(" lo"), std::string::npos) << flags;
  unmap_secret_page(page);
}

}  // namespace
}  // namespace weir::os
