// A loop over large blocks of 256 KiB to 32 MiB, each written once per page and soon replaced: what counts is whether
// freed memory stays populated for the next block, or is returned to the system and faulted in again.
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr size_t kSlots = 20;     // live blocks; about 100 MiB on average
constexpr unsigned kMinLog = 18;  // 256 KiB
constexpr unsigned kMaxLog = 24;  // up to twice 16 MiB

size_t pick_size(bench::Rng& rng) {
  // Log-uniform: every doubling equally likely, and an odd remainder so that sizes do not repeat.
  const size_t base = size_t{1} << rng.between(kMinLog, kMaxLog);
  return base + rng.below(base);
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 1);
  std::vector<uint64_t> sums(options.threads);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads.emplace_back([&, t] {
      bench::Rng rng(options.seed + t);
      std::vector<bench::Block> slots(kSlots);
      for (size_t i = 0; i < options.scaled(400); ++i) {
        bench::Block& b = slots[rng.below(kSlots)];
        sums[t] += bench::release(b);
        b = bench::allocate(pick_size(rng), rng.next());
      }
      for (auto& b : slots) sums[t] += bench::release(b);
    });
  }
  uint64_t sum = 0;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads[t].join();
    sum += sums[t];
  }
  return bench::finish("large_blocks", sum);
}
