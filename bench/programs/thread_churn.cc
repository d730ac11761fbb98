// Short-lived threads, after mimalloc's mleak: each allocates a little, leaves some of it to its successor and exits.
// Memory must neither leak with the threads nor make their start and end expensive.
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr size_t kBlocks = 60;  // per thread: a request's worth
constexpr size_t kLeft = 20;    // of which so many outlive it
constexpr size_t kMaxSize = 4'000;
constexpr unsigned kAtOnce = 2;  // threads alive at a time

void visit(std::vector<bench::Block>& heritage, uint64_t seed, uint64_t& sum) {
  bench::Rng rng(seed);
  bench::Block own[kBlocks];
  for (auto& b : own) b = bench::allocate(rng.between(8, rng.below(8) == 0 ? kMaxSize : 256), rng.next());
  for (auto& b : heritage) sum += bench::release(b);
  heritage.assign(own, own + kLeft);
  for (size_t i = kLeft; i < kBlocks; ++i) sum += bench::release(own[i]);
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, kAtOnce);
  std::vector<std::vector<bench::Block>> heritage(options.threads);
  std::vector<uint64_t> sums(options.threads);
  bench::Rng seeds(options.seed);
  const size_t generations = options.scaled(3'000);
  for (size_t g = 0; g < generations; ++g) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < options.threads; ++t) {
      threads.emplace_back(visit, std::ref(heritage[t]), seeds.next(), std::ref(sums[t]));
    }
    for (auto& thread : threads) thread.join();
  }
  uint64_t sum = 0;
  for (unsigned t = 0; t < options.threads; ++t) {
    for (auto& b : heritage[t]) sums[t] += bench::release(b);
    sum += sums[t];
  }
  return bench::finish("thread_churn", sum);
}
