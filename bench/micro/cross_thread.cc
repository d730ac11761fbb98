// One thread allocates, another frees: blocks travel through a ring that has one writer and one reader.
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdlib>
#include <thread>

namespace {

constexpr size_t kRing = 1024;  // blocks under way; a power of two

class Ring {
 public:
  void push(void* block) {
    while (head_.load(std::memory_order_relaxed) - tail_.load(std::memory_order_acquire) == kRing)
      std::this_thread::yield();
    blocks_[head_.load(std::memory_order_relaxed) % kRing] = block;
    head_.store(head_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  void* pop() {
    while (head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_relaxed)) std::this_thread::yield();
    void* block = blocks_[tail_.load(std::memory_order_relaxed) % kRing];
    tail_.store(tail_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    return block;
  }

 private:
  // Apart by more than a cache line and its prefetched neighbour.
  alignas(128) std::atomic<size_t> head_{0};
  alignas(128) std::atomic<size_t> tail_{0};
  alignas(128) void* blocks_[kRing];
};

void producer_consumer(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  static Ring ring;
  // Null ends the consumer.
  std::thread consumer([] {
    while (void* block = ring.pop()) free(block);
  });
  for (auto _ : state) {
    void* block = malloc(size);
    *static_cast<char*>(block) = 1;
    ring.push(block);
  }
  ring.push(nullptr);
  consumer.join();
}
BENCHMARK(producer_consumer)->Arg(64)->Arg(1024)->Arg(16 << 10)->UseRealTime();

// The same traffic on every thread at once, without hand-over: what independent threads cost each other.
void threads_apart(benchmark::State& state) {
  constexpr size_t kLot = 64;
  void* blocks[kLot];
  for (auto _ : state) {
    for (auto& block : blocks) block = malloc(64);
    for (auto& block : blocks) free(block);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kLot));
}
BENCHMARK(threads_apart)->Threads(1)->Threads(2)->Threads(4)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
