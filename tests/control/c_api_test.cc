// c_api_test.cc: the functions of weir.h.
#include <errno.h>
#include <gtest/gtest.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "support/pattern.h"
#include "support/sanitizer.h"
#include "weir/stats_page.h"
#include "weir/weir.h"

namespace weir {
namespace {

class CApi : public testing::Test {
 protected:
  void SetUp() override {
    if (kTsan) GTEST_SKIP() << "a process's own arenas are bare, where the sanitizer has no shadow";
  }
};
using CApiDeathTest = CApi;

TEST_F(CApi, MallocFreeUsableSize) {
  for (size_t size = 0; size < 3000000; size = size * 3 + 1) {
    errno = 4711;
    void* p = weir_malloc(size);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 16, 0u);
    EXPECT_GE(weir_usable_size(p), size);
    write_pattern(p, weir_usable_size(p), size);
    weir_free(p);
    EXPECT_EQ(errno, 4711);
  }
  void* a = weir_malloc(0);
  void* b = weir_malloc(0);
  EXPECT_NE(a, b);
  weir_free(a);
  weir_free(b);
  weir_free(nullptr);
  EXPECT_EQ(weir_usable_size(nullptr), 0u);
}

TEST_F(CApi, TooMuchIsEnomem) {
  volatile size_t huge = SIZE_MAX;  // the compiler warns of constants that large
  for (const size_t size : {huge + 0, static_cast<size_t>(PTRDIFF_MAX) + 1, static_cast<size_t>(PTRDIFF_MAX) - 100}) {
    errno = 0;
    EXPECT_EQ(weir_malloc(size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    errno = 0;
    EXPECT_EQ(weir_calloc(1, size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    errno = 0;
    EXPECT_EQ(weir_aligned_alloc(64, size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
  }
  errno = 0;
  EXPECT_EQ(weir_calloc(huge / 2, 3), nullptr) << "the product overflows";
  EXPECT_EQ(errno, ENOMEM);
}

TEST_F(CApi, CallocZeroesReusedMemory) {
  for (const size_t size : {size_t{10}, size_t{5000}, size_t{50000}, size_t{2000000}}) {
    void* p = weir_malloc(size);
    memset(p, 0xff, size);
    weir_free(p);
    void* q = weir_calloc(size / 2, 2);
    EXPECT_TRUE(is_zero(q, size));
    weir_free(q);
  }
}

TEST_F(CApi, ReallocKeepsContent) {
  size_t size = 1;
  char* p = static_cast<char*>(weir_realloc(nullptr, size));
  write_pattern(p, size, 1);
  const size_t sizes[] = {100, 17, 5000, 20000, 19000, 300000, 5000000, 20000000, 3000000, 100000, 500, 16};
  for (const size_t next : sizes) {
    p = static_cast<char*>(weir_realloc(p, next));
    ASSERT_NE(p, nullptr);
    ASSERT_TRUE(check_pattern(p, std::min(size, next), size, 1)) << size << " to " << next;
    size = next;
    write_pattern(p, size, 1);
  }
  errno = 0;
  volatile size_t huge = SIZE_MAX;
  EXPECT_EQ(weir_realloc(p, huge), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  EXPECT_TRUE(check_pattern(p, size, size, 1)) << "the old object stays";
  EXPECT_EQ(weir_realloc(p, 0), nullptr) << "freed";
}

TEST_F(CApi, AlignedAlloc) {
  for (size_t alignment = 1; alignment <= size_t{64} << 20; alignment *= 2) {
    void* p = weir_aligned_alloc(alignment, 100);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % alignment, 0u);
    weir_free(p);
  }
  volatile size_t bad[] = {0, 3, 24, SIZE_MAX};
  for (const volatile size_t& alignment : bad) {
    errno = 0;
    EXPECT_EQ(weir_aligned_alloc(alignment, 100), nullptr);
    EXPECT_EQ(errno, EINVAL);
  }
}

TEST_F(CApi, TrimGivesMemoryBack) {
  std::vector<void*> blocks;
  for (int i = 0; i < 200; ++i) {
    blocks.push_back(weir_malloc(100000));
    memset(blocks.back(), 1, 100000);
  }
  for (void* p : blocks) weir_free(p);
  EXPECT_GE(weir_trim(), size_t{10} << 20);
  EXPECT_EQ(weir_trim(), 0u);
}

TEST_F(CApi, VerifyAndVersion) {
  void* p = weir_malloc(1000);
  EXPECT_EQ(weir_debug_verify(), 1);
  weir_free(p);
  EXPECT_EQ(weir_debug_verify(), 1);
  EXPECT_STREQ(weir_version(), WEIR_VERSION);
}

TEST_F(CApi, StatsOfThisProcess) {
  void* p = weir_malloc(10000000);
  const weir_stats_page* stats = weir_stats();
  ASSERT_NE(stats, nullptr);
  EXPECT_EQ(stats->magic, WEIR_STATS_MAGIC);
  EXPECT_EQ(stats->pid, static_cast<uint32_t>(getpid()));
  uint64_t charged = 0;
  for (uint32_t n = 0; n < stats->nr_nodes; ++n) charged += weir_stats_node_at(stats, n)->charged;
  EXPECT_GE(charged, 10000000u / 4096);
  weir_free(p);
  uint64_t after = 0;
  for (uint32_t n = 0; n < stats->nr_nodes; ++n) after += weir_stats_node_at(stats, n)->charged;
  EXPECT_LE(after + 10000000u / 4096, charged) << "without asking again";
  const pid_t child = fork();
  if (child == 0) _exit(stats->pid == static_cast<uint32_t>(getpid()) && weir_stats() == stats ? 0 : 1);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(stats->pid, static_cast<uint32_t>(getpid()));
}

TEST_F(CApiDeathTest, MisuseEndsTheProcessWithOneLine) {
  char* p = static_cast<char*>(weir_malloc(100));
  EXPECT_DEATH(weir_free(p + 8),
               "^weir: free: 0x[0-9a-f]+ points inside an object, not at its start \\(size class 112\\)\n$");
  EXPECT_DEATH((weir_free(p), weir_free(p)), "^weir: free: double free of 0x[0-9a-f]+ \\(size class 112\\)\n$");
  int local = 0;
  EXPECT_DEATH(weir_free(&local), "^weir: free: 0x[0-9a-f]+ does not belong to weir\n$");
  EXPECT_DEATH(static_cast<void>(weir_realloc(&local, 10)), "^weir: realloc: 0x[0-9a-f]+ does not belong to weir\n$");
  char* large = static_cast<char*>(weir_malloc(1000000));
  EXPECT_DEATH(weir_free(large + 4096), "^weir: free: 0x[0-9a-f]+ was never given out, or was freed before");
  EXPECT_DEATH((weir_free(large), static_cast<void>(weir_realloc(large, 5))), "^weir: realloc: .* was never given out");
  weir_free(large);
  weir_free(p);
}

}  // namespace
}  // namespace weir
