// Random sizes with cross-thread frees, after rpmalloc's benchmark: sizes from 16 bytes to 64 KiB, small ones far more
// often, a few larger; each thread replaces scattered parts of its set and passes every fourth lot to another thread.
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr size_t kLive = 4'000;  // blocks a thread holds
constexpr size_t kLot = 100;     // blocks replaced or passed on at once
constexpr double kMinSize = 16;
constexpr double kMaxSize = 65'536;
constexpr size_t kLargeMax = 1 << 20;  // the few larger ones

struct Lot {
  Lot* next;
  bench::Block blocks[kLot];
};

// A stack of lots: one thread's inbox, pushed by any, emptied by its owner.
struct Inbox {
  std::atomic<Lot*> head{nullptr};
  std::atomic<size_t> count{0};
};

// A fuller inbox takes nothing more: otherwise the scheduler decides on peak memory, by keeping its owner waiting.
constexpr size_t kInboxLimit = 8;

size_t pick_size(bench::Rng& rng) {
  if (rng.below(2'000) == 0) return rng.between(static_cast<size_t>(kMaxSize), kLargeMax);
  // Log-uniform, squared towards the small end: median about 130 bytes.
  const double u = rng.unit();
  return static_cast<size_t>(kMinSize * std::pow(kMaxSize / kMinSize, u * u));
}

uint64_t free_lot(Lot* lot) {
  uint64_t sum = 0;
  for (auto& b : lot->blocks) sum += bench::release(b);
  free(lot);
  return sum;
}

// Passes the lot on, or frees it where there is no room. Returns the share of what was freed here.
uint64_t send(Inbox& inbox, Lot* lot) {
  if (inbox.count.fetch_add(1, std::memory_order_relaxed) >= kInboxLimit) {
    inbox.count.fetch_sub(1, std::memory_order_relaxed);
    return free_lot(lot);
  }
  lot->next = inbox.head.load(std::memory_order_relaxed);
  while (!inbox.head.compare_exchange_weak(lot->next, lot, std::memory_order_release, std::memory_order_relaxed)) {
  }
  return 0;
}

uint64_t empty_inbox(Inbox& inbox) {
  uint64_t sum = 0;
  for (Lot* lot = inbox.head.exchange(nullptr, std::memory_order_acquire); lot != nullptr;) {
    Lot* next = lot->next;
    sum += free_lot(lot);
    inbox.count.fetch_sub(1, std::memory_order_relaxed);
    lot = next;
  }
  return sum;
}

uint64_t worker(unsigned self, const bench::Options& options, std::vector<Inbox>& inboxes) {
  bench::Rng rng(options.seed * 1'000 + self);
  std::vector<bench::Block> live(kLive);
  uint64_t sum = 0;
  for (auto& b : live) b = bench::allocate(pick_size(rng), rng.next());
  const size_t rounds = options.scaled(10'000);
  for (size_t r = 0; r < rounds; ++r) {
    const size_t start = rng.below(kLive);
    const size_t step = 1 + rng.below(kLive / kLot - 1);
    const bool pass_on = r % 4 == 3;
    Lot* lot = pass_on ? static_cast<Lot*>(bench::must_malloc(sizeof(Lot))) : nullptr;
    for (size_t i = 0; i < kLot; ++i) {
      bench::Block& b = live[(start + i * step) % kLive];
      if (pass_on) {
        lot->blocks[i] = b;
      } else {
        sum += bench::release(b);
      }
      b = bench::allocate(pick_size(rng), rng.next());
    }
    if (pass_on) sum += send(inboxes[rng.below(inboxes.size())], lot);
    sum += empty_inbox(inboxes[self]);
  }
  for (auto& b : live) sum += bench::release(b);
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 4);
  std::vector<Inbox> inboxes(options.threads);
  std::vector<uint64_t> sums(options.threads);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads.emplace_back([&, t] { sums[t] = worker(t, options, inboxes); });
  }
  uint64_t sum = 0;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads[t].join();
    sum += sums[t];
  }
  for (auto& inbox : inboxes) sum += empty_inbox(inbox);
  return bench::finish("rptest", sum);
}
