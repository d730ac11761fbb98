// Purpose: a small fast generator for tests, where the standard ones would take more time than what is tested.
// Thread safety: one thread each. Source of the algorithm: xorshift64*, Vigna, "An experimental exploration of
// Marsaglia's xorshift generators, scrambled", 2016.
#pragma once

#include <cstdint>

namespace weir {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1du;
  }
  uint64_t below(uint64_t n) { return (next() >> 11) % n; }

 private:
  uint64_t state_;
};

// Sizes of all magnitudes: most small, some runs of pages, a few of some MiB.
inline uint64_t random_size(Random& random) {
  const uint64_t what = random.below(1000);
  if (what < 750) return random.below(512);
  if (what < 930) return random.below(16 << 10);
  if (what < 990) return random.below(100 << 10);
  return random.below(3 << 20);
}

}  // namespace weir
