// Purpose: pages as programs have them, from a seed, for the tests of the compressed pool.
// Thread safety: pure.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "base/units.h"
#include "support/random.h"
#include "swap/compressor.h"

namespace weir {

struct alignas(kPageSize) Page {
  char bytes[kPageSize];
  bool operator==(const Page& o) const { return memcmp(bytes, o.bytes, kPageSize) == 0; }
};

inline void put_word(Page& page, size_t at, uint64_t word) {
  memcpy(page.bytes + at, &word, sizeof(word));
}

// The first `bytes` are noise, the rest are zeros: compresses to a little more than that.
inline void make_noise(Page& page, uint64_t seed, size_t bytes) {
  Random random(seed);
  memset(page.bytes, 0, kPageSize);
  for (size_t at = 0; at + 8 <= bytes; at += 8) put_word(page, at, random.next());
}

// Half of every word is noise; LZ4 makes 81% of it.
inline void make_half_random(Page& page, uint64_t seed) {
  Random random(seed);
  for (size_t at = 0; at < kPageSize; at += 8) put_word(page, at, random.next() >> 32);
}

// Like a heap: short records of a pointer, small numbers and text.
inline void make_records(Page& page, uint64_t seed) {
  Random random(seed);
  for (size_t at = 0; at < kPageSize; at += 32) {
    put_word(page, at, 0x7f1200000000 + random.below(1 << 20) * 16);
    put_word(page, at + 8, random.below(100));
    memcpy(page.bytes + at + 16, "name:", 5);
    for (size_t i = 21; i < 32; ++i) page.bytes[at + i] = static_cast<char>('a' + random.below(6));
  }
}

// An array of structures of 128 bytes, five words of which are noise.
inline void make_structures(Page& page, uint64_t seed) {
  Random random(seed);
  const uint64_t rest = random.next();
  for (size_t at = 0; at < kPageSize; at += 8) put_word(page, at, at % 128 < 40 ? random.next() : rest);
}

inline void make_same_filled(Page& page, uint64_t word) {
  for (size_t at = 0; at < kPageSize; at += 8) put_word(page, at, word);
}

// Of every kind, of every compressed size.
inline void make_page(Page& page, uint64_t seed) {
  Random random(seed + 1);
  switch (random.below(8)) {
    case 0:
      return make_same_filled(page, random.below(2) == 0 ? 0 : random.next() >> random.below(64));
    case 1:
      return make_half_random(page, seed);
    case 2:
      return make_noise(page, seed, kPageSize);
    case 3:
    case 4:
      return make_records(page, seed);
    default:
      return make_noise(page, seed, random.below(kPageSize));
  }
}

inline std::string codec_name(const testing::TestParamInfo<Codec>& codec) {
  return codec.param == Codec::kLz4 ? "Lz4" : "Zstd";
}

}  // namespace weir
