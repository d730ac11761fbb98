// preload_mmap.cc: threads that map memory by themselves, and do to random parts of it what programs do by system
// calls: write, unmap, map anew (also a file) in its place, protect, give content up, move, cut and lengthen; a model
// says what each page holds. Now and then one forks, and the child checks what its thread had, and goes on with it for
// a while. Between them they use malloc, and hold twice as much as the limit under which the program is run.
//
// Usage: preload_mmap [--seconds N] [--threads N] [--seed N], preloaded, with a limit of 32 MiB. Exit status: 0 all
// well, 1 a mistake was found, 64 usage.
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "support/arguments.h"
#include "support/random.h"

// It comes from the library that is preloaded.
extern "C" __attribute__((weak)) int weir_debug_verify();

namespace weir {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kMostPages = 3000;
constexpr size_t kData = size_t{64} << 20;
constexpr unsigned kChildSeconds = 120;
char* const kWish = reinterpret_cast<char*>(0x1228a7200000);  // where nothing is
constexpr int kReadWrite = PROT_READ | PROT_WRITE;
constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;

std::atomic<bool> stop{false};
std::atomic<uint64_t> operations{0}, forks{0};

[[noreturn]] void failed(const char* what, const void* p, size_t pages) {
  fprintf(stderr, "preload_mmap: process %d: %s: %p, %zu pages, %s\n", static_cast<int>(getpid()), what, p, pages,
          strerror(errno));
  abort();
}

struct Page {
  uint64_t seed = 0;  // 0: zeros
  int protection = kReadWrite;
  bool of_file = false;
};

struct Region {
  char* begin = nullptr;
  std::vector<Page> pages{};
};

class Worker {
 public:
  Worker(uint64_t seed, size_t bytes) : random_(seed), most_(bytes / kPage) {}

  void run() {
    while (!stop.load(std::memory_order_relaxed)) {
      step();
      operations.fetch_add(1, std::memory_order_relaxed);
      if (random_.below(400) == 0) fork_once();
    }
    for (Region& region : regions_) check(region, 0, region.pages.size());
    while (!regions_.empty()) drop(regions_.size() - 1);
  }

 private:
  void step() {
    if (random_.below(8) == 0) use_malloc();
    if (regions_.empty() || (held_ < most_ && random_.below(3) == 0)) return map_new();
    const size_t which = random_.below(regions_.size());
    Region& region = regions_[which];
    const size_t first = random_.below(region.pages.size());
    const size_t count = 1 + random_.below(region.pages.size() - first);
    const uint64_t what = random_.below(100);
    if (what < 30)
      write(region, first, std::min<size_t>(count, 64));
    else if (what < 60)
      check(region, first, std::min<size_t>(count, 256));
    else if (what < 68)
      unmap(region, first, count);
    else if (what < 74)
      renew(region, first, count);
    else if (what < 82)
      protect(region, first, count);
    else if (what < 88)
      give_up(region, first, count);
    else if (what < 92)
      resize(which);
    else if (what < 94)
      map_file(region, first, count);
    else if (held_ > most_ / 2)
      drop(which);
  }

  void use_malloc() {
    const size_t bytes = 1 + random_.below(300000);
    char* p = static_cast<char*>(malloc(bytes));
    if (p == nullptr) return;
    memset(p, 1, bytes);
    free(p);
  }

  void map_new() {
    Region region;
    const size_t pages = 32 + random_.below(random_.below(4) == 0 ? kMostPages : 400);
    const bool reserved = random_.below(4) == 0;
    // An address that is not granted, or, when a few in a row were given back, by the kernel.
    void* const wish = random_.below(8) == 0 ? kWish + random_.below(1 << 20) * kPage : nullptr;
    void* p = mmap(wish, pages * kPage, reserved ? PROT_NONE : kReadWrite, kAnonymous, -1, 0);
    if (p == MAP_FAILED) return;  // the limit
    if (wish != nullptr && random_.below(16) != 0) {
      if (munmap(p, pages * kPage) != 0) failed("munmap of what lies elsewhere", p, pages);
      return;
    }
    region.begin = static_cast<char*>(p);
    region.pages.resize(pages);
    if (reserved)
      for (Page& page : region.pages) page.protection = PROT_NONE;
    held_ += pages;
    regions_.push_back(std::move(region));
    check(regions_.back(), 0, pages);
  }

  void drop(size_t which) {
    Region& region = regions_[which];
    if (munmap(region.begin, region.pages.size() * kPage) != 0) failed("munmap", region.begin, region.pages.size());
    held_ -= region.pages.size();
    std::swap(region, regions_.back());
    regions_.pop_back();
  }

  static uint64_t word(uint64_t seed, size_t i) { return seed % 4 == 0 ? seed : (seed ^ i) * 0x9e3779b97f4a7c15u; }

  void write(Region& region, size_t first, size_t count) {
    for (size_t i = first; i < first + count; ++i) {
      Page& page = region.pages[i];
      if (page.protection != kReadWrite) continue;
      page.seed = random_.next() | 1;
      if (random_.below(3) != 0) page.seed = page.seed * 4;
      if (page.seed == 0) page.seed = 4;
      auto* words = reinterpret_cast<uint64_t*>(region.begin + i * kPage);
      for (size_t w = 0; w < kPage / 8; ++w) words[w] = word(page.seed, w);
    }
  }

