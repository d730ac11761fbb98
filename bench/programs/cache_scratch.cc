// False sharing, after Hoard's cache-scratch and cache-thrash. Passive: the main thread allocates one small object
// per worker in a row, each worker frees its own and goes on with fresh ones; an allocator that hands a line's
// neighbours to different threads makes them fight for it. Active: fresh objects from the start.
#include <atomic>
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr size_t kObjectSize = 8;  // several to a cache line, unless the allocator spreads them
constexpr size_t kWritesPerObject = 50'000;

uint64_t write_often(volatile uint64_t* object, uint64_t start) {
  *object = start;
  for (size_t i = 0; i < kWritesPerObject; ++i) *object = *object + 1;
  if (*object != start + kWritesPerObject) bench::fail("an object's content has changed");
  return bench::mix(*object);
}

uint64_t worker(uint64_t* inherited, size_t rounds, uint64_t seed) {
  free(inherited);
  uint64_t sum = 0;
  for (size_t r = 0; r < rounds; ++r) {
    auto* object = static_cast<uint64_t*>(bench::must_malloc(kObjectSize));
    sum += write_often(object, seed + r);
    free(object);
  }
  return sum;
}

uint64_t contest(const bench::Options& options, bool passive) {
  std::vector<uint64_t*> objects(options.threads, nullptr);
  if (passive) {
    for (auto& object : objects) {
      object = static_cast<uint64_t*>(bench::must_malloc(kObjectSize));
      *object = 0;
    }
  }
  std::vector<uint64_t> sums(options.threads);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads.emplace_back([&, t] { sums[t] = worker(objects[t], options.scaled(20'000), options.seed + t); });
  }
  uint64_t sum = 0;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads[t].join();
    sum += sums[t];
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 2);
  return bench::finish("cache_scratch", contest(options, true) + contest(options, false));
}
