// memfd_test.cc: a memfd where one can be had, and nothing at all where not.
#include "os/memfd.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

namespace weir::os {
namespace {

constexpr size_t kBytes = 8192;

bool is_mapped_as(const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.find("/memfd:" + name) != std::string::npos) return true;
  return false;
}

TEST(Memfd, IsZeroSharedAndHasItsName) {
  int fd = -1;
  errno = 4711;
  auto* memory = static_cast<char*>(map_memfd("weir-memfd-test", kBytes, nullptr, fd));
  EXPECT_EQ(errno, 4711);
  if (memory == nullptr) GTEST_SKIP() << "no memfd here";
  EXPECT_TRUE(is_mapped_as("weir-memfd-test"));
  struct stat info = {};
  ASSERT_EQ(fstat(fd, &info), 0);
  EXPECT_EQ(info.st_size, off_t{kBytes});
  for (size_t i = 0; i < kBytes; ++i) ASSERT_EQ(memory[i], 0);
  memory[kBytes - 1] = 'x';
  char got = 0;
  EXPECT_EQ(pread(fd, &got, 1, kBytes - 1), 1);
  EXPECT_EQ(got, 'x');
  int second = -1;
  ASSERT_EQ(map_memfd("weir-memfd-other", kBytes, memory, second), memory) << "in the place of the first";
  EXPECT_EQ(memory[kBytes - 1], 0);
  EXPECT_FALSE(is_mapped_as("weir-memfd-test"));
  close(fd);
  close(second);
  munmap(memory, kBytes);
}

TEST(Memfd, RefusedWithoutASignal) {
  for (const int resource : {RLIMIT_FSIZE, RLIMIT_NOFILE}) {
    const pid_t child = fork();
    if (child == 0) {
      const struct rlimit none = {0, 0};
      if (setrlimit(resource, &none) != 0) _exit(1);
      int fd = -1;
      _exit(map_memfd("weir-memfd-test", kBytes, nullptr, fd) == nullptr && fd == -1 ? 0 : 2);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "resource " << resource;
  }
}

}  // namespace
}  // namespace weir::os
