// Many vectors that grow at the same time by realloc: some element by element in small steps (log buffers, string
// builders), some by half their size (containers), most short, a few long. Every element is checked at the end.
#include <vector>

#include "common.h"

namespace {

constexpr size_t kVectors = 1'500;
constexpr size_t kLongEvery = 100;   // one in a hundred grows to megabytes
constexpr size_t kShortMax = 6'000;  // elements
constexpr size_t kLongMax = 500'000;
constexpr size_t kSmallStep = 8;  // elements a constant-step vector adds: 64 bytes

struct Vector {
  uint64_t* data = nullptr;
  size_t size = 0, capacity = 0, target = 0;
  uint64_t tag = 0;
  bool constant_step = false;
};

void grow(Vector& v) {
  v.capacity = v.constant_step || v.capacity < kSmallStep ? v.capacity + kSmallStep : v.capacity + v.capacity / 2;
  void* moved = realloc(v.data, v.capacity * sizeof(uint64_t));
  if (moved == nullptr) bench::fail("realloc returned null");
  v.data = static_cast<uint64_t*>(moved);
}

void append(Vector& v, size_t count) {
  for (size_t i = 0; i < count && v.size < v.target; ++i) {
    if (v.size == v.capacity) grow(v);
    v.data[v.size] = v.tag + v.size;
    ++v.size;
  }
}

uint64_t check_and_free(Vector& v) {
  uint64_t sum = 0;
  for (size_t i = 0; i < v.size; ++i) {
    if (v.data[i] != v.tag + i) bench::fail("an element has changed");
    sum += v.data[i];
  }
  free(v.data);
  v.data = nullptr;
  return bench::mix(sum);
}

void start(Vector& v, bench::Rng& rng) {
  const bool is_long = rng.below(kLongEvery) == 0;
  v = Vector{};
  v.target = is_long ? rng.between(kShortMax, kLongMax) : rng.between(4, kShortMax);
  v.constant_step = rng.below(3) == 0;
  v.tag = rng.next();
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 1);
  bench::Rng rng(options.seed);
  std::vector<Vector> vectors(kVectors);
  for (auto& v : vectors) start(v, rng);
  uint64_t sum = 0;
  const size_t appends = options.scaled(2'500'000);
  for (size_t i = 0; i < appends; ++i) {
    Vector& v = vectors[rng.below(kVectors)];
    append(v, rng.between(1, 64));
    if (v.size == v.target) {
      sum += check_and_free(v);
      start(v, rng);
    }
  }
  for (auto& v : vectors) sum += check_and_free(v);
  return bench::finish("realloc_vectors", sum);
}
