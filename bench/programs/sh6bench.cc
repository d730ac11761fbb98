// Runs of equal blocks whose sizes rise, small ones far more often, after MicroQuill's SmartHeap benchmark 6: a ring
// of live blocks is emptied in thirds, the oldest in order of allocation, the newest in reverse, the middle stays.
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr size_t kRing = 6'000;     // live blocks, enough to spill out of a thread cache
constexpr size_t kMaxSize = 1'000;  // classic upper bound
constexpr size_t kRunLength = 48;   // blocks of one size in a row at the small end; larger sizes get shorter runs

class Worker {
 public:
  explicit Worker(uint64_t seed) : rng_(seed), ring_(kRing) {}

  uint64_t run(size_t rounds) {
    for (size_t r = 0; r < rounds; ++r) sweep_sizes();
    for (auto& b : ring_) sum_ += bench::release(b);
    return sum_;
  }

 private:
  void sweep_sizes() {
    for (size_t size = 8; size <= kMaxSize; size += 1 + size / 16) {
      const size_t run = 2 + kRunLength * 8 / (size + 8);
      for (size_t i = 0; i < run; ++i) put(size);
    }
  }

  void put(size_t size) {
    while (ring_[at_].data != nullptr) {
      if (++at_ == kRing) drain();
    }
    ring_[at_] = bench::allocate(size, rng_.next());
    if (++at_ == kRing) drain();
  }

  void drain() {
    const size_t third = kRing / 3;
    for (size_t i = 0; i < third; ++i) sum_ += bench::release(ring_[i]);
    for (size_t i = kRing; i > 2 * third; --i) sum_ += bench::release(ring_[i - 1]);
    // Every other round the survivors go as well, so that no block lives for ever.
    if (++drains_ % 2 == 0) {
      for (size_t i = third; i < 2 * third; ++i) sum_ += bench::release(ring_[i]);
    }
    at_ = 0;
  }

  bench::Rng rng_;
  std::vector<bench::Block> ring_;
  size_t at_ = 0;
  size_t drains_ = 0;
  uint64_t sum_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 2);
  std::vector<uint64_t> sums(options.threads);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads.emplace_back([&, t] { sums[t] = Worker(options.seed + t).run(options.scaled(60'000)); });
  }
  uint64_t sum = 0;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads[t].join();
    sum += sums[t];
  }
  return bench::finish("sh6bench", sum);
}
