// Random replacement with Pareto-distributed places and sizes, after the alloc-test of node-dcpp: few places are
// replaced very often, many hardly ever; most objects are small and each one is written in full.
#include <algorithm>
#include <thread>
#include <vector>

#include "common.h"

namespace {

constexpr size_t kPlaces = 1 << 18;   // half of them filled: about 20 MiB live, more than caches hold
constexpr unsigned kMaxSizeLog = 16;  // sizes up to 64 KiB, each doubling half as likely

struct Place {
  unsigned char* data;
  uint32_t size;
  unsigned char fill;
};

size_t pick_place(bench::Rng& rng, size_t places) {
  // The seventh power of a uniform number: a fifth of the places gets four fifths of the traffic (0.8^7 is about 0.2).
  const double u = rng.unit(), square = u * u;
  return bench::mix(static_cast<size_t>(square * square * square * u * static_cast<double>(places))) % places;
}

uint32_t pick_size(bench::Rng& rng) {
  const auto log = std::min(static_cast<unsigned>(__builtin_ctzll(rng.next() | (1ull << 40))) + 5, kMaxSizeLog);
  return static_cast<uint32_t>(rng.between(size_t{1} << (log - 1), size_t{1} << log));
}

uint64_t clear(Place& place) {
  if (place.data == nullptr) return 0;
  const bool intact = place.data[0] == place.fill && place.data[place.size - 1] == place.fill &&
                      place.data[place.size / 2] == place.fill;
  if (!intact) bench::fail("an object's content has changed");
  free(place.data);
  place.data = nullptr;
  return bench::mix(place.size * 256ull + place.fill);
}

uint64_t worker(uint64_t seed, size_t operations, size_t places) {
  bench::Rng rng(seed);
  std::vector<Place> table(places, Place{nullptr, 0, 0});
  uint64_t sum = 0;
  for (size_t i = 0; i < operations; ++i) {
    Place& place = table[pick_place(rng, places)];
    if (place.data != nullptr) {
      sum += clear(place);
    } else {
      place.size = pick_size(rng);
      place.fill = static_cast<unsigned char>(rng.next());
      place.data = static_cast<unsigned char*>(bench::must_malloc(place.size));
      memset(place.data, place.fill, place.size);
    }
  }
  for (auto& place : table) sum += clear(place);
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 1);
  std::vector<uint64_t> sums(options.threads);
  std::vector<std::thread> threads;
  // The total working set is the same for any number of threads.
  for (unsigned t = 0; t < options.threads; ++t) {
    threads.emplace_back(
        [&, t] { sums[t] = worker(options.seed + t, options.scaled(6'000'000), kPlaces / options.threads); });
  }
  uint64_t sum = 0;
  for (unsigned t = 0; t < options.threads; ++t) {
    threads[t].join();
    sum += sums[t];
  }
  return bench::finish("alloc_test", sum);
}
