// One block at a time, and lots of equal blocks in three orders of release.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

namespace {

// Neighbours of the same size that stay, as in a program: otherwise each free empties a whole page or slab.
constexpr size_t kLiveBlocks = 100;

void pair(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  void* live[kLiveBlocks];
  for (auto& block : live) block = malloc(size);
  for (auto _ : state) {
    void* p = malloc(size);
    benchmark::DoNotOptimize(p);
    free(p);
  }
  for (void* block : live) free(block);
}
BENCHMARK(pair)->RangeMultiplier(2)->Range(16, 64 << 10);

enum Order : int64_t { kLifo, kFifo, kRandom };

// Where the i-th release of a lot finds its block.
std::vector<uint32_t> release_order(size_t count, int64_t order) {
  std::vector<uint32_t> places(count);
  std::iota(places.begin(), places.end(), 0u);
  if (order == kLifo) std::reverse(places.begin(), places.end());
  // A fixed seed: every allocator sees the same order.
  if (order == kRandom) std::shuffle(places.begin(), places.end(), std::mt19937(1));
  return places;
}

void batch(benchmark::State& state, int64_t order) {
  const auto size = static_cast<size_t>(state.range(0));
  const auto count = static_cast<size_t>(state.range(1));
  const std::vector<uint32_t> places = release_order(count, order);
  std::vector<void*> blocks(count);
  for (auto _ : state) {
    for (auto& block : blocks) {
      block = malloc(size);
      *static_cast<char*>(block) = 1;
    }
    for (uint32_t place : places) free(blocks[place]);
  }
  state.SetItemsProcessed(state.iterations() * state.range(1));
}
// 100 blocks stay within a thread cache, 10 000 do not.
BENCHMARK_CAPTURE(batch, lifo, kLifo)->ArgsProduct({{32, 256, 4096}, {100, 10'000}});
BENCHMARK_CAPTURE(batch, fifo, kFifo)->ArgsProduct({{32, 256, 4096}, {100, 10'000}});
BENCHMARK_CAPTURE(batch, random, kRandom)->ArgsProduct({{32, 256, 4096}, {100, 10'000}});

}  // namespace

BENCHMARK_MAIN();
