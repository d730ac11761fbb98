// Touches pages of malloc memory for a fixed time and reports how many and how long each took: the workload of
// bench/pressure. It knows nothing of weir, cgroups or swap; what it runs in decides where its pages are.
//
//   touch [--memory 256M] [--pattern NAME] [--threads N] [--seconds S] [--warm S] [--writes PERCENT]
//         [--compressibility 0..1] [--block 1M] [--seed N]
//
// It fills the memory, runs for the warm-up without measuring, then measures; each touch reads a word and checks it, or
// writes one. At the end every word of every page is checked. One line of JSON on standard output; wrong content ends
// with status 1 and a line that names the page.
#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "arguments.h"
#include "content.h"
#include "histogram.h"
#include "patterns.h"

namespace pressure {
namespace {

struct Setup {
  uint64_t pages;
  uint64_t block_pages;
  PatternKind pattern;
  unsigned threads;
  unsigned write_percent;
  uint64_t seed;
  Content content;
  double ticks_per_ns = 1;
  uint64_t** blocks = nullptr;
  pthread_barrier_t barrier{};
  uint64_t warm_ticks = 0, run_ticks = 0;

  uint64_t* memory(uint64_t page) const { return blocks[page / block_pages] + page % block_pages * kPageWords; }
};

[[noreturn]] void mismatch(uint64_t page, size_t index, uint64_t seen, uint64_t expected) {
  fprintf(stderr, "touch: wrong content: page %llu word %zu is %016llx, expected %016llx\n",
          static_cast<unsigned long long>(page), index, static_cast<unsigned long long>(seen),
          static_cast<unsigned long long>(expected));
  _Exit(1);
}

class Worker {
 public:
  void init(Setup& setup, unsigned id) {
    setup_ = &setup;
    id_ = id;
    rng_ = bench::Rng(setup.seed * 1000 + id);
    pattern_.init(setup.pattern, setup.pages, id, setup.threads);
    versions_ = static_cast<uint8_t*>(calloc(setup.pages, 1));
    if (versions_ == nullptr) bench::fail("calloc returned null");
  }

  void run() {
    touch_until(ticks() + setup_->warm_ticks);
    histogram_ = Histogram();
    pthread_barrier_wait(&setup_->barrier);
    started_ = ticks();
    touch_until(started_ + setup_->run_ticks);
    ended_ = ticks();
  }

  uint8_t version(uint64_t page) const { return versions_[page]; }
  const Histogram& histogram() const { return histogram_; }
  uint64_t started() const { return started_; }
  uint64_t ended() const { return ended_; }

 private:
  void touch_until(uint64_t end) {
    while (touch() < end) {
    }
  }

  // Only the access itself is timed, not choosing the page nor the check.
  uint64_t touch() {
    const uint64_t page = pattern_.next(rng_);
    const uint64_t random = rng_.next();
    size_t index = random % kPageWords;
    const bool write = (random >> 32) % 100 < setup_->write_percent;
    if (write || Content::may_be_slot(index)) index = Content::slot(page, id_);
    volatile uint64_t* word = setup_->memory(page) + index;
    const bool own = index == Content::slot(page, id_);
    if (write) ++versions_[page];
    const uint64_t value =
        own ? setup_->content.slot_word(page, id_, versions_[page]) : setup_->content.word(page, index);
    uint64_t seen = value;
    const uint64_t before = ticks();
    if (write) {
      *word = value;
    } else {
      seen = *word;
    }
    const uint64_t after = ticks();
    if (seen != value) mismatch(page, index, seen, value);
    histogram_.record(after - before);
    return after;
  }

