// realloc that grows in small steps or by doubling, calloc, and a loop over large blocks that are touched.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

constexpr size_t kPage = 4096;

void touch(char* block, size_t from, size_t to) {
  for (size_t at = from; at < to; at += kPage) block[at] = 1;
}

// One iteration grows a block from `step` bytes to `limit` and frees it; the time shown is that of all the steps.
void realloc_steps(benchmark::State& state) {
  const auto step = static_cast<size_t>(state.range(0)), limit = static_cast<size_t>(state.range(1));
  for (auto _ : state) {
    char* block = nullptr;
    for (size_t size = step; size <= limit; size += step) {
      block = static_cast<char*>(realloc(block, size));
      block[size - 1] = 1;
    }
    free(block);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(limit / step));
}
BENCHMARK(realloc_steps)->Args({64, 1 << 20})->Args({4096, 64 << 20});

void realloc_doubling(benchmark::State& state) {
  const auto limit = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    char* block = nullptr;
    size_t written = 0;
    for (size_t size = 64; size <= limit; size *= 2) {
      block = static_cast<char*>(realloc(block, size));
      touch(block, written, size);
      written = size;
    }
    free(block);
  }
}
BENCHMARK(realloc_doubling)->Arg(1 << 20)->Arg(64 << 20);

void calloc_pair(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    void* p = calloc(1, size);
    benchmark::DoNotOptimize(p);
    free(p);
  }
}
BENCHMARK(calloc_pair)->Arg(64)->Arg(1024)->Arg(64 << 10)->Arg(1 << 20)->Arg(16 << 20);

// A table of live blocks in which one after the other is replaced; every page is written once.
void large_blocks(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  constexpr size_t kLive = 4;
  char* live[kLive] = {};
  size_t at = 0;
  for (auto _ : state) {
    free(live[at]);
    live[at] = static_cast<char*>(malloc(size));
    touch(live[at], 0, size);
    at = (at + 1) % kLive;
  }
  for (char* block : live) free(block);
}
BENCHMARK(large_blocks)->RangeMultiplier(4)->Range(256 << 10, 32 << 20);

}  // namespace

BENCHMARK_MAIN();
