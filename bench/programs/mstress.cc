// Waves of threads with mixed sizes, retained objects and objects handed to others, after mimalloc's stress test: in
// every wave fresh threads allocate, keep some objects past their own end, and swap others through shared places.
#include <atomic>
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr size_t kTransfers = 1'000;        // shared places through which objects change threads
constexpr size_t kObjectsPerWave = 40'000;  // per thread

struct Item {
  bench::Block block;
};

struct Shared {
  std::atomic<Item*> transfer[kTransfers] = {};
  std::atomic<uint64_t> sum{0};
};

size_t pick_size(bench::Rng& rng) {
  const uint32_t roll = rng.below(1000);
  if (roll == 0) return rng.between(32'768, 262'144);  // now and then a buffer
  if (roll < 10) return rng.between(4'096, 32'768);
  if (roll < 100) return rng.between(512, 4'096);
  return rng.between(8, 512);
}

Item* make_item(bench::Rng& rng) {
  auto* item = static_cast<Item*>(bench::must_malloc(sizeof(Item)));
  item->block = bench::allocate(pick_size(rng), rng.next());
  return item;
}

uint64_t drop_item(Item* item) {
  if (item == nullptr) return 0;
  const uint64_t share = bench::release(item->block);
  free(item);
  return share;
}

// Allocation and release alternate at random; one in four steps exchanges with another thread.
void wave(uint64_t seed, std::vector<Item*>& retained, Shared& shared) {
  bench::Rng rng(seed);
  std::vector<Item*> live;
  uint64_t sum = 0;
  for (size_t n = 0; n < kObjectsPerWave;) {
    const uint32_t roll = rng.below(100);
    if (roll < 50 || live.empty()) {
      Item* item = make_item(rng);
      ++n;
      if (roll < 5) {
        retained.push_back(item);
      } else {
        live.push_back(item);
      }
    } else if (roll < 75) {
      const size_t at = rng.below(live.size());
      sum += drop_item(live[at]);
      live[at] = live.back();
      live.pop_back();
    } else {
      // The places are never empty: so the numbers of objects, and with them the checksum, do not depend on timing.
      Item*& mine = live[rng.below(live.size())];
      mine = shared.transfer[rng.below(kTransfers)].exchange(mine, std::memory_order_acq_rel);
    }
  }
  for (Item* item : live) sum += drop_item(item);
  // Half of what earlier waves retained goes now, by a thread that did not allocate it.
  for (size_t i = 0; i < retained.size(); i += 2) {
    sum += drop_item(retained[i]);
    retained[i] = nullptr;
  }
  std::erase(retained, nullptr);
  shared.sum.fetch_add(sum, std::memory_order_relaxed);
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 4);
  auto* shared = new Shared;
  std::vector<std::vector<Item*>> retained(options.threads);
  bench::Rng seeds(options.seed);
  for (auto& slot : shared->transfer) slot = make_item(seeds);
  const size_t waves = options.scaled(20);
  for (size_t w = 0; w < waves; ++w) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < options.threads; ++t) {
      threads.emplace_back(wave, seeds.next(), std::ref(retained[t]), std::ref(*shared));
    }
    for (auto& thread : threads) thread.join();
  }
  uint64_t sum = 0;
  for (auto& slot : shared->transfer) sum += drop_item(slot.load());
  for (auto& list : retained) {
    for (Item* item : list) sum += drop_item(item);
  }
  sum += shared->sum.load();
  delete shared;
  return bench::finish("mstress", sum);
}
