// file_stress.cc: threads that map files, give parts of the mappings up, put memory of their own in their place, make
// private ones writable and move them, while others look at what is mapped, drop it and recount it all the time, and
// have what was changed there written to the disk. What was written is checked whenever it is read, so that a page that
// is dropped where it must not be is found.
//
// Usage: file_stress [--seconds N] [--threads N] [--seed N]. Exit status: 0 all well, 1 a mistake was found, 64 usage.
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "file/file_pages.h"
#include "file/flusher.h"
#include "os/file.h"
#include "os/page_scan.h"
#include "os/proc.h"
#include "os/uffd.h"
#include "support/arguments.h"
#include "support/random.h"

namespace weir {
namespace {

// Of each thread's file: some chunks, and a part of one.
constexpr size_t kPages = 11 * kChunkPages + 17;
constexpr size_t kWords = kPageSize / sizeof(uint64_t);

[[noreturn]] void failed(const char* what, const void* p, size_t page) {
  fprintf(stderr, "file_stress: %s: %p, page %zu\n", what, p, page);
  abort();
}

// What a page of a mapping holds: its file's page `at`, or, where `own` is not 0, a number of the thread's own.
struct Page {
  bool mapped = false;
  size_t at = 0;
  uint64_t own = 0;
};

class Worker {
 public:
  Worker(FilePages& files, uint64_t seed) : files_(files), random_(seed) {
    fd_ = mkostemp(path_, O_CLOEXEC);
    if (fd_ < 0 || ftruncate(fd_, static_cast<off_t>(kPages * kPageSize)) != 0) failed("no room for files", nullptr, 0);
    for (size_t page = 0; page < kPages; ++page) write(page);
  }
  ~Worker() {
    drop_mapping();
    close(fd_);
    unlink(path_);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void step() {
    if (begin_ == nullptr || random_.below(40) == 0) map_anew();
    const size_t first = random_.below(pages_.size());
    const size_t count = 1 + random_.below(std::min(pages_.size() - first, size_t{3 * kChunkPages}));
    switch (random_.below(12)) {
      case 0:
        return unmap(first, count);
      case 1:
        return replace(first, count);
      case 2:
        return make_writable(first, count);
      case 3:
        return move();
      case 4:
        return write_through();
      default:
        return check(first, count);
    }
  }
  void check_all() { check(0, pages_.size()); }

 private:
  char* address(size_t page) const { return begin_ + page * kPageSize; }

  void write(size_t page) {
    numbers_[page] = random_.next() | 1;
    std::vector<uint64_t> words(kWords, numbers_[page]);
    if (pwrite(fd_, words.data(), kPageSize, static_cast<off_t>(page * kPageSize)) != static_cast<ssize_t>(kPageSize))
      failed("no room for files", nullptr, page);
  }
  void drop_mapping() {
    if (begin_ == nullptr) return;
    // What was given up may be another thread's by now.
    for (size_t first = 0; first < pages_.size();) {
      size_t end = first;
      while (end < pages_.size() && pages_[end].mapped) ++end;
      if (end != first) unmap(first, end - first);
      first = end + 1;
    }
    begin_ = nullptr;
  }
  void map_anew() {
    drop_mapping();
    kind_ = static_cast<FilePages::Kind>(random_.below(3));
    const size_t first = random_.below(kChunkPages), bytes = (kPages - first) * kPageSize;
    const int protection = PROT_READ | (kind_ == FilePages::Kind::kWritable ? PROT_WRITE : 0);
    void* p = mmap(nullptr, bytes, protection, kind_ == FilePages::Kind::kPrivate ? MAP_PRIVATE : MAP_SHARED, fd_,
                   static_cast<off_t>(first * kPageSize));
    if (p == MAP_FAILED) failed("cannot map", nullptr, first);
    begin_ = static_cast<char*>(p);
    pages_.assign(kPages - first, Page());
    for (size_t i = 0; i < pages_.size(); ++i) pages_[i] = {true, first + i, 0};
    files_.add(begin_, bytes, kind_);
  }
  void unmap(size_t first, size_t count) {
    for (size_t i = first; i < first + count; ++i)
      if (!pages_[i].mapped) return;
    files_.forget(address(first), count * kPageSize);
    munmap(address(first), count * kPageSize);
    for (size_t i = first; i < first + count; ++i) pages_[i] = Page();
  }
  // By memory of the thread's own, which nobody else has.
  void replace(size_t first, size_t count) {
    for (size_t i = first; i < first + count; ++i)
      if (!pages_[i].mapped) return;
    files_.forget(address(first), count * kPageSize);
    if (mmap(address(first), count * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) != address(first))
      failed("cannot map over it", address(first), first);
    fill(first, count);
  }
  void make_writable(size_t first, size_t count) {
    if (kind_ != FilePages::Kind::kPrivate) return;
    for (size_t i = first; i < first + count; ++i)
      if (!pages_[i].mapped) return;
    files_.make_writable(address(first), count * kPageSize);
    if (mprotect(address(first), count * kPageSize, PROT_READ | PROT_WRITE) != 0)
      failed("cannot make it writable", address(first), first);
    fill(first, count);
  }
  void fill(size_t first, size_t count) {
    for (size_t i = first; i < first + count; ++i) {
      pages_[i] = {true, 0, random_.next() | 1};
      auto* words = reinterpret_cast<uint64_t*>(address(i));
      words[0] = words[kWords - 1] = pages_[i].own;
    }
  }
  // Where it is one mapping still.
  void move() {
    for (const Page& page : pages_)
      if (!page.mapped || page.own != 0) return;
    const size_t bytes = pages_.size() * kPageSize;
    files_.forget(begin_, bytes);
    void* p = mremap(begin_, bytes, bytes, MREMAP_MAYMOVE);
    if (p == MAP_FAILED) failed("cannot move", begin_, 0);
    begin_ = static_cast<char*>(p);
    files_.add(begin_, bytes, kind_);
  }
  // Through the file, or through the mapping.
  void write_through() {
    const size_t i = random_.below(pages_.size());
    if (!pages_[i].mapped || pages_[i].own != 0) return;
    if (kind_ != FilePages::Kind::kWritable) return write(pages_[i].at);
    numbers_[pages_[i].at] = random_.next() | 1;
    auto* words = reinterpret_cast<uint64_t*>(address(i));
    words[0] = words[kWords - 1] = numbers_[pages_[i].at];
  }
  void check(size_t first, size_t count) {
    for (size_t i = first; i < first + count; ++i) {
      if (!pages_[i].mapped) continue;
      const uint64_t wanted = pages_[i].own != 0 ? pages_[i].own : numbers_[pages_[i].at];
      const auto* words = reinterpret_cast<const volatile uint64_t*>(address(i));
      if (words[0] != wanted || words[kWords - 1] != wanted) failed("content changed", address(i), i);
    }
  }

  FilePages& files_;
  Random random_;
  // Not in /tmp, which may be memory; by its name the flusher opens it.
  char path_[32] = "/var/tmp/weir-test-XXXXXX";
  int fd_ = -1;
  uint64_t numbers_[kPages] = {};  // what the file's pages hold
  char* begin_ = nullptr;
  FilePages::Kind kind_ = FilePages::Kind::kReadOnly;
  std::vector<Page> pages_;
};

// What kswapd does, all the time.
void reclaim(FilePages& files, const std::atomic<bool>& stop, uint64_t seed, uint64_t& dropped) {
  Random random(seed);
  const int proc = os::open_directory("/proc");
  FilePages::Look how;
  how.pagemap = os::open_pagemap(proc);
  how.silent_uffd = os::uffd_open_silent();
  how.others = Pages(kPages);
  while (!stop.load()) {
    how.activates = random.below(2) == 0;
    files.look(how);
    dropped += files.shrink(Pages(random.below(4 * kPages))).dropped;
    if (const char* wrong = files.verify()) failed(wrong, nullptr, 0);
  }
  if (how.silent_uffd >= 0) os::close_descriptor(how.silent_uffd);
  os::close_descriptor(how.pagemap);
  os::close_descriptor(proc);
}

// What the thread for it does, all the time; returns the pages that were written.
uint64_t flush(FilePages& files, const std::atomic<bool>& stop, uint64_t seed) {
  Random random(seed);
  const int proc = os::open_directory("/proc");
  const auto flusher = std::make_unique<Flusher>();
  const auto round = [&] {
    const FlushPolicy policy = {random.below(2 * kPages), random.below(8 * kPages), random.below(100), 1};
    flusher->run(files, policy, proc, os::now_ms());
  };
  while (!stop.load()) round();
  // By then all mappings are given up.
  while (!files.is_empty()) round();
  round();
  if (flusher->holds_any()) failed("a file is kept open", nullptr, 0);
  os::close_descriptor(proc);
  return flusher->written();
}

void run(const StressArguments& arguments) {
  FilePages files;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  uint64_t dropped = 0, written = 0;
  for (uint64_t t = 0; t < arguments.threads; ++t) {
    threads.emplace_back([&files, &stop, seed = arguments.seed * 1000 + t] {
      Worker worker(files, seed);
      for (unsigned step = 0; !stop.load(); ++step) {
        worker.step();
        if (step % 256 == 0) worker.check_all();
      }
      worker.check_all();
    });
  }
  threads.emplace_back([&] { reclaim(files, stop, arguments.seed, dropped); });
  threads.emplace_back([&] { written = flush(files, stop, arguments.seed + 1); });
  const timespec pause = {static_cast<time_t>(arguments.seconds), 0};
  nanosleep(&pause, nullptr);
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  if (const char* wrong = files.verify()) failed(wrong, nullptr, 0);
  if (!files.is_empty()) failed("mappings are left", nullptr, 0);
  if (dropped == 0) failed("nothing was dropped", nullptr, 0);
  // None where the kernel does not tell what is dirty, or names of files are not their own (overlayfs, btrfs).
  printf("file_stress: %llu pages were dropped, %llu written\n", static_cast<unsigned long long>(dropped),
         static_cast<unsigned long long>(written));
}

}  // namespace
}  // namespace weir

int main(int argc, char** argv) {
  weir::run(weir::parse_stress_arguments("file_stress", argc, argv));
  return 0;
}
