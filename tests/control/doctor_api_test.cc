// doctor_api_test.cc: what the system allows, compared with what the system calls themselves say here.
#include "weir/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace weir {
namespace {

namespace fs = std::filesystem;

size_t open_descriptors() {
  const fs::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

weir_capabilities probe() {
  weir_capabilities c;
  memset(&c, 0xff, sizeof(c));
  EXPECT_EQ(weir_capabilities_probe(&c, sizeof(c)), 1);
  return c;
}

TEST(Capabilities, AgreeWithTheSystemCalls) {
  const weir_capabilities c = probe();
  const long fd = syscall(SYS_userfaultfd, O_CLOEXEC);
  EXPECT_EQ(c.uffd_syscall, fd < 0 ? errno : 0);
  if (fd >= 0) close(static_cast<int>(fd));
  const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0) {
    EXPECT_EQ(c.uffd_device, errno);
  } else {
    close(device);
  }
  for (int error : {c.uffd_move, c.uffd_poison, c.uffd_write_protect, c.uffd_thread_id, c.thread_descriptors,
                    c.io_uring, c.uffd_syscall, c.uffd_device, c.lift})
    EXPECT_TRUE(error >= 0 && error < 4096) << error;
}

TEST(Capabilities, LeaveNothingOpenAndKeepErrno) {
  static_cast<void>(probe());
  const size_t before = open_descriptors();
  errno = 4321;
  static_cast<void>(probe());
  EXPECT_EQ(errno, 4321);
  EXPECT_EQ(open_descriptors(), before);
}

TEST(Capabilities, CallersWithAnotherSizeOfStruct) {
  struct {
    weir_capabilities known;
    unsigned char unknown[16];
  } newer;
  memset(&newer, 0xff, sizeof(newer));
  ASSERT_EQ(weir_capabilities_probe(&newer.known, sizeof(newer)), 1);
  for (unsigned char byte : newer.unknown) EXPECT_EQ(byte, 0);
  weir_capabilities older;
  memset(&older, 0xff, sizeof(older));
  ASSERT_EQ(weir_capabilities_probe(&older, sizeof(int)), 1);
  EXPECT_EQ(older.uffd_syscall, newer.known.uffd_syscall);
  EXPECT_EQ(older.uffd_device, -1) << "beyond what the caller knows";
}

class SwapPlace : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/var/tmp/weir-doctor-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    room_ = name;
  }
  void TearDown() override { fs::remove_all(room_); }

  // "" when it can be swapped to.
  std::string try_path(const std::string& path, uint64_t bytes = 0) {
    char report[256] = "untouched";
    memset(&place_, 0xff, sizeof(place_));
    if (weir_swap_probe(path.c_str(), bytes, &place_, sizeof(place_), report, sizeof(report)) == 0) return report;
    EXPECT_STREQ(report, "untouched");
    return "";
  }

  fs::path room_;
  weir_swap_place place_;
};

TEST_F(SwapPlace, ADirectoryIsLeftEmpty) {
  ASSERT_EQ(try_path(room_, 8 << 20), "");
  EXPECT_EQ(place_.kind, WEIR_SWAP_NAMELESS);
  EXPECT_EQ(place_.bytes, 8u << 20);
  EXPECT_TRUE(fs::is_empty(room_));
  ASSERT_EQ(try_path(room_), "");
  EXPECT_EQ(place_.bytes, 1u << 20);
  const int fd = open(room_.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
  EXPECT_EQ(place_.tmpfile, fd >= 0 ? 1 : 0);
  if (fd >= 0) close(fd);
}

TEST_F(SwapPlace, AFileSaysHowLargeItIs) {
  const fs::path file = room_ / "file";
  std::ofstream(file).close();
  fs::resize_file(file, (4 << 20) + 4096);
  fs::permissions(file, fs::perms::owner_read | fs::perms::owner_write | fs::perms::others_read);
  ASSERT_EQ(try_path(file), "");
  EXPECT_EQ(place_.kind, WEIR_SWAP_FILE);
  EXPECT_EQ(place_.bytes, 4u << 20);
  EXPECT_EQ(place_.others_read, 1);
  EXPECT_EQ(place_.tmpfile, 0);
}

TEST_F(SwapPlace, SaysWhyNot) {
  EXPECT_EQ(try_path(room_ / "no/such"), "no such file or directory");
  std::ofstream(room_ / "data") << std::string(1 << 20, 'x');
  EXPECT_EQ(try_path(room_ / "data").substr(0, 10), "holds data");
  EXPECT_EQ(try_path(room_, 4096).substr(0, 9), "too small");
  char report[5];
  EXPECT_EQ(weir_swap_probe("/no/such/x", 0, &place_, sizeof(place_), report, sizeof(report)), 0);
  EXPECT_STREQ(report, "no s");
}

}  // namespace
}  // namespace weir
