// alloc_stress.cc: many threads on one private allocator. They allocate, resize and free, hand blocks to each other
// through mailboxes, and give their caches back and take new ones as threads that end and start do; one more thread
// ticks, trims and verifies meanwhile. All blocks carry content that is checked by whoever frees them.
//
// Usage: alloc_stress [--seconds N] [--threads N] [--seed N]. Exit status: 0 all well, 1 a mistake was found, 64 usage.
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "malloc/heap_report.h"
#include "support/arguments.h"
#include "support/pattern.h"
#include "support/private_allocator.h"
#include "support/random.h"

namespace weir {
namespace {

constexpr unsigned kNodes = 4;
constexpr unsigned kMemoryless = 2;
// Of each node. Small enough that nodes run full now and then and threads fall back to others.
constexpr size_t kCapacity = size_t{112} << 20;
// Bytes that a thread keeps at most; with eight threads the three nodes with memory then are nearly full at times.
constexpr size_t kMostLivePerThread = size_t{40} << 20;

struct Block {
  void* p = nullptr;
  size_t size = 0;
  uint64_t seed = 0;
};

[[noreturn]] void failed(const char* what, const void* p, size_t size) {
  fprintf(stderr, "alloc_stress: %s: %p, %zu bytes\n", what, p, size);
  abort();
}

// Blocks on their way to another thread.
class Mailbox {
 public:
  bool put(const Block& block) {
    std::lock_guard guard(mutex_);
    if (blocks_.size() >= kMost) return false;
    blocks_.push_back(block);
    return true;
  }
  std::vector<Block> take_all() {
    std::lock_guard guard(mutex_);
    return std::exchange(blocks_, {});
  }

 private:
  // More would only make blocks old; the sender keeps what does not fit.
  static constexpr size_t kMost = 4096;
  std::mutex mutex_;
  std::vector<Block> blocks_;
};

struct Shared {
  explicit Shared(unsigned threads) : mailboxes(threads) {}
  PrivateAllocator a;
  std::vector<Mailbox> mailboxes;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> operations{0};
  std::atomic<uint64_t> refused{0};
};

class Worker {
 public:
  Worker(Shared& shared, unsigned id, uint64_t seed) : s_(shared), id_(id), random_(seed * 1000 + id) { attach(); }

  void run() {
    while (!s_.stop.load(std::memory_order_relaxed)) {
      for (int i = 0; i < 64; ++i) step();
      s_.operations.fetch_add(64, std::memory_order_relaxed);
      receive();
      if (random_.below(200) == 0) restart();
    }
  }

  // Once nobody sends any more.
  void finish() {
    receive();
    while (!live_.empty()) release(take_any());
    detach();
  }

 private:
  void attach() {
    // Some of the time, a thread has no cache: before its first allocation and after its end.
    if (random_.below(16) == 0) return;
    cache_ = s_.a->attach();
    if (cache_ == nullptr) return;
    cache_->node = s_.a.topology().zonelist(to_node_id(static_cast<unsigned>(random_.below(kNodes))))[0].v;
  }
  void detach() {
    if (cache_ != nullptr && s_.a->detach(cache_).misuse != Misuse::kNone) failed("detach found misuse", cache_, 0);
    cache_ = nullptr;
  }
  void restart() {
    detach();
    attach();
  }

  void step() {
    const uint64_t what = random_.below(100);
    if (what < 45 && live_bytes_ < kMostLivePerThread)
      allocate();
    else if (live_.empty())
      return;
    else if (what < 70)
      release(take_any());
    else if (what < 85)
      resize();
    else
      send();
  }

