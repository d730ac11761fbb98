// Purpose: content for memory that is swapped: made from a seed like pattern.h's, every word of it, and of a chosen
//          kind, because what compresses and what does not take different ways out of memory.
// Thread safety: a block belongs to one thread while it is written or checked.
// Invariants: the byte at an offset does not depend on the block's size. Seeds are never 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "support/pattern.h"

namespace weir {

enum class Content : uint8_t {
  kCompressible = 1,  // one word in eight is random: about a fifth of its size, compressed
  kRandom = 2,        // does not compress
  kUniform = 3,       // one word all over: a page becomes a handle
};

constexpr uint64_t content_seed(uint64_t random, Content kind) {
  return (random & ~uint64_t{3}) | static_cast<uint64_t>(kind);
}

inline uint64_t content_word(uint64_t seed, size_t offset) {
  switch (static_cast<Content>(seed & 3)) {
    case Content::kUniform:
      return seed >> 32;
    case Content::kCompressible:
      if (offset / sizeof(uint64_t) % 8 != 0) return seed;
      break;
    case Content::kRandom:
      break;
  }
  return pattern_word(seed, offset);
}

inline void write_content(void* block, size_t size, uint64_t seed) {
  char* bytes = static_cast<char*>(block);
  for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
    const uint64_t word = content_word(seed, at);
    memcpy(bytes + at, &word, size - at < sizeof(word) ? size - at : sizeof(word));
  }
}

// True when `bytes` bytes at `from` (a multiple of 8) of a block are what was written to it.
inline bool check_content_at(const void* block, size_t from, size_t bytes, uint64_t seed) {
  const char* first = static_cast<const char*>(block);
  for (size_t at = from; at < from + bytes; at += sizeof(uint64_t)) {
    const uint64_t word = content_word(seed, at);
    const size_t left = from + bytes - at;
    if (memcmp(first + at, &word, left < sizeof(word) ? left : sizeof(word)) != 0) return false;
  }
  return true;
}

}  // namespace weir
