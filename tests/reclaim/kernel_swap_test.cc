// kernel_swap_test.cc: pages that the kernel swaps out or migrates by itself, before and while weir moves them.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "os/vm.h"
#include "support/page_content.h"
#include "support/private_allocator.h"
#include "support/random.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{16} << 20;
constexpr size_t kCapacity = size_t{256} << 20;
constexpr size_t kBlock = size_t{1} << 20;

bool system_has_swap() {
  std::ifstream swaps("/proc/swaps");
  std::string line;
  std::getline(swaps, line);
  return static_cast<bool>(std::getline(swaps, line));
}

// Asks the kernel to take the memory of these pages: first they are written, then, where the process's cgroup can be
// told to reclaim, what is left of them in the swap cache goes.
bool page_out(char* p, size_t bytes) {
  for (int tries = 0; tries < 20 && os::vm_resident(p, bytes).v != 0; ++tries) {
    if (madvise(p, bytes, MADV_PAGEOUT) != 0) return false;
    usleep(10000);
    std::ifstream self("/proc/self/cgroup");
    std::string line;
    while (std::getline(self, line))
      if (line.rfind("0::", 0) == 0) std::ofstream("/sys/fs/cgroup" + line.substr(3) + "/memory.reclaim") << bytes;
  }
  return os::vm_resident(p, bytes).v == 0;
}

TEST(KernelSwap, PagesThatTheKernelSwappedOutKeepTheirContent) {
  if (!system_has_swap()) GTEST_SKIP() << "the system has no swap";
  LimitedAllocator a;
  if (const char* why = a.start(kLimit, kCapacity)) GTEST_SKIP() << why;
  std::vector<char*> blocks;
  for (uint64_t i = 0; i < 30; ++i) {
    char* p = static_cast<char*>(a->malloc(nullptr, kBlock));
    ASSERT_NE(p, nullptr);
    write_content(p, kBlock, content_seed((i + 1) << 8, Content::kCompressible));
    if (i < 12 && !page_out(p, kBlock)) GTEST_SKIP() << "the kernel does not swap these pages out";
    blocks.push_back(p);
  }
  for (uint64_t i = 0; i < blocks.size(); ++i)
    EXPECT_TRUE(check_content_at(blocks[i], 0, kBlock, content_seed((i + 1) << 8, Content::kCompressible))) << i;
  for (char* p : blocks) EXPECT_EQ(a->free(nullptr, p).misuse, Misuse::kNone);
}

// Random pages of twice the limit keep their content while a thread calls disturb(block) for one after the other.
template <class Disturb>
void check_while(LimitedAllocator& a, Disturb disturb) {
  constexpr uint64_t kBlocks = 32;
  constexpr unsigned kTouches = 50000;
  char* blocks[kBlocks];
  for (uint64_t i = 0; i < kBlocks; ++i) {
    blocks[i] = static_cast<char*>(a->malloc(nullptr, kBlock));
    ASSERT_NE(blocks[i], nullptr);
    write_content(blocks[i], kBlock, content_seed((i + 1) << 8, Content::kCompressible));
  }
  std::atomic<bool> done{false};
  std::thread thread([&] {
    while (!done.load())
      for (char* p : blocks) disturb(p);
  });
  Random random(1);
  bool same = true;
  for (unsigned n = 0; n < kTouches && same; ++n) {
    const uint64_t i = random.below(kBlocks);
    const size_t offset = random.below(kBlock / kPageSize) * kPageSize;
    same = check_content_at(blocks[i], offset, kPageSize, content_seed((i + 1) << 8, Content::kCompressible));
    EXPECT_TRUE(same) << "block " << i << " at " << offset;
  }
  done.store(true);
  thread.join();
  for (char* p : blocks) EXPECT_EQ(a->free(nullptr, p).misuse, Misuse::kNone);
}

TEST(KernelSwap, PagesThatTheKernelSwapsOutMeanwhileKeepTheirContent) {
  if (!system_has_swap()) GTEST_SKIP() << "the system has no swap";
  LimitedAllocator a;
  if (const char* why = a.start(kLimit, kCapacity)) GTEST_SKIP() << why;
  check_while(a, [](char* p) { static_cast<void>(madvise(p, kBlock, MADV_PAGEOUT)); });
}

// By its compaction; Linux 6.18 moves some of these pages without counting them as moved.
TEST(KernelSwap, PagesThatTheKernelMigratesMeanwhileKeepTheirContent) {
  std::ofstream compact("/proc/sys/vm/compact_memory");
  if (!compact) GTEST_SKIP() << "the kernel's compaction cannot be started";
  LimitedAllocator a;
  if (const char* why = a.start(kLimit, kCapacity)) GTEST_SKIP() << why;
  check_while(a, [&](char*) { compact << 1 << std::flush; });
}

}  // namespace
}  // namespace weir
