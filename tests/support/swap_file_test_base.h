// Purpose: what the tests of the swap file share: a file in a folder of its own, runs with content, a look at the disk.
// Thread safety: `put` and `expect_content` from any thread.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "support/page_buffer.h"
#include "support/swap_place.h"
#include "swap/swap_file.h"

namespace weir {

class SwapFileTest : public testing::Test {
 protected:
  ~SwapFileTest() override {
    if (!file_.is_open()) return;
    EXPECT_EQ(file_.verify(), nullptr);
    file_.close();
  }
  SwapFile::Open open(bool encrypt = false, const char* plan = "", uint64_t max_bytes = uint64_t{16} << 20,
                      const std::string& path = "") {
    EXPECT_FALSE(faults_.parse(plan)) << plan;
    const std::string where = path.empty() ? folder_.path() : path;
    return file_.open({where.c_str(), max_bytes, encrypt, &faults_});
  }
  // Writes a whole run of pages with content by `seed`; what came of it is returned.
  Slots put(uint64_t seed, unsigned count = SwapFile::kMaxRun, IoResult wanted = IoResult::kOk) {
    const PageBuffer out(count);
    out.fill(seed);
    Slots slots = file_.alloc(count);
    EXPECT_EQ(slots.count, count);
    EXPECT_EQ(file_.write(slots, out.data()), wanted);
    EXPECT_TRUE(out.is(seed)) << "write changed the buffer";
    return slots;
  }
  void expect_content(Slots slots, uint64_t seed) {
    const PageBuffer in(slots.count);
    uint64_t bad = 1;
    ASSERT_EQ(file_.read(slots.first, slots.count, in.data(), bad), IoResult::kOk);
    EXPECT_EQ(bad, 0u);
    EXPECT_TRUE(in.is(seed)) << "content of " << slots.first;
  }
  // The bytes on the disk, past what SwapFile does.
  void raw_read(uint64_t slot, const PageBuffer& page) {
    const auto at = static_cast<off_t>(file_.io().file_offset(slot * kPageSize));
    ASSERT_EQ(pread(file_.fd(), page.data(), kPageSize, at), static_cast<ssize_t>(kPageSize));
  }
  void raw_write(uint64_t slot, const PageBuffer& page) {
    const auto at = static_cast<off_t>(file_.io().file_offset(slot * kPageSize));
    ASSERT_EQ(pwrite(file_.fd(), page.data(), kPageSize, at), static_cast<ssize_t>(kPageSize));
  }
  SwapFolder folder_;
  os::FaultInjector faults_;
  SwapFile file_;
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

}  // namespace weir
