// heap_api_test.cc: the functions of heap.h, with the process's own allocator.
#include <errno.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/units.h"
#include "support/pattern.h"
#include "support/sanitizer.h"
#include "weir/heap.h"

namespace {

class HeapApi : public testing::Test {
 protected:
  void SetUp() override {
    if (weir::kTsan) GTEST_SKIP() << "a process's own arenas are bare, where the sanitizer has no shadow";
  }
  static weir_heap_t make(const char* name = nullptr, uint64_t limit = 0) {
    weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
    options.limit = limit;
    weir_heap_t heap = weir_heap_create(name, &options);
    EXPECT_NE(heap, nullptr) << strerror(errno);
    return heap;
  }
  static weir_heap_info stats(weir_heap_t heap) {
    weir_heap_info info = {};
    EXPECT_EQ(weir_heap_stats(heap, &info, sizeof(info)), 0);
    return info;
  }
  // The error of a creation that must fail.
  static int refused(const char* name, const weir_heap_options* options) {
    errno = 0;
    EXPECT_EQ(weir_heap_create(name, options), nullptr);
    return errno;
  }
};
using HeapApiDeathTest = HeapApi;

// Before any heap was made nothing is one.
TEST_F(HeapApi, WithoutHeaps) {
  EXPECT_EQ(weir_heap_of(nullptr), nullptr);
  EXPECT_EQ(weir_heap_find("x"), nullptr);
  EXPECT_EQ(weir_heap_next(nullptr), nullptr);
  EXPECT_EQ(weir_heap_destroy(nullptr), EINVAL);
  EXPECT_EQ(weir_heap_set_limit(reinterpret_cast<weir_heap_t>(uintptr_t{0x10001}), 0), EINVAL);
  errno = 0;
  EXPECT_EQ(weir_heap_malloc(reinterpret_cast<weir_heap_t>(uintptr_t{0x10001}), 1), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(HeapApi, OptionsAreVersionedByTheirSize) {
  struct Later {
    weir_heap_options options;
    uint64_t more;
  } later = {WEIR_HEAP_OPTIONS_INIT, 0};
  later.options.size = sizeof(later);
  weir_heap_t heap = weir_heap_create("later", &later.options);
  ASSERT_NE(heap, nullptr) << "what is not known is zero";
  EXPECT_EQ(weir_heap_destroy(heap), 0);
  later.more = 1;
  EXPECT_EQ(refused("later", &later.options), E2BIG);
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.size = 8;
  EXPECT_EQ(refused("early", &options), EINVAL);
  options.size = 0;
  EXPECT_EQ(refused("early", &options), EINVAL);
}

TEST_F(HeapApi, WrongOptions) {
  const auto with = [](auto change) {
    weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
    change(options);
    return refused("x", &options);
  };
  EXPECT_EQ(with([](weir_heap_options& o) { o.noswap = 2; }), EINVAL);
  EXPECT_EQ(with([](weir_heap_options& o) { o.flags = 1; }), EINVAL);
  EXPECT_EQ(with([](weir_heap_options& o) { o.node = 1000; }), EINVAL);
  EXPECT_EQ(with([](weir_heap_options& o) { o.oom_score_adj = -2000; }), EINVAL);
  EXPECT_EQ(refused("", nullptr), EINVAL);
  weir_heap_t heap = make("x");
  EXPECT_EQ(refused("x", nullptr), EEXIST);
  EXPECT_EQ(weir_heap_destroy(heap), 0);
}

TEST_F(HeapApi, AllocatesAndFrees) {
  weir_heap_t heap = make("objects");
  char* p = static_cast<char*>(weir_heap_malloc(heap, 100));
  char* q = static_cast<char*>(weir_heap_calloc(heap, 100, 1000));
  char* r = static_cast<char*>(weir_heap_aligned_alloc(heap, 4096, 10));
  char* s = static_cast<char*>(weir_heap_realloc(heap, nullptr, 50));
  EXPECT_TRUE(weir::is_zero(q, 100000));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(r) % 4096, 0u);
  for (char* object : {p, q, r, s}) EXPECT_EQ(weir_heap_of(object), heap);
  EXPECT_GE(weir_usable_size(p), 100u);
  EXPECT_GE(weir_usable_size(q), 100000u);
  EXPECT_EQ(stats(heap).objects, 4u);
  weir::write_pattern(p, 100, 1);
  p = static_cast<char*>(weir_realloc(p, 3000000));
  EXPECT_EQ(weir_heap_of(p), heap) << "resized objects stay in their heap";
  EXPECT_TRUE(weir::check_pattern(p, 96, 100, 1));
  p = static_cast<char*>(weir_heap_realloc(nullptr, p, 20));
  EXPECT_EQ(weir_heap_of(p), heap) << "whatever heap is given";
  EXPECT_TRUE(weir::check_pattern(p, 16, 100, 1));
  EXPECT_EQ(weir_realloc(p, 0), nullptr);
  EXPECT_EQ(stats(heap).objects, 3u);
  errno = 4711;
  weir_free(q);
  std::thread([&] { weir_free(r); }).join();
  EXPECT_EQ(errno, 4711);
  EXPECT_EQ(stats(heap).objects, 1u);
  EXPECT_EQ(weir_debug_verify(), 1);
  EXPECT_EQ(weir_heap_destroy(heap), 0);
  EXPECT_EQ(weir_debug_verify(), 1);
}

TEST_F(HeapApi, NullIsNoHeap) {
  void* all[] = {weir_heap_malloc(nullptr, 100), weir_heap_calloc(nullptr, 1, 100),
                 weir_heap_aligned_alloc(nullptr, 64, 100), weir_heap_realloc(nullptr, nullptr, 100)};
  for (void* p : all) {
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(weir_heap_of(p), nullptr);
    weir_free(p);
  }
  weir_heap_info info;
  EXPECT_EQ(weir_heap_stats(nullptr, &info, sizeof(info)), EINVAL);
  EXPECT_EQ(weir_heap_set_limit(nullptr, 5), EINVAL);
  EXPECT_EQ(weir_heap_set_soft_limit(nullptr, 5), EINVAL);
  EXPECT_EQ(weir_heap_set_oom_score_adj(nullptr, 5), EINVAL);
  char name[8];
  EXPECT_EQ(weir_heap_name(nullptr, name, sizeof(name)), EINVAL);
}

TEST_F(HeapApi, ErrorsOfAllocation) {
  weir_heap_t heap = make("errors", 1 << 20);
  const auto error = [](void* p) {
    EXPECT_EQ(p, nullptr);
    return errno;
  };
  volatile size_t huge = SIZE_MAX;
  EXPECT_EQ(error(weir_heap_malloc(heap, 2 << 20)), ENOMEM);
  EXPECT_EQ(error(weir_heap_malloc(heap, huge)), ENOMEM);
  EXPECT_EQ(error(weir_heap_calloc(heap, huge / 2, 3)), ENOMEM);
  EXPECT_EQ(error(weir_heap_aligned_alloc(heap, 48, 100)), EINVAL);
  EXPECT_EQ(error(weir_heap_aligned_alloc(heap, 0, 100)), EINVAL);
  EXPECT_EQ(error(weir_heap_aligned_alloc(heap, size_t{1} << 63, 100)), ENOMEM);
  void* p = weir_heap_malloc(heap, 100000);
  EXPECT_EQ(error(weir_realloc(p, 2 << 20)), ENOMEM);
  EXPECT_EQ(error(weir_realloc(p, huge)), ENOMEM);
  EXPECT_EQ(weir_heap_of(p), heap) << "as it was";
  EXPECT_EQ(weir_heap_destroy(heap), 0);
  EXPECT_EQ(error(weir_heap_malloc(heap, 100)), EINVAL);
  EXPECT_EQ(error(weir_heap_calloc(heap, 1, 100)), EINVAL);
  EXPECT_EQ(error(weir_heap_realloc(heap, nullptr, 100)), EINVAL);
  EXPECT_EQ(weir_heap_destroy(heap), EINVAL);
}

TEST_F(HeapApi, StatisticsAndChanges) {
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.soft_limit = 1 << 20;
  options.limit = 2 << 20;
  options.oom_score_adj = 300;
  options.noswap = 1;
  weir_heap_t heap = weir_heap_create("statistics", &options);
  ASSERT_NE(heap, nullptr);
  weir_heap_malloc(heap, 100);
  weir_heap_malloc(heap, 1000000);
  const weir_heap_info info = stats(heap);
  EXPECT_STREQ(info.name, "statistics");
  EXPECT_EQ(info.charged, (16u << 10) + weir::align_up(1000000, 4096));
  EXPECT_EQ(info.charged, info.slabs + info.large);
  EXPECT_EQ(info.soft_limit, options.soft_limit);
  EXPECT_EQ(info.limit, options.limit);
  EXPECT_EQ(info.oom_score_adj, 300);
  EXPECT_EQ(info.noswap, 1u);
  EXPECT_EQ(info.objects, 2u);
  EXPECT_EQ(weir_heap_set_limit(heap, 0), 0);
  EXPECT_EQ(weir_heap_set_soft_limit(heap, 0), 0);
  EXPECT_EQ(weir_heap_set_oom_score_adj(heap, -1000), 0);
  EXPECT_EQ(weir_heap_set_oom_score_adj(heap, 1001), EINVAL);
  EXPECT_EQ(stats(heap).limit, 0u);
  EXPECT_EQ(stats(heap).oom_score_adj, -1000);
  struct {
    weir_heap_info info;
    char more[16];
  } later;
  memset(&later, 0xff, sizeof(later));
  EXPECT_EQ(weir_heap_stats(heap, &later.info, sizeof(later)), 0);
  EXPECT_TRUE(weir::is_zero(later.more, sizeof(later.more)));
  char name[WEIR_HEAP_NAME];
  EXPECT_EQ(weir_heap_name(heap, name, sizeof(name)), 0);
  EXPECT_STREQ(name, "statistics");
  EXPECT_EQ(weir_heap_name(heap, name, 5), 0);
  EXPECT_STREQ(name, "stat");
  EXPECT_EQ(weir_heap_find("statistics"), heap);
  EXPECT_EQ(weir_heap_find(std::string(100, 's').c_str()), nullptr);
  EXPECT_EQ(weir_heap_next(nullptr), heap);
  EXPECT_EQ(weir_heap_next(heap), nullptr);
  EXPECT_EQ(weir_heap_destroy(heap), 0);
}

// The child works with its copies, and the parent does not notice.
TEST_F(HeapApi, Fork) {
  weir_heap_t heap = make("family");
  std::vector<char*> objects;
  for (int i = 0; i < 1000; ++i) {
    objects.push_back(static_cast<char*>(weir_heap_malloc(heap, 200)));
    weir::write_pattern(objects.back(), 200, static_cast<uint64_t>(i));
  }
  char* large = static_cast<char*>(weir_heap_malloc(heap, 500000));
  const uint64_t charged = stats(heap).charged;
  const pid_t child = fork();
  if (child == 0) {
    for (size_t i = 0; i < 1000; ++i)
      if (!weir::check_pattern(objects[i], 200, 200, i)) _exit(1);
    if (weir_heap_of(objects[0]) != heap || weir_heap_find("family") != heap) _exit(2);
    for (size_t i = 0; i < 500; ++i) weir_free(objects[i]);
    if (weir_heap_malloc(heap, 100000) == nullptr) _exit(3);
    weir_free(large);
    if (weir_debug_verify() != 1) _exit(4);
    if (weir_heap_destroy(heap) != 0 || weir_heap_create("family", nullptr) == nullptr) _exit(5);
    _exit(weir_debug_verify() == 1 ? 0 : 6);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
  EXPECT_EQ(stats(heap).charged, charged);
  for (size_t i = 0; i < 1000; ++i) ASSERT_TRUE(weir::check_pattern(objects[i], 200, 200, i));
  EXPECT_EQ(weir_heap_destroy(heap), 0);
}

// Forks while other threads work in heaps, make and destroy them: the child's counts agree.
TEST_F(HeapApi, ForkWhileOthersWork) {
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!done.load()) {
        weir_heap_t heap = weir_heap_create(nullptr, nullptr);
        for (size_t i = 0; i < 50; ++i) weir_free(weir_heap_malloc(heap, i * 777));
        for (size_t i = 0; i < 50; ++i) weir_heap_malloc(heap, i * 777);
        weir_heap_destroy(heap);
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      if (weir_debug_verify() != 1) _exit(1);
      weir_heap_t heap = weir_heap_create("the child's", nullptr);
      if (heap == nullptr || weir_heap_malloc(heap, 100) == nullptr || weir_heap_malloc(heap, 100000) == nullptr)
        _exit(2);
      if (weir_heap_destroy(heap) != 0 || weir_debug_verify() != 1) _exit(3);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
  }
  done.store(true);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(weir_debug_verify(), 1);
}

TEST_F(HeapApiDeathTest, MisuseIsReportedWithTheHeap) {
  weir_heap_t heap = make("tenant-7");
  char* p = static_cast<char*>(weir_heap_malloc(heap, 100));
  char* large = static_cast<char*>(weir_heap_malloc(heap, 100000));
  weir_heap_malloc(heap, 100);
  EXPECT_DEATH((weir_free(p), weir_free(p)),
               "^weir: free: double free of 0x[0-9a-f]+ \\(size class 112; heap tenant-7\\)\n$");
  EXPECT_DEATH(
      weir_free(p + 16),
      "^weir: free: 0x[0-9a-f]+ points inside an object, not at its start \\(size class 112; heap tenant-7\\)\n$");
  EXPECT_DEATH((weir_free(large), weir_free(large)),
               "^weir: free: 0x[0-9a-f]+ was never given out, or was freed before \\(no size class: large or free "
               "pages\\)\n$");
  EXPECT_DEATH(weir_free(large + 4096), "was never given out, or was freed before");
  EXPECT_DEATH((weir_free(large), weir_realloc(large, 5)), "^weir: realloc: 0x[0-9a-f]+ was never given out");
  EXPECT_DEATH((weir_heap_destroy(heap), weir_free(p)), "was never given out, or was freed before");
  EXPECT_DEATH((weir_heap_destroy(heap), weir_free(large)), "was never given out, or was freed before");
  EXPECT_EQ(weir_heap_destroy(heap), 0);
}

}  // namespace