  void check(const Region& region, size_t first, size_t count) const {
    for (size_t i = first; i < first + count; ++i) {
      const Page& page = region.pages[i];
      if (page.protection == PROT_NONE) continue;
      const auto* words = reinterpret_cast<const volatile uint64_t*>(region.begin + i * kPage);
      for (size_t w = 0; w < kPage / 8; ++w)
        if (words[w] != (page.seed == 0 ? 0 : word(page.seed, w)))
          failed("wrong content", region.begin + i * kPage, region.pages.size());
    }
  }

  void unmap(Region& region, size_t first, size_t count) {
    char* const at = region.begin + first * kPage;
    // What lies in the middle would be somebody else's soon: that is left to the ends.
    if (first != 0 && first + count != region.pages.size()) return;
    if (munmap(at, count * kPage) != 0) failed("munmap of a part", at, count);
    held_ -= count;
    if (first == 0) {
      region.pages.erase(region.pages.begin(), region.pages.begin() + static_cast<ptrdiff_t>(count));
      region.begin += count * kPage;
    } else {
      region.pages.resize(first);
    }
    if (!region.pages.empty()) return;
    std::swap(region, regions_.back());
    regions_.pop_back();
  }

  void renew(Region& region, size_t first, size_t count) {
    char* const at = region.begin + first * kPage;
    const int protection = random_.below(3) == 0 ? PROT_NONE : random_.below(3) == 0 ? PROT_READ : kReadWrite;
    const void* p = mmap(at, count * kPage, protection, kAnonymous | MAP_FIXED, -1, 0);
    if (p != at) failed("mmap in the place of a part", at, count);
    for (size_t i = first; i < first + count; ++i) region.pages[i] = {0, protection, false};
  }

  // A shared mapping of a file of zeros takes the place of a part.
  void map_file(Region& region, size_t first, size_t count) {
    char path[] = "/var/tmp/weir-test-XXXXXX";
    const int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0 || unlink(path) != 0 || ftruncate(fd, static_cast<off_t>(count * kPage)) != 0)
      failed("a file cannot be made", path, count);
    char* const at = region.begin + first * kPage;
    // Private, so that a child of a fork has its own.
    const void* p = mmap(at, count * kPage, kReadWrite, MAP_PRIVATE | MAP_FIXED, fd, 0);
    if (p != at) failed("mmap of a file in the place of a part", at, count);
    close(fd);
    for (size_t i = first; i < first + count; ++i) region.pages[i] = {0, kReadWrite, true};
  }

  void protect(Region& region, size_t first, size_t count) {
    const int protection = random_.below(3) == 0 ? PROT_NONE : random_.below(2) == 0 ? PROT_READ : kReadWrite;
    char* const at = region.begin + first * kPage;
    if (mprotect(at, count * kPage, protection) != 0) failed("mprotect", at, count);
    for (size_t i = first; i < first + count; ++i) region.pages[i].protection = protection;
  }

  void give_up(Region& region, size_t first, size_t count) {
    char* const at = region.begin + first * kPage;
    if (madvise(at, count * kPage, MADV_DONTNEED) != 0) failed("madvise", at, count);
    for (size_t i = first; i < first + count; ++i) region.pages[i].seed = 0;
  }

  // Only of memory that can be written throughout, as the kernel moves mappings of one kind.
  void resize(size_t which) {
    Region& region = regions_[which];
    for (const Page& page : region.pages)
      if (page.protection != kReadWrite || page.of_file) return;
    const size_t before = region.pages.size(), pages = 32 + random_.below(kMostPages);
    void* p = mremap(region.begin, before * kPage, pages * kPage, random_.below(4) == 0 ? 0 : MREMAP_MAYMOVE);
    if (p == MAP_FAILED) return;
    region.begin = static_cast<char*>(p);
    region.pages.resize(pages);
    held_ = held_ + pages - before;
    check(region, 0, pages);
  }

  void fork_once() {
    const pid_t child = fork();
    if (child < 0) return;
    if (child == 0) {
      alarm(kChildSeconds);
      for (const Region& region : regions_) check(region, 0, region.pages.size());
      for (int i = 0; i < 150; ++i) step();
      for (const Region& region : regions_) check(region, 0, region.pages.size());
      _exit(0);
    }
    forks.fetch_add(1, std::memory_order_relaxed);
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
      if (errno != EINTR) failed("waitpid", nullptr, 0);
    if (status != 0) failed("a child ended badly", nullptr, static_cast<size_t>(status));
  }

  Random random_;
  const size_t most_;  // pages
  size_t held_ = 0;
  std::vector<Region> regions_;
};

int run(const StressArguments& arguments) {
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < arguments.threads; ++i)
    threads.emplace_back([&arguments, i] { Worker(arguments.seed * 1000 + i, kData / arguments.threads).run(); });
  struct timespec left = {static_cast<time_t>(arguments.seconds), 0};
  while (nanosleep(&left, &left) != 0) {
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  if (weir_debug_verify != nullptr && weir_debug_verify() != 1) failed("not whole", nullptr, 0);
  printf("preload_mmap: %llu operations, %llu forks\n", static_cast<unsigned long long>(operations.load()),
         static_cast<unsigned long long>(forks.load()));
  return 0;
}

}  // namespace
}  // namespace weir

int main(int argc, char** argv) {
  return weir::run(weir::parse_stress_arguments("preload_mmap", argc, argv));
}
