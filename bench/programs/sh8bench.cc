// Many threads with skewed sizes that keep exchanging batches, after MicroQuill's SmartHeap benchmark 8: a thread
// fills a batch, swaps it with whatever another thread left in a shared slot, and frees what it got.
#include <atomic>
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr size_t kBatch = 200;
constexpr size_t kSlots = 16;  // shared places; few enough that batches of different threads meet
constexpr size_t kLocal = 32;  // batches a thread keeps to itself between exchanges
constexpr size_t kMaxSize = 2'000;

struct Batch {
  bench::Block blocks[kBatch];
};

size_t skewed_size(bench::Rng& rng) {
  // Nine in ten below 128 bytes, as in interpreters and servers; the rest anywhere up to the maximum.
  return rng.below(10) < 9 ? rng.between(1, 128) : rng.between(129, kMaxSize);
}

uint64_t free_batch(Batch* batch, bool reverse) {
  if (batch == nullptr) return 0;
  uint64_t sum = 0;
  for (size_t i = 0; i < kBatch; ++i) sum += bench::release(batch->blocks[reverse ? kBatch - 1 - i : i]);
  free(batch);
  return sum;
}

uint64_t worker(uint64_t seed, size_t rounds, std::atomic<Batch*>* slots) {
  bench::Rng rng(seed);
  uint64_t sum = 0;
  std::vector<Batch*> local(kLocal, nullptr);
  for (size_t r = 0; r < rounds; ++r) {
    auto* batch = static_cast<Batch*>(bench::must_malloc(sizeof(Batch)));
    for (auto& b : batch->blocks) b = bench::allocate(skewed_size(rng), rng.next());
    // A third is handed over, the rest ages locally.
    if (rng.below(3) == 0) {
      batch = slots[rng.below(kSlots)].exchange(batch, std::memory_order_acq_rel);
    } else {
      std::swap(batch, local[rng.below(kLocal)]);
    }
    sum += free_batch(batch, rng.below(2) == 0);
  }
  for (Batch* batch : local) sum += free_batch(batch, false);
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 4);
  std::atomic<Batch*> slots[kSlots] = {};
  std::vector<uint64_t> sums(options.threads);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads.emplace_back([&, t] { sums[t] = worker(options.seed + t, options.scaled(30'000), slots); });
  }
  uint64_t sum = 0;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads[t].join();
    sum += sums[t];
  }
  for (auto& slot : slots) sum += free_batch(slot.load(), false);
  return bench::finish("sh8bench", sum);
}
