// Purpose: what the tests of SwapIo share: a place of its own, a run that is written and read back.
// Thread safety: one thread.
#pragma once

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "os/swap_io.h"
#include "support/page_buffer.h"
#include "support/swap_place.h"

namespace weir::os {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr size_t kRunPages = 64;
inline constexpr size_t kRun = kRunPages * kPageSize;

// Writes a run and reads it back.
inline void expect_works(SwapIo& io, uint64_t offset = 0) {
  const PageBuffer out(kRunPages), in(kRunPages);
  out.fill(offset + 1);
  Transfer t = io.write(out.data(), kRun, offset);
  ASSERT_EQ(t.error, 0) << strerror(t.error);
  ASSERT_EQ(t.done, kRun);
  t = io.read(in.data(), kRun, offset);
  ASSERT_EQ(t.error, 0) << strerror(t.error);
  EXPECT_TRUE(in.is(offset + 1));
}

class SwapIoTest : public testing::Test {
 protected:
  ~SwapIoTest() override { io_.close(); }
  SwapOpen open(const std::string& path, uint64_t max_bytes = 4 * kMiB, FaultInjector* faults = nullptr) {
    errno = 4711;
    const SwapOpen result = io_.open(path.c_str(), max_bytes, faults);
    EXPECT_EQ(errno, 4711) << "errno was touched";
    EXPECT_EQ(io_.fd() >= 0, result == SwapOpen::kOk);
    return result;
  }
  struct stat status() const {
    struct stat s = {};
    fstat(io_.fd(), &s);
    return s;
  }
  SwapFolder folder_;
  SwapIo io_;
};

// Runs `body` in a child process and returns its exit status, -1 when it did not exit.
template <class Body>
int in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int result = 0;
  waitpid(child, &result, 0);
  return WIFEXITED(result) ? WEXITSTATUS(result) : -1;
}

}  // namespace weir::os
