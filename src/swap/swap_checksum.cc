#include "swap/swap_checksum.h"

#include <cstring>
#include <initializer_list>

#include "base/units.h"

namespace weir {
namespace {

// Odd, so that multiplying by it loses nothing: the fraction of the golden ratio, as in Fibonacci hashing.
constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
// Eight lanes keep a multiplier busy that takes a new product each cycle and has a latency of three to four.
constexpr unsigned kLanes = 8;

constexpr uint64_t step(uint64_t lane, uint64_t word) {
  // Each operation is reversible. The shift gives every bit a long way up through the product; without it the highest
  // one would change nothing but itself, and a second wrong bit could make good for it.
  const uint64_t x = lane ^ word;
  return (x ^ (x >> 32)) * kMultiplier;
}

inline uint64_t word_at(const unsigned char* bytes, unsigned i) {
  uint64_t word;
  memcpy(&word, bytes + i * sizeof(word), sizeof(word));
  return word;
}

}  // namespace

uint32_t page_checksum(const void* page) {
  const auto* bytes = static_cast<const unsigned char*>(page);
  // Different starts: words that change places between lanes change the sum. Spelled out, because an array would be
  // kept in memory, or in vectors that have no 64-bit product.
  uint64_t a = 1 * kMultiplier, b = 2 * kMultiplier, c = 3 * kMultiplier, d = 4 * kMultiplier;
  uint64_t e = 5 * kMultiplier, f = 6 * kMultiplier, g = 7 * kMultiplier, h = 8 * kMultiplier;
  for (const unsigned char* end = bytes + kPageSize; bytes != end; bytes += kLanes * sizeof(uint64_t)) {
    a = step(a, word_at(bytes, 0));
    b = step(b, word_at(bytes, 1));
    c = step(c, word_at(bytes, 2));
    d = step(d, word_at(bytes, 3));
    e = step(e, word_at(bytes, 4));
    f = step(f, word_at(bytes, 5));
    g = step(g, word_at(bytes, 6));
    h = step(h, word_at(bytes, 7));
  }
  uint64_t sum = 0;
  for (uint64_t lane : {a, b, c, d, e, f, g, h}) sum = step(sum, lane);
  sum ^= sum >> 32;
  sum *= kMultiplier;
  return static_cast<uint32_t>(sum >> 32);
}

}  // namespace weir
