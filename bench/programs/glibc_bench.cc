// The two patterns of the C library's own malloc benchmarks. With one thread: blocks of one size, allocated in lots of
// 25 to 1600 and freed first to last, half of them twice over. With several: a working set of 1024 blocks per
// thread with sizes from 4 bytes to 32 KiB, each size inversely likely to its square root, replaced at random.
#include <cmath>
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr size_t kLots[] = {25, 100, 400, 1600};
constexpr size_t kMaxLot = 1600;
constexpr size_t kSizes[] = {8, 32, 64, 128, 512};
constexpr size_t kWorkingSet = 1024;
constexpr double kMinSize = 4;
constexpr double kMaxSize = 32'768;

uint64_t simple_lot(size_t size, size_t lot, bench::Rng& rng, bench::Block* blocks) {
  uint64_t sum = 0;
  for (size_t i = 0; i < lot; ++i) blocks[i] = bench::allocate(size, rng.next());
  for (size_t i = 0; i < lot / 2; ++i) sum += bench::release(blocks[i]);
  for (size_t i = 0; i < lot / 2; ++i) blocks[i] = bench::allocate(size, rng.next());
  for (size_t i = 0; i < lot; ++i) sum += bench::release(blocks[i]);
  return sum;
}

uint64_t simple(const bench::Options& options) {
  bench::Rng rng(options.seed);
  std::vector<bench::Block> blocks(kMaxLot);
  const size_t allocations = options.scaled(2'000'000);  // for each size and lot
  uint64_t sum = 0;
  for (size_t size : kSizes) {
    for (size_t lot : kLots) {
      for (size_t n = 0; n < allocations / lot; ++n) sum += simple_lot(size, lot, rng, blocks.data());
    }
  }
  return sum;
}

size_t pick_size(bench::Rng& rng) {
  // Density proportional to size^-1.5: the inverse of its distribution function.
  const double low = 1 / std::sqrt(kMinSize), high = 1 / std::sqrt(kMaxSize);
  const double root = low - rng.unit() * (low - high);
  return static_cast<size_t>(1 / (root * root));
}

uint64_t threaded(uint64_t seed, size_t operations) {
  bench::Rng rng(seed);
  std::vector<bench::Block> blocks(kWorkingSet);
  uint64_t sum = 0;
  for (size_t i = 0; i < operations; ++i) {
    bench::Block& b = blocks[rng.below(kWorkingSet)];
    sum += bench::release(b);
    b = bench::allocate(pick_size(rng), rng.next());
  }
  for (auto& b : blocks) sum += bench::release(b);
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 1);
  if (options.threads == 1) return bench::finish("glibc_simple", simple(options));
  std::vector<uint64_t> sums(options.threads);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads.emplace_back([&, t] { sums[t] = threaded(options.seed + t, options.scaled(20'000'000)); });
  }
  uint64_t sum = 0;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads[t].join();
    sum += sums[t];
  }
  return bench::finish("glibc_thread", sum);
}