  void allocate() {
    Block block{nullptr, random_size(random_), random_.next()};
    const uint64_t kind = random_.below(10);
    const size_t alignment = size_t{1} << random_.below(14);
    if (kind < 7)
      block.p = s_.a.malloc(cache_, block.size);
    else if (kind < 9)
      block.p = s_.a.calloc(cache_, block.size);
    else
      block.p = s_.a.memalign(cache_, alignment, block.size);
    if (block.p == nullptr) {
      s_.refused.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    if (kind == 9 && reinterpret_cast<uintptr_t>(block.p) % alignment != 0) failed("misaligned", block.p, block.size);
    const size_t looked_at = block.size < kDensePattern ? block.size : kDensePattern;
    if (kind >= 7 && kind < 9 && !is_zero(block.p, looked_at)) failed("calloc is not zero", block.p, block.size);
    write_pattern(block.p, block.size, block.seed);
    keep(block);
  }

  void resize() {
    Block block = take_any();
    const size_t size = 1 + random_size(random_);
    void* p = s_.a.realloc(cache_, block.p, size);
    if (p == nullptr) {
      s_.refused.fetch_add(1, std::memory_order_relaxed);
      keep(block);
      return;
    }
    if (!check_pattern(p, size < block.size ? size : block.size, block.size, block.seed))
      failed("resize lost content", p, size);
    block = {p, size, random_.next()};
    write_pattern(p, size, block.seed);
    keep(block);
  }

  void send() {
    const Block block = take_any();
    if (!s_.mailboxes[random_.below(s_.mailboxes.size())].put(block)) keep(block);
  }

  // Half is freed here, by a thread that did not allocate it; the rest lives on here.
  void receive() {
    for (const Block& block : s_.mailboxes[id_].take_all()) {
      if (random_.below(2) == 0)
        release(block);
      else
        keep(block);
    }
  }

  void release(const Block& block) {
    if (!check_pattern(block.p, block.size, block.size, block.seed)) failed("content changed", block.p, block.size);
    if (s_.a->usable_size(block.p) < block.size) failed("usable size too small", block.p, block.size);
    if (s_.a.free(cache_, block.p).misuse != Misuse::kNone) failed("free refused", block.p, block.size);
  }

  void keep(const Block& block) {
    live_.push_back(block);
    live_bytes_ += block.size;
  }
  Block take_any() {
    std::swap(live_[random_.below(live_.size())], live_.back());
    const Block block = live_.back();
    live_.pop_back();
    live_bytes_ -= block.size;
    return block;
  }

  Shared& s_;
  const unsigned id_;
  Random random_;
  ThreadCache* cache_ = nullptr;
  std::vector<Block> live_;
  size_t live_bytes_ = 0;
};

// What the background thread, malloc_trim and debug_verify do, more often than any of them would.
void disturb(Shared& s, uint64_t seed) {
  Random random(seed);
  while (!s.stop.load(std::memory_order_relaxed)) {
    usleep(static_cast<useconds_t>(random.below(5000)));
    const uint64_t what = random.below(16);
    if (what < 10) {
      if (s.a->decay_tick().misuse != Misuse::kNone) failed("decay found misuse", nullptr, 0);
    } else if (what < 12) {
      s.a.trim(nullptr);
    } else if (what < 14) {
      static_cast<void>(heap_totals(*s.a));
      static_cast<void>(s.a->decayable_bytes());
    } else if (const char* wrong = s.a->verify()) {
      failed(wrong, nullptr, 0);
    }
  }
}

void sleep_seconds(uint64_t seconds) {
  struct timespec left = {static_cast<time_t>(seconds), 0};
  while (nanosleep(&left, &left) != 0) {
  }
}

int run(const StressArguments& arguments) {
  const unsigned threads = static_cast<unsigned>(arguments.threads);
  Shared s(threads);
  make_topology(s.a.topology(), kNodes, 1u << kMemoryless);
  s.a.options().decay_ms = 100;
  if (!s.a.start(kCapacity, true, arguments.seed)) failed("the allocator does not start", nullptr, 0);
  std::vector<std::unique_ptr<Worker>> workers;
  for (unsigned i = 0; i < threads; ++i) workers.push_back(std::make_unique<Worker>(s, i, arguments.seed));
  std::vector<std::thread> running;
  for (auto& worker : workers) running.emplace_back([&worker] { worker->run(); });
  running.emplace_back([&] { disturb(s, arguments.seed); });
  sleep_seconds(arguments.seconds);
  s.stop.store(true);
  for (std::thread& thread : running) thread.join();
  for (auto& worker : workers) worker->finish();
  // Nothing is alive: no page may stay charged once idle memory is given back.
  if (const char* wrong = s.a->verify()) failed(wrong, nullptr, 0);
  s.a.trim(nullptr);
  if (const char* wrong = s.a->verify()) failed(wrong, nullptr, 0);
  if (s.a.charged() != 0) failed("pages are still charged", nullptr, s.a.charged() * kPageSize);
  if (s.a->nr_caches() != 0) failed("caches are still attached", nullptr, s.a->nr_caches());
  printf("alloc_stress: %llu operations, %llu refused for lack of memory\n",
         static_cast<unsigned long long>(s.operations.load()), static_cast<unsigned long long>(s.refused.load()));
  return 0;
}

}  // namespace
}  // namespace weir

int main(int argc, char** argv) {
  return weir::run(weir::parse_stress_arguments("alloc_stress", argc, argv));
}
