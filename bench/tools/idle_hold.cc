// Allocates a peak, frees all of it and does nothing more: idle_hold [SECONDS] [MIB] [THREADS].
//
// Prints "freed" when the last object is gone and then only sleeps, without any call to the allocator, so that whoever
// watches its memory from outside sees what the allocator gives back on its own. With several threads each has its
// share of the peak and stays alive asleep. Object tables lie in mappings of their own. Usage errors end with 64.
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "../programs/common.h"

namespace {

constexpr size_t kMinMeanSize = 32;  // no mix has a mean below, so a table of bytes / 32 entries always suffices

struct Work {
  unsigned seconds, threads;
  size_t bytes;
  std::atomic<unsigned> ready{0}, freed{0};
};

// By bytes about six tenths small, three tenths middle, one tenth large.
size_t pick_size(bench::Rng& rng) {
  const uint32_t roll = rng.below(10'000);
  if (roll < 3) return rng.between(64 << 10, 2 << 20);
  if (roll < 200) return rng.between(1 << 10, 16 << 10);
  return rng.between(16, 1 << 10);
}

void wait_for_all(std::atomic<unsigned>& counter, unsigned threads) {
  counter.fetch_add(1);
  while (counter.load() < threads) usleep(1'000);
}

void hold(Work& work, unsigned self) {
  const size_t bytes = work.bytes / work.threads, capacity = bytes / kMinMeanSize;
  void* table = mmap(nullptr, capacity * sizeof(bench::Block), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (table == MAP_FAILED) bench::fail("no room for the table");
  auto* blocks = static_cast<bench::Block*>(table);
  bench::Rng rng(self);
  size_t count = 0;
  for (size_t held = 0; held < bytes && count < capacity; held += blocks[count++].size) {
    blocks[count] = bench::allocate(pick_size(rng), rng.next());
  }
  wait_for_all(work.ready, work.threads);
  // Freed in random order: nothing comes back merely because frees mirror the allocations.
  for (size_t i = count; i > 1; --i) std::swap(blocks[i - 1], blocks[rng.below(i)]);
  for (size_t i = 0; i < count; ++i) bench::release(blocks[i]);
  munmap(table, capacity * sizeof(bench::Block));
  wait_for_all(work.freed, work.threads);
  if (self == 0 && write(STDOUT_FILENO, "freed\n", 6) != 6) bench::fail("cannot write");
  sleep(work.seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i, uint64_t otherwise, uint64_t high) {
    return argc > i ? bench::parse_number(argv[0], argv[i], 1, high) : otherwise;
  };
  Work work{static_cast<unsigned>(number(1, 14, 3600)), static_cast<unsigned>(number(3, 1, 64)),
            number(2, 270, 1 << 20) << 20};
  std::vector<std::thread> threads;
  for (unsigned t = 1; t < work.threads; ++t) threads.emplace_back(hold, std::ref(work), t);
  hold(work, 0);
  for (auto& thread : threads) thread.join();
  return 0;
}
