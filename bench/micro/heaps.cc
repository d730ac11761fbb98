// An object at a time in a registered heap, beside the same without a heap: what a program pays for having its memory
// counted. Of weir's own interface; nothing else has the like.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>

#include "weir/heap.h"

namespace {

// Neighbours of the same size that stay, as in a program: otherwise each free empties a whole slab.
constexpr size_t kLiveBlocks = 100;

void pairs(benchmark::State& state, weir_heap_t heap) {
  const auto size = static_cast<size_t>(state.range(0));
  void* live[kLiveBlocks];
  for (auto& block : live) block = weir_heap_malloc(heap, size);
  for (auto _ : state) {
    void* p = weir_heap_malloc(heap, size);
    benchmark::DoNotOptimize(p);
    weir_free(p);
  }
  for (void* block : live) weir_free(block);
}

weir_heap_t shared_heap() {
  static weir_heap_t heap = weir_heap_create("shared", nullptr);
  return heap;
}

void pair_without_heap(benchmark::State& state) {
  pairs(state, nullptr);
}
BENCHMARK(pair_without_heap)->Arg(64)->Arg(1024)->Arg(64 << 10);
BENCHMARK(pair_without_heap)->Arg(64)->Threads(2);

void pair_in_heap(benchmark::State& state) {
  weir_heap_t heap = weir_heap_create(nullptr, nullptr);
  pairs(state, heap);
  weir_heap_destroy(heap);
}
BENCHMARK(pair_in_heap)->Arg(64)->Arg(1024)->Arg(64 << 10);
BENCHMARK(pair_in_heap)->Arg(64)->Threads(2);

void pair_in_one_heap(benchmark::State& state) {
  pairs(state, shared_heap());
}
BENCHMARK(pair_in_one_heap)->Arg(64)->Threads(2);

void heap_of(benchmark::State& state) {
  void* p = weir_heap_malloc(shared_heap(), 64);
  for (auto _ : state) benchmark::DoNotOptimize(weir_heap_of(p));
  weir_free(p);
}
BENCHMARK(heap_of);

// A heap for a task that allocates so many objects, and is given back as a whole.
void heap_for_a_task(benchmark::State& state) {
  const auto count = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    weir_heap_t heap = weir_heap_create(nullptr, nullptr);
    for (size_t i = 0; i < count; ++i) benchmark::DoNotOptimize(weir_heap_malloc(heap, 64));
    weir_heap_destroy(heap);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}
BENCHMARK(heap_for_a_task)->Arg(0)->Arg(100)->Arg(10000);

}  // namespace

BENCHMARK_MAIN();