  Setup* setup_ = nullptr;
  unsigned id_ = 0;
  bench::Rng rng_{0};
  Pattern pattern_;
  uint8_t* versions_ = nullptr;
  Histogram histogram_;
  uint64_t started_ = 0, ended_ = 0;
};

void allocate_and_fill(Setup& setup) {
  const uint64_t blocks = (setup.pages + setup.block_pages - 1) / setup.block_pages;
  setup.blocks = static_cast<uint64_t**>(calloc(blocks, sizeof(uint64_t*)));
  if (setup.blocks == nullptr) bench::fail("calloc returned null");
  for (uint64_t b = 0; b < blocks; ++b) {
    setup.blocks[b] = static_cast<uint64_t*>(aligned_alloc(kPageSize, setup.block_pages * kPageSize));
    if (setup.blocks[b] == nullptr) bench::fail("aligned_alloc returned null");
    const uint64_t end = std::min(setup.pages, (b + 1) * setup.block_pages);
    for (uint64_t page = b * setup.block_pages; page < end; ++page) setup.content.fill(setup.memory(page), page);
  }
}

// Every word of every page, each slot with the version its thread left it at.
void verify_all(const Setup& setup, const Worker* workers) {
  for (uint64_t page = 0; page < setup.pages; ++page) {
    const uint64_t* memory = setup.memory(page);
    for (unsigned t = 0; t < setup.threads; ++t) {
      const size_t index = Content::slot(page, t);
      const uint64_t expected = setup.content.slot_word(page, t, workers[t].version(page));
      if (memory[index] != expected) mismatch(page, index, memory[index], expected);
    }
    const size_t first = Content::slot(page, 0) / kLineWords;
    for (size_t index = 0; index < kPageWords; ++index) {
      const size_t from_first = (index / kLineWords + kPageLines - first) % kPageLines;
      if (Content::may_be_slot(index) && from_first < setup.threads) continue;
      const uint64_t expected = setup.content.word(page, index);
      if (memory[index] != expected) mismatch(page, index, memory[index], expected);
    }
  }
}

void* run_worker(void* worker) {
  static_cast<Worker*>(worker)->run();
  return nullptr;
}

void run_threads(Setup& setup, Worker* workers) {
  pthread_t threads[kMostThreads];
  for (unsigned t = 1; t < setup.threads; ++t) {
    if (pthread_create(&threads[t], nullptr, run_worker, &workers[t]) != 0) bench::fail("pthread_create failed");
  }
  workers[0].run();
  for (unsigned t = 1; t < setup.threads; ++t) pthread_join(threads[t], nullptr);
}

void report(const Setup& setup, const Worker* workers, const rusage& before, const rusage& after) {
  static Histogram all;
  double rate = 0;
  for (unsigned t = 0; t < setup.threads; ++t) {
    const Worker& w = workers[t];
    all.add(w.histogram());
    const double seconds = static_cast<double>(w.ended() - w.started()) / setup.ticks_per_ns * 1e-9;
    rate += static_cast<double>(w.histogram().total()) / seconds;
  }
  printf("{\"touches_per_s\":%.0f,\"touches\":%llu", rate, static_cast<unsigned long long>(all.total()));
  all.print(stdout, setup.ticks_per_ns);
  printf(",\"minflt\":%ld,\"majflt\":%ld,\"verified_pages\":%llu}\n", after.ru_minflt - before.ru_minflt,
         after.ru_majflt - before.ru_majflt, static_cast<unsigned long long>(setup.pages));
}

Setup parse(int argc, char** argv) {
  const Arguments arguments(
      argc, argv, {"memory", "pattern", "threads", "seconds", "warm", "writes", "compressibility", "block", "seed"});
  const uint64_t memory = arguments.size("memory", uint64_t{256} << 20);
  // The spreading in patterns.h wants at least some pages and fewer than 2^31; 8 TiB is enough.
  if (memory < 100 * kPageSize || memory / kPageSize >= uint64_t{1} << 31) {
    arguments.bad(arguments.text("memory", ""), "a --memory from 400K to 8191G");
  }
  const uint64_t block = arguments.size("block", uint64_t{1} << 20);
  if (block % kPageSize != 0) arguments.bad(arguments.text("block", ""), "a --block that is a multiple of 4096");
  const PatternKind pattern = pattern_named(arguments.text("pattern", "uniform"));
  if (pattern == PatternKind::kUnknown) arguments.bad(arguments.text("pattern", ""), kPatternNames);
  Setup setup{.pages = memory / kPageSize,
              .block_pages = block / kPageSize,
              .pattern = pattern,
              .threads = static_cast<unsigned>(arguments.number("threads", 1, 1, kMostThreads)),
              .write_percent = static_cast<unsigned>(arguments.number("writes", 30, 0, 100)),
              .seed = arguments.number("seed", 42, 0, UINT32_MAX),
              .content = Content(arguments.real("compressibility", 0.7, 0, 1))};
  const double run = arguments.real("seconds", 4, 0.01, 86400), warm = arguments.real("warm", 1, 0, 86400);
  setup.ticks_per_ns = measure_tick_rate();
  setup.run_ticks = static_cast<uint64_t>(run * 1e9 * setup.ticks_per_ns);
  setup.warm_ticks = static_cast<uint64_t>(warm * 1e9 * setup.ticks_per_ns);
  return setup;
}

int run(Setup& setup) {
  auto* workers = new Worker[setup.threads];
  for (unsigned t = 0; t < setup.threads; ++t) workers[t].init(setup, t);
  pthread_barrier_init(&setup.barrier, nullptr, setup.threads);
  rusage before{}, after{};
  allocate_and_fill(setup);
  getrusage(RUSAGE_SELF, &before);
  run_threads(setup, workers);
  getrusage(RUSAGE_SELF, &after);
  verify_all(setup, workers);
  report(setup, workers, before, after);
  return fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace pressure

int main(int argc, char** argv) {
  pressure::Setup setup = pressure::parse(argc, argv);
  return pressure::run(setup);
}
