// How long a thread waits for one page that is not there: the round trip of a fault.
//
//   fault_trip --mode bare [--handler same|follow|other]   a bare userfaultfd: one thread touches missing pages,
//   another
//                                                          reads the fault and answers with UFFDIO_COPY, nothing else
//   fault_trip --mode heap [--memory 256M] [--content mixed|same]
//                                                          malloc memory larger than the limit it runs under; only
//                                                          touches of pages that are not present are timed
//   both: [--seconds S] [--burst N] [--pause-us N] [--compressibility 0..1]
//
// same: handler and toucher on one CPU. follow: the handler moves to the toucher's CPU, read from its rseq area, before
// it answers. other: on two CPUs. Both modes touch in bursts with pauses, so that what runs in the background (reclaim)
// is not what is measured; and both look up each page in /proc/self/pagemap first. One line of JSON; wrong content ends
// with status 1.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "arguments.h"
#include "content.h"
#include "histogram.h"

namespace pressure {
namespace {

constexpr uint64_t kBarePages = 8192;      // 32 MiB: more than a cache, and few enough to be dropped quickly
constexpr uint64_t kMostMisses = 1000000;  // touches in a row that find their page present: nothing is ever swapped
constexpr uint64_t kPresent = uint64_t{1} << 63;

enum class Placing { kSame, kFollow, kOther };

struct Bare {
  char* memory = nullptr;
  int uffd = -1;
  Placing placing = Placing::kSame;
  const volatile uint32_t* toucher_cpu = nullptr;  // of its rseq area
  Content content;
};

[[noreturn]] void fail_errno(const char* what) {
  fprintf(stderr, "fault_trip: %s: %s\n", what, strerror(errno));
  _Exit(1);
}

void move_to_cpu(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

const volatile uint32_t* own_rseq_cpu() {
  const char* area = static_cast<const char*>(__builtin_thread_pointer()) + __rseq_offset;
  return &reinterpret_cast<const volatile struct rseq*>(area)->cpu_id;
}

void open_uffd(Bare& bare) {
  bare.uffd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));
  if (bare.uffd < 0) fail_errno("userfaultfd (needs root or vm.unprivileged_userfaultfd=1)");
  uffdio_api api{};
  api.api = UFFD_API;
  if (ioctl(bare.uffd, UFFDIO_API, &api) != 0) fail_errno("UFFDIO_API");
  const size_t bytes = kBarePages * kPageSize;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail_errno("mmap");
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  bare.memory = static_cast<char*>(memory);
  uffdio_register range{};
  range.range = {reinterpret_cast<uint64_t>(memory), bytes};
  range.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (ioctl(bare.uffd, UFFDIO_REGISTER, &range) != 0) fail_errno("UFFDIO_REGISTER");
}

// Answers every fault with one prepared page: the copy is what any handler has to do.
void* handle_faults(void* argument) {
  auto& bare = *static_cast<Bare*>(argument);
  alignas(kPageSize) static uint64_t source[kPageWords];
  bare.content.fill(source, 0);
  unsigned cpu = bare.placing == Placing::kOther ? 1 : 0;
  move_to_cpu(cpu);
  for (;;) {
    uffd_msg message;
    if (read(bare.uffd, &message, sizeof(message)) != sizeof(message)) continue;
    if (message.event != UFFD_EVENT_PAGEFAULT) continue;
    if (bare.placing == Placing::kFollow && *bare.toucher_cpu != cpu) move_to_cpu(cpu = *bare.toucher_cpu);
    uffdio_copy copy{};
    copy.dst = message.arg.pagefault.address & ~uint64_t{kPageSize - 1};
    copy.src = reinterpret_cast<uint64_t>(source);
    copy.len = kPageSize;
    if (ioctl(bare.uffd, UFFDIO_COPY, &copy) != 0 && errno != EEXIST) fail_errno("UFFDIO_COPY");
  }
  return nullptr;
}

class Timer {
 public:
  Timer(uint64_t burst, uint64_t pause_us) : burst_(burst), pause_us_(pause_us) {
    pagemap_ = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pagemap_ < 0) fail_errno("/proc/self/pagemap");
  }

  // Times a read of the word when its page is not present; whether it was timed.
  bool touch(const volatile uint64_t* word, uint64_t expected) {
    uint64_t entry = 0;
    const uint64_t number = reinterpret_cast<uint64_t>(word) / kPageSize;
    if (pread(pagemap_, &entry, sizeof(entry), static_cast<off_t>(number * sizeof(entry))) != sizeof(entry)) {
      fail_errno("reading /proc/self/pagemap");
    }
    const bool missing = (entry & kPresent) == 0;
    const uint64_t before = ticks();
    const uint64_t seen = *word;
    const uint64_t after = ticks();
    if (seen != expected) bench::fail("fault_trip: wrong content");
    if (!missing) return false;
    histogram_.record(after - before);
    sum_ += after - before;
    if (histogram_.total() % burst_ == 0) usleep(static_cast<useconds_t>(pause_us_));
    return true;
  }

