// Purpose: tells damaged from undamaged entries of the compressed pool, which lies within reach of the program's wild
//          writes; LZ4 itself notices only damage to lengths and offsets.
// Thread safety: pure. Invariants: never stored outside the process, so it may differ between machines and versions.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace weir::zswap {

// 2^64 divided by the golden ratio, odd: multiplying by it loses nothing.
inline constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;

// A step is reversible in both its state and its word, so two inputs that differ in one word never agree in the 64 bits
// that are folded at the end; otherwise they agree with a probability of 2^-32.
inline uint64_t checksum_step(uint64_t state, uint64_t word) {
  return std::rotl((state ^ word) * kGolden, 31);
}

inline uint64_t checksum_word(const char* at, size_t bytes = sizeof(uint64_t)) {
  uint64_t word = 0;
  memcpy(&word, at, bytes);
  return word;
}

// Four lanes, because four multiplications can be started while one is under way: 0.1 us for half a page.
inline uint32_t checksum(const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  uint64_t a = bytes * kGolden, b = 2 * kGolden, c = 3 * kGolden, d = 4 * kGolden;
  for (; bytes >= 32; bytes -= 32, at += 32) {
    a = checksum_step(a, checksum_word(at));
    b = checksum_step(b, checksum_word(at + 8));
    c = checksum_step(c, checksum_word(at + 16));
    d = checksum_step(d, checksum_word(at + 24));
  }
  for (; bytes >= 8; bytes -= 8, at += 8) a = checksum_step(a, checksum_word(at));
  if (bytes != 0) b = checksum_step(b, checksum_word(at, bytes));
  const uint64_t all = checksum_step(checksum_step(checksum_step(a, b), c), d);
  return static_cast<uint32_t>((all ^ all >> 29) * kGolden >> 32);
}

}  // namespace weir::zswap
