// A heap in use beside a mapped file that is larger than memory: touches of each take turns, and the process looks at
// its own resident memory. For what happens to both under a limit of the whole process (rss_limit).
//
//   files [--heap 60M] [--file 300M] [--pattern scan|random] [--seconds S] [--dir /var/tmp]
//
// One line of JSON: touches of the heap and pages of the file a second, us each, resident memory on average and at
// most. `scan` reads all of each page, in sequence, again and again; `random` one word of any page.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "arguments.h"
#include "content.h"
#include "histogram.h"

namespace pressure {
namespace {

constexpr unsigned kInARow = 2000;
constexpr useconds_t kSampleUs = 5000;

uint64_t resident_pages() {
  char text[128] = {};
  const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  const ssize_t size = read(fd, text, sizeof(text) - 1);
  close(fd);
  const char* second = size > 0 ? strchr(text, ' ') : nullptr;
  return second != nullptr ? strtoull(second, nullptr, 10) : 0;
}

class Sampler {
 public:
  Sampler() : thread_([this] { run(); }) {}
  void finish() {
    stop_.store(true);
    thread_.join();
  }
  [[nodiscard]] double mean_mib() const { return static_cast<double>(sum_) / static_cast<double>(count_) / 256; }
  [[nodiscard]] double most_mib() const { return static_cast<double>(most_) / 256; }

 private:
  void run() {
    while (!stop_.load()) {
      const uint64_t now = resident_pages();
      most_ = std::max(most_, now);
      sum_ += now;
      ++count_;
      usleep(kSampleUs);
    }
  }

  std::atomic<bool> stop_{false};
  uint64_t most_ = 0, sum_ = 0, count_ = 0;
  std::thread thread_;
};

int make_file(const std::string& directory, uint64_t pages) {
  const int fd = open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) bench::fail("cannot make a file there");
  std::vector<uint64_t> page(kPageWords);
  for (uint64_t i = 0; i < pages; ++i) {
    page[0] = i;
    if (write(fd, page.data(), kPageSize) != static_cast<ssize_t>(kPageSize)) bench::fail("cannot write the file");
  }
  return fd;
}

int run(const Arguments& arguments) {
  const uint64_t heap_pages = arguments.size("heap", uint64_t{60} << 20) / kPageSize;
  const uint64_t file_pages = arguments.size("file", uint64_t{300} << 20) / kPageSize;
  const double seconds = arguments.real("seconds", 4, 0.1, 3600);
  const std::string pattern = arguments.text("pattern", "scan");
  if (pattern != "scan" && pattern != "random") arguments.bad(pattern.c_str(), "for --pattern scan or random");
  const int fd = make_file(arguments.text("dir", "/var/tmp"), file_pages);
  const Content content(0.7);
  auto* heap = static_cast<uint64_t*>(aligned_alloc(kPageSize, heap_pages * kPageSize));
  if (heap == nullptr) bench::fail("aligned_alloc returned null");
  for (uint64_t page = 0; page < heap_pages; ++page) content.fill(heap + page * kPageWords, page);
  void* mapped = mmap(nullptr, file_pages * kPageSize, PROT_READ, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) bench::fail("cannot map the file");
  const auto* file = static_cast<const volatile uint64_t*>(mapped);
  Sampler sampler;
  uint64_t random = 88172645463325252u, next = 0, touches = 0, heap_ns = 0, file_ns = 0, sum = 0;
  const auto any_of = [&random](uint64_t n) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return random % n;
  };
  const uint64_t start = now_ns(), end = start + static_cast<uint64_t>(seconds * 1e9);
  for (uint64_t before = start; before < end; touches += kInARow) {
    for (unsigned i = 0; i < kInARow; ++i)
      sum += *const_cast<const volatile uint64_t*>(heap + any_of(heap_pages) * kPageWords);
    const uint64_t between = now_ns();
    for (unsigned i = 0; i < kInARow; ++i) {
      const uint64_t page = pattern == "random" ? any_of(file_pages) : next;
      next = next + 1 == file_pages ? 0 : next + 1;
      const volatile uint64_t* words = file + page * kPageWords;
      if (words[0] != page) bench::fail("the file's content changed");
      for (unsigned word = 1; pattern == "scan" && word < kPageWords; ++word) sum += words[word];
    }
    const uint64_t after = now_ns();
    heap_ns += between - before;
    file_ns += after - between;
    before = after;
  }
  sampler.finish();
  const auto each = [touches](uint64_t ns) { return static_cast<double>(ns) / 1000 / static_cast<double>(touches); };
  printf(
      "{\"per_s\":%.0f,\"heap_us\":%.2f,\"file_us\":%.2f,\"resident_mib\":%.0f,\"resident_most_mib\":%.0f,\"sum\":%llu}"
      "\n",
      static_cast<double>(touches) / static_cast<double>(now_ns() - start) * 1e9, each(heap_ns), each(file_ns),
      sampler.mean_mib(), sampler.most_mib(), static_cast<unsigned long long>(sum & 1));
  return fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace pressure

int main(int argc, char** argv) {
  return pressure::run(pressure::Arguments(argc, argv, {"heap", "file", "pattern", "seconds", "dir"}));
}