  int report(double ticks_per_ns) const {
    const uint64_t n = histogram_.total();
    printf("{\"faults\":%llu", static_cast<unsigned long long>(n));
    if (n != 0) {
      printf(",\"mean_ns\":%.0f", static_cast<double>(sum_) / static_cast<double>(n) / ticks_per_ns);
      histogram_.print(stdout, ticks_per_ns);
    }
    printf("}\n");
    return fflush(stdout) == 0 ? 0 : 1;
  }

 private:
  int pagemap_;
  uint64_t burst_, pause_us_;
  uint64_t sum_ = 0;
  Histogram histogram_;
};

uint64_t end_of_run(double seconds) {
  return now_ns() + static_cast<uint64_t>(seconds * 1e9);
}

void run_bare(Bare& bare, Timer& timer, double seconds) {
  open_uffd(bare);
  bare.toucher_cpu = own_rseq_cpu();
  if (bare.placing != Placing::kFollow) move_to_cpu(0);
  pthread_t handler;
  if (pthread_create(&handler, nullptr, handle_faults, &bare) != 0) bench::fail("pthread_create failed");
  for (const uint64_t end = end_of_run(seconds); now_ns() < end;) {
    madvise(bare.memory, kBarePages * kPageSize, MADV_DONTNEED);
    // An odd stride through a power of two: every page once, none beside the one before.
    for (uint64_t i = 0, page = 0; i < kBarePages && now_ns() < end; ++i, page = (page + 4099) % kBarePages) {
      const size_t index = i % kPageWords;
      const auto* word = reinterpret_cast<const volatile uint64_t*>(bare.memory + page * kPageSize) + index;
      timer.touch(word, bare.content.word(0, index));
    }
  }
}

void run_heap(const Content& content, bool same, uint64_t bytes, Timer& timer, double seconds) {
  const uint64_t pages = bytes / kPageSize;
  auto* memory = static_cast<uint64_t*>(aligned_alloc(kPageSize, bytes));
  if (memory == nullptr) bench::fail("aligned_alloc returned null");
  const auto expected = [&](uint64_t page, size_t index) { return same ? page + 1 : content.word(page, index); };
  for (uint64_t page = 0; page < pages; ++page) {
    for (size_t i = 0; i < kPageWords; ++i) memory[page * kPageWords + i] = expected(page, i);
  }
  bench::Rng rng(42);
  uint64_t misses = 0;
  for (const uint64_t end = end_of_run(seconds); now_ns() < end && misses < kMostMisses;) {
    const uint64_t page = rng.below(pages);
    const size_t index = rng.below(kPageWords);
    misses = timer.touch(memory + page * kPageWords + index, expected(page, index)) ? 0 : misses + 1;
  }
  free(memory);
}

int run(const Arguments& arguments) {
  const char* mode = arguments.text("mode", "bare");
  const char* placing = arguments.text("handler", "same");
  const char* kind = arguments.text("content", "mixed");
  const Content content(arguments.real("compressibility", 0.7, 0, 1));
  const double seconds = arguments.real("seconds", 2, 0.01, 3600);
  const uint64_t bytes = arguments.size("memory", uint64_t{256} << 20) & ~uint64_t{kPageSize - 1};
  if (bytes == 0 || bytes / kPageSize > UINT32_MAX) arguments.bad(arguments.text("memory", ""), "4K to 16384G");
  Timer timer(arguments.number("burst", 32, 1, UINT32_MAX), arguments.number("pause-us", 2000, 0, 1000000));
  const bool same_content = strcmp(kind, "same") == 0;
  if (!same_content && strcmp(kind, "mixed") != 0) arguments.bad(kind, "--content mixed or same");
  const double ticks_per_ns = measure_tick_rate();
  if (strcmp(mode, "heap") == 0) {
    run_heap(content, same_content, bytes, timer, seconds);
  } else if (strcmp(mode, "bare") == 0) {
    const bool follow = strcmp(placing, "follow") == 0, other = strcmp(placing, "other") == 0;
    if (!follow && !other && strcmp(placing, "same") != 0) arguments.bad(placing, "--handler same, follow or other");
    static Bare bare{.placing = follow  ? Placing::kFollow
                                : other ? Placing::kOther
                                        : Placing::kSame,
                     .content = content};
    run_bare(bare, timer, seconds);
  } else {
    arguments.bad(mode, "--mode bare or heap");
  }
  const int status = timer.report(ticks_per_ns);
  // Without exit: the handler thread is still in its read.
  if (strcmp(mode, "bare") == 0) _Exit(status);
  return status;
}

}  // namespace
}  // namespace pressure

int main(int argc, char** argv) {
  return pressure::run(pressure::Arguments(
      argc, argv, {"mode", "handler", "memory", "content", "seconds", "burst", "pause-us", "compressibility"}));
}
