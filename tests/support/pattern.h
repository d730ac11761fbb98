// Purpose: content for blocks of memory that shows who wrote it: every word is made from the block's seed and the
// word's
//          offset, so that lost, shifted and overwritten content all differ.
// Thread safety: a block belongs to one thread while it is written or checked.
// Invariants: the value at an offset does not depend on the block's size, so that a prefix can be checked after a
// resize.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace weir {

// Up to here every word is written; beyond, the first and the last word of each page, because blocks of tens of MiB
// would otherwise take all of a test's time.
inline constexpr size_t kDensePattern = size_t{64} << 10;
inline constexpr size_t kPatternPage = 4096;

inline uint64_t pattern_word(uint64_t seed, size_t offset) {
  uint64_t x = seed + offset * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  return x ^ (x >> 31);
}

// Calls visit(offset) for each word of the pattern within `size` bytes; false as soon as one call is.
template <class Visit>
inline bool for_pattern(size_t size, Visit visit) {
  const size_t dense = size < kDensePattern ? size : kDensePattern;
  for (size_t at = 0; at + sizeof(uint64_t) <= dense; at += sizeof(uint64_t))
    if (!visit(at)) return false;
  for (size_t page = kDensePattern; page < size; page += kPatternPage) {
    if (page + sizeof(uint64_t) <= size && !visit(page)) return false;
    if (page + kPatternPage <= size && !visit(page + kPatternPage - sizeof(uint64_t))) return false;
  }
  return true;
}

inline void write_pattern(void* block, size_t size, uint64_t seed) {
  char* bytes = static_cast<char*>(block);
  for_pattern(size, [&](size_t at) {
    const uint64_t word = pattern_word(seed, at);
    memcpy(bytes + at, &word, sizeof(word));
    return true;
  });
  for (size_t at = size & ~size_t{7}; at < size && size <= kDensePattern; ++at)
    bytes[at] = static_cast<char>(seed + at);
}

// True when the first `size` bytes of a block that was written with `written` bytes are unchanged.
inline bool check_pattern(const void* block, size_t size, size_t written, uint64_t seed) {
  const char* bytes = static_cast<const char*>(block);
  const bool words = for_pattern(size, [&](size_t at) {
    uint64_t word;
    memcpy(&word, bytes + at, sizeof(word));
    return word == pattern_word(seed, at);
  });
  if (!words) return false;
  for (size_t at = size & ~size_t{7}; size == written && at < size && size <= kDensePattern; ++at)
    if (bytes[at] != static_cast<char>(seed + at)) return false;
  return true;
}

inline bool is_zero(const void* block, size_t size) {
  const char* bytes = static_cast<const char*>(block);
  for (size_t i = 0; i < size; ++i)
    if (bytes[i] != 0) return false;
  return true;
}

}  // namespace weir
