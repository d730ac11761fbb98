// Objects with handles: what a pin costs, and how fast objects are moved together. Of weir's own interface; nothing
// else has the like.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "weir/movable.h"

namespace {

void pin_and_unpin(benchmark::State& state) {
  static weir_movable_t shared = weir_movable_alloc(4096);
  weir_movable_t own = state.range(0) != 0 ? shared : weir_movable_alloc(4096);
  for (auto _ : state) {
    benchmark::DoNotOptimize(weir_movable_pin(own));
    weir_movable_unpin(own);
  }
  if (own != shared) weir_movable_free(own);
}
BENCHMARK(pin_and_unpin)->ArgName("shared")->Arg(0);
BENCHMARK(pin_and_unpin)->ArgName("shared")->Arg(0)->Threads(2);
BENCHMARK(pin_and_unpin)->ArgName("shared")->Arg(1)->Threads(2);

void make_and_free(benchmark::State& state) {
  const auto bytes = static_cast<size_t>(state.range(0));
  for (auto _ : state) weir_movable_free(weir_movable_alloc(bytes));
}
BENCHMARK(make_and_free)->Arg(4096)->Arg(64 << 10);

// 64 MiB of objects, of which every other one was freed.
void compact(benchmark::State& state) {
  const auto bytes = static_cast<size_t>(state.range(0));
  constexpr size_t kAll = size_t{64} << 20;
  int64_t moved = 0;
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<weir_movable_t> objects;
    for (size_t i = 0; i < kAll / bytes; ++i) {
      objects.push_back(weir_movable_alloc(bytes));
      memset(weir_movable_pin(objects.back()), 1, bytes);
      weir_movable_unpin(objects.back());
    }
    for (size_t i = 1; i < objects.size(); i += 2) weir_movable_free(objects[i]);
    state.ResumeTiming();
    moved += static_cast<int64_t>(weir_movable_compact());
    state.PauseTiming();
    for (size_t i = 0; i < objects.size(); i += 2) weir_movable_free(objects[i]);
    state.ResumeTiming();
  }
  state.SetBytesProcessed(moved);
}
BENCHMARK(compact)->Arg(4096)->Arg(20 << 10)->Arg(256 << 10);

}  // namespace

BENCHMARK_MAIN();
