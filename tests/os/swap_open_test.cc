// swap_open_test.cc: finding a place to swap to, and what is left there afterwards.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cstddef>
#include <fstream>
#include <set>
#include <string>

#include "os/swap_io.h"
#include "os/syscall.h"
#include "support/swap_io_test_base.h"

namespace weir::os {
namespace {

using SwapOpenTest = SwapIoTest;

TEST_F(SwapOpenTest, FolderGetsANamelessFile) {
  const mode_t before = umask(0);
  ASSERT_EQ(open(folder_.path()), SwapOpen::kOk);
  umask(before);
  EXPECT_EQ(io_.kind(), SwapIo::Kind::kNameless);
  EXPECT_EQ(io_.bytes(), 4 * kMiB);
  EXPECT_EQ(status().st_mode & 07777, 0600u);
  EXPECT_EQ(status().st_nlink, 0u);
  EXPECT_NE(fcntl(io_.fd(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_TRUE(folder_.names().empty());
  EXPECT_NE(linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(io_.fd())).c_str(), AT_FDCWD,
                   (folder_ / "name").c_str(), AT_SYMLINK_FOLLOW),
            0)
      << "it can get a name";
  expect_works(io_);
  expect_works(io_, 4 * kMiB - kRun);
}

TEST_F(SwapOpenTest, APathThatIsNotThereIsNeverMade) {
  ASSERT_EQ(open(folder_ / "swapfile"), SwapOpen::kOk);
  EXPECT_EQ(io_.kind(), SwapIo::Kind::kNameless);
  EXPECT_TRUE(folder_.names().empty());
  expect_works(io_);
  io_.close();
  EXPECT_EQ(open(folder_ / "none/swapfile"), SwapOpen::kNotFound);
  EXPECT_EQ(open(folder_ / "none/"), SwapOpen::kNotFound);
  EXPECT_EQ(open(""), SwapOpen::kNotFound);
  EXPECT_EQ(open(folder_.write("file", "") + "/x"), SwapOpen::kNotFound);
}

TEST_F(SwapOpenTest, WhatCannotBeUsedSaysWhy) {
  EXPECT_EQ(open("/dev/null"), SwapOpen::kNotSupported);
  ASSERT_EQ(mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(open(folder_ / "fifo"), SwapOpen::kNotSupported);
  EXPECT_EQ(open(folder_.path(), kRun - 1), SwapOpen::kTooSmall);
  EXPECT_EQ(open(folder_.path(), 0), SwapOpen::kTooSmall) << "a folder has no size of its own";
  EXPECT_EQ(open(folder_.write("small", "abc")), SwapOpen::kTooSmall);
  std::set<std::string> texts;
  for (int i = 0; i <= static_cast<int>(SwapOpen::kIoError); ++i)
    EXPECT_TRUE(texts.insert(describe(static_cast<SwapOpen>(i))).second) << i;
}

TEST_F(SwapOpenTest, PermissionsCount) {
  folder_.sparse("file", kMiB);
  ASSERT_EQ(chmod(folder_.path().c_str(), 0755), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(77);
    SwapIo io;
    const bool refused = io.open(folder_.path().c_str(), kMiB, nullptr) == SwapOpen::kNoAccess &&
                         io.open((folder_ / "file").c_str(), kMiB, nullptr) == SwapOpen::kNoAccess;
    _exit(refused ? 0 : 1);
  }
  int result = 0;
  waitpid(child, &result, 0);
  if (WEXITSTATUS(result) == 77) GTEST_SKIP() << "cannot become another user";
  EXPECT_EQ(result, 0);
}

TEST_F(SwapOpenTest, AnEmptyFileIsUsedAndEmptiedAgain) {
  const std::string path = folder_.write("swap", "", 0644);
  ASSERT_EQ(open(path, 2 * kMiB), SwapOpen::kOk);
  EXPECT_EQ(io_.kind(), SwapIo::Kind::kNamed);
  EXPECT_EQ(io_.bytes(), 2 * kMiB);
  EXPECT_TRUE(io_.readable_by_others());
  expect_works(io_);
  expect_works(io_, 2 * kMiB - kRun);
  io_.erase_and_close(2 * kMiB);
  EXPECT_EQ(std::filesystem::file_size(path), 0u);
}

TEST_F(SwapOpenTest, AFileOfZerosKeepsItsSizeAndLosesItsContent) {
  const std::string path = folder_.sparse("swap", 3 * kMiB);
  ASSERT_EQ(open(path, 0), SwapOpen::kOk);
  EXPECT_EQ(io_.bytes(), 3 * kMiB - kPageSize);
  EXPECT_FALSE(io_.readable_by_others());
  expect_works(io_, kMiB);
  expect_works(io_, io_.bytes() - kRun);
  EXPECT_EQ(status().st_size, static_cast<off_t>(3 * kMiB)) << "it grew";
  io_.erase_and_close(io_.bytes());
  ASSERT_EQ(std::filesystem::file_size(path), 3 * kMiB);
  std::ifstream file(path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(file)), {});
  EXPECT_TRUE(is_zero(content.data(), content.size()));
}

class PreallocatedTest : public SwapIoTest {
 protected:
  void expect_space_stays();
};

void PreallocatedTest::expect_space_stays() {
  const std::string path = folder_.write("swap", "");
  const int fd = ::open(path.c_str(), O_RDWR);
  if (fallocate(fd, 0, 0, 3 * kMiB) != 0) GTEST_SKIP() << "no fallocate here";
  close(fd);
  ASSERT_EQ(open(path, 0), SwapOpen::kOk);
  expect_works(io_, kMiB);
  io_.erase_and_close(2 * kMiB);
  struct stat s = {};
  ASSERT_EQ(stat(path.c_str(), &s), 0);
  EXPECT_EQ(s.st_size, static_cast<off_t>(3 * kMiB));
  EXPECT_GE(s.st_blocks * 512, static_cast<off_t>(3 * kMiB));
  std::ifstream file(path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(file)), {});
  EXPECT_TRUE(is_zero(content.data(), content.size()));
}

TEST_F(PreallocatedTest, SpaceStaysAllocated) {
  expect_space_stays();
}

TEST_F(PreallocatedTest, SpaceStaysAllocatedWhereZerosCannotBeWritten) {
  if (!folder_.mount("none", "tmpfs", "size=16M")) GTEST_SKIP() << "cannot mount";
  expect_space_stays();
}

TEST_F(SwapOpenTest, FilesWithContentAreNotTouched) {
  std::string text(kMiB, '\0');
  text.replace(100000, 5, "hello");
  const std::string path = folder_.write("data", text);
  EXPECT_EQ(open(path), SwapOpen::kHoldsData);
  std::ifstream file(path, std::ios::binary);
  EXPECT_EQ(std::string((std::istreambuf_iterator<char>(file)), {}), text);
}

TEST_F(SwapOpenTest, TheHeaderOfMkswapStays) {
  std::string content(2 * kMiB, 'x');
  content.replace(kPageSize - 10, 10, "SWAPSPACE2");
  const std::string path = folder_.write("swap", content);
  ASSERT_EQ(open(path), SwapOpen::kOk);
  expect_works(io_);
  io_.erase_and_close(kMiB);
  std::ifstream file(path, std::ios::binary);
  const std::string now((std::istreambuf_iterator<char>(file)), {});
  ASSERT_EQ(now.size(), content.size());
  EXPECT_EQ(now.substr(0, kPageSize), content.substr(0, kPageSize));
  EXPECT_TRUE(is_zero(now.data() + kPageSize, kMiB));
}

TEST_F(SwapOpenTest, AKilledProgramsFileIsErasedWhenItIsUsedAgain) {
  const std::string path = folder_.write("swap", "");
  ASSERT_EQ(open(path), SwapOpen::kOk);
  const PageBuffer secret(kRunPages);
  secret.fill(77);
  ASSERT_EQ(io_.write(secret.data(), kRun, kMiB).error, 0);
  io_.close();  // without erasing, as when killed
  ASSERT_EQ(open(path), SwapOpen::kOk);
  const PageBuffer in(kRunPages);
  ASSERT_EQ(io_.read(in.data(), kRun, kMiB).error, 0);
  EXPECT_TRUE(is_zero(in.data(), kRun));
}

TEST_F(SwapOpenTest, OneProgramAtATime) {
  const std::string path = folder_.write("swap", "");
  ASSERT_EQ(open(path), SwapOpen::kOk);
  SwapIo second;
  EXPECT_EQ(second.open(path.c_str(), kMiB, nullptr), SwapOpen::kBusy);
  EXPECT_LT(second.fd(), 0);
  expect_works(io_);
  io_.close();
  EXPECT_EQ(second.open(path.c_str(), kMiB, nullptr), SwapOpen::kOk);
  second.close();
}

TEST_F(SwapOpenTest, StandardDescriptorsAreLeftAlone) {
  EXPECT_EQ(in_child([&] {
              for (int fd = 0; fd < 3; ++fd) close(fd);
              SwapIo io;
              if (io.open(folder_.path().c_str(), kMiB, nullptr) != SwapOpen::kOk) return 1;
              return io.fd() >= 3 && fcntl(0, F_GETFD) < 0 && fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0 ? 0 : 2;
            }),
            0);
}

TEST_F(SwapOpenTest, NoDescriptorsLeft) {
  EXPECT_EQ(in_child([&] {
              const struct rlimit limit = {3, 3};
              setrlimit(RLIMIT_NOFILE, &limit);
              SwapIo io;
              return io.open(folder_.path().c_str(), kMiB, nullptr) == SwapOpen::kNoDescriptors ? 0 : 1;
            }),
            0);
}

// Makes openat with O_TMPFILE fail as on a file system that has none.
bool forbid_tmpfile() {
  constexpr uint32_t kTmpfile = O_TMPFILE & ~O_DIRECTORY;
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kTmpfile, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog filter = {sizeof(program) / sizeof(program[0]), program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST_F(SwapOpenTest, WithoutTmpfileTheNameIsGoneAtOnce) {
  EXPECT_EQ(in_child([&] {
              if (!forbid_tmpfile()) return 1;
              const mode_t before = umask(0);
              SwapIo io;
              if (io.open(folder_.path().c_str(), kMiB, nullptr) != SwapOpen::kOk) return 2;
              umask(before);
              struct stat s = {};
              if (fstat(io.fd(), &s) != 0 || s.st_nlink != 0 || (s.st_mode & 07777) != 0600) return 3;
              const PageBuffer out(kRunPages);
              return folder_.names().empty() && io.write(out.data(), kRun, 0).error == 0 ? 0 : 4;
            }),
            0);
}

TEST_F(SwapOpenTest, AKilledProgramLeavesNoFile) {
  for (unsigned round = 0; round < 40; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const PageBuffer out(kRunPages);
      for (;;) {
        SwapIo io;
        if (io.open((folder_ / "swap").c_str(), kMiB, nullptr) != SwapOpen::kOk) _exit(1);
        for (unsigned i = 0; i < round % 4; ++i)
          if (io.write(out.data(), kRun, 0).error != 0) _exit(2);
        io.close();
      }
    }
    usleep(1000 + round * 137);
    kill(child, SIGKILL);
    int result = 0;
    waitpid(child, &result, 0);
    ASSERT_TRUE(WIFSIGNALED(result)) << "ended by itself: " << WEXITSTATUS(result);
    ASSERT_TRUE(folder_.names().empty());
  }
}

TEST_F(SwapOpenTest, ReadOnlyFileSystem) {
  const SwapFolder below;
  const std::string image = below.sparse("image", 8 * kMiB);
  if (system(("mkfs.ext4 -q -F " + image + " >/dev/null 2>&1").c_str()) != 0) GTEST_SKIP() << "no mkfs.ext4";
  const auto device = LoopDevice::make(image);
  if (device == nullptr) GTEST_SKIP() << "no loop device";
  if (!folder_.mount(device->path().c_str(), "ext4", "", MS_RDONLY)) GTEST_SKIP() << "cannot mount ext4";
  EXPECT_EQ(open(folder_.path()), SwapOpen::kReadOnly);
  EXPECT_EQ(open(folder_ / "swap"), SwapOpen::kReadOnly);
}

TEST_F(SwapOpenTest, BlockDevice) {
  const std::string image = folder_.sparse("image", 4 * kMiB);
  auto device = LoopDevice::make(image);
  if (device == nullptr) GTEST_SKIP() << "no loop device";
  ASSERT_EQ(open(device->path(), 0), SwapOpen::kOk);
  EXPECT_EQ(io_.kind(), SwapIo::Kind::kDevice);
  EXPECT_EQ(io_.bytes(), 4 * kMiB - kPageSize);
  expect_works(io_);
  expect_works(io_, io_.bytes() - kRun);
  SwapIo second;
  EXPECT_EQ(second.open(device->path().c_str(), 0, nullptr), SwapOpen::kBusy);
  io_.close();
  ASSERT_EQ(open(device->path(), kMiB), SwapOpen::kOk) << "our own marker";
  EXPECT_EQ(io_.bytes(), kMiB);
  io_.erase_and_close(kMiB);
  device.reset();
  ASSERT_EQ(system(("mkfs.ext4 -q -F " + image + " >/dev/null 2>&1").c_str()), 0);
  device = LoopDevice::make(image);
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(open(device->path(), 0), SwapOpen::kHoldsData) << "a file system that is not mounted";
}

TEST_F(SwapOpenTest, ADirectoryServesWhateverItsNameMeansLater) {
  const int directory = swap_directory(folder_.path().c_str());
  ASSERT_GE(directory, 0);
  ASSERT_EQ(io_.open_in(directory, kMiB, nullptr), SwapOpen::kOk);
  EXPECT_EQ(io_.kind(), SwapIo::Kind::kNameless);
  expect_works(io_);
  SwapIo second;
  EXPECT_EQ(second.open_in(directory, kMiB, nullptr), SwapOpen::kOk) << "any number of files";
  second.close();
  EXPECT_EQ(second.open_in(directory, 1, nullptr), SwapOpen::kTooSmall);
  close(directory);
  const int parent = swap_directory((folder_ / "not-there").c_str());
  EXPECT_GE(parent, 0) << "the directory that it would be in";
  close(parent);
  EXPECT_EQ(swap_directory(folder_.sparse("file", kMiB).c_str()), -ENOTDIR);
  EXPECT_EQ(swap_directory((folder_ / "not-there/either").c_str()), -ENOENT);
}

}  // namespace
}  // namespace weir::os
