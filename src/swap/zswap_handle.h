// Purpose: what a handle of the compressed pool says by itself: where an entry lies and how long it is, or, for a page
//          that repeats one word, the word. So a load needs no table, and such pages need no memory.
// Thread safety: values. Invariants: a handle is below 2^56 and never 0.
//
//   entry        bit 55 clear, bit 54 set: zstd, clear: LZ4, bits 12..53 place in units of 16 bytes, bits 0..11 bytes
//                (never 0)
//   same-filled  bit 55 set, bits 53..54 WordForm, bits 0..51 payload
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/units.h"
#include "swap/compressor.h"

namespace weir::zswap {

inline constexpr unsigned kPlaceShift = 4;  // slots lie at multiples of 16 bytes
inline constexpr unsigned kSizeBits = 12;   // an entry is smaller than a page
inline constexpr uint64_t kSameFilled = uint64_t{1} << 55;
inline constexpr uint64_t kZstdEntry = uint64_t{1} << 54;
// Places lie below: half of the address space of a process.
inline constexpr size_t kPlaceEnd = size_t{1} << (54 - kSizeBits + kPlaceShift);
inline constexpr unsigned kFormShift = 53;
inline constexpr unsigned kPayloadBits = 52;
inline constexpr uint64_t kPayloadMask = (uint64_t{1} << kPayloadBits) - 1;
inline constexpr uint64_t kHighMask = ~kPayloadMask;

constexpr uint64_t entry_handle(size_t place, size_t bytes, Codec codec) {
  return (codec == Codec::kZstd ? kZstdEntry : 0) | (uint64_t{place} >> kPlaceShift) << kSizeBits | bytes;
}
constexpr size_t entry_place(uint64_t handle) {
  return ((handle & ~kZstdEntry) >> kSizeBits) << kPlaceShift;
}
constexpr Codec entry_codec(uint64_t handle) {
  return (handle & kZstdEntry) != 0 ? Codec::kZstd : Codec::kLz4;
}
constexpr size_t entry_bytes(uint64_t handle) {
  return handle & ((uint64_t{1} << kSizeBits) - 1);
}
constexpr bool is_same_filled(uint64_t handle) {
  return (handle & kSameFilled) != 0;
}

// How 64 bits become 52. What fits none of these goes through the codec like any other page (to some 30 bytes).
enum class WordForm : uint8_t {
  kSmall = 0,     // the upper 12 bits are 0: zero, counters, pointers
  kNegative = 1,  // the upper 12 bits are 1
  kUpper = 2,     // the lower 12 bits are 0: most floating-point constants
  kTwice = 3,     // both halves are equal: every pattern of 1, 2 or 4 bytes
};

// The handle of a page full of `word`; 0 when the word does not fit.
constexpr uint64_t same_filled_handle(uint64_t word) {
  const auto handle = [](WordForm form, uint64_t payload) {
    return kSameFilled | uint64_t{static_cast<uint8_t>(form)} << kFormShift | payload;
  };
  if ((word & kHighMask) == 0) return handle(WordForm::kSmall, word);
  if ((word & kHighMask) == kHighMask) return handle(WordForm::kNegative, word & kPayloadMask);
  if (word << kPayloadBits == 0) return handle(WordForm::kUpper, word >> (64 - kPayloadBits));
  if (word >> 32 == (word & 0xffffffff)) return handle(WordForm::kTwice, word & 0xffffffff);
  return 0;
}

// The word that a same-filled page is full of.
constexpr uint64_t same_filled_word(uint64_t handle) {
  const uint64_t payload = handle & kPayloadMask;
  switch (static_cast<WordForm>(handle >> kFormShift & 3)) {
    case WordForm::kSmall:
      return payload;
    case WordForm::kNegative:
      return payload | kHighMask;
    case WordForm::kUpper:
      return payload << (64 - kPayloadBits);
    case WordForm::kTwice:
      return (payload & 0xffffffff) << 32 | (payload & 0xffffffff);
  }
  return payload;
}

// True when all words of the page are equal; `word` gets the first. Ordinary pages differ in their first or last words.
inline bool repeats_one_word(const void* page, uint64_t& word) {
  constexpr size_t kWords = kPageSize / sizeof(uint64_t);
  const char* bytes = static_cast<const char*>(page);
  const auto at = [bytes](size_t i) {
    uint64_t value;
    memcpy(&value, bytes + i * sizeof(value), sizeof(value));
    return value;
  };
  word = at(0);
  if (at(kWords - 1) != word) return false;
  for (size_t i = 0; i < kWords; i += 8) {  // a cache line at a time, which the compiler makes vectors of
    uint64_t difference = 0;
    for (size_t k = i; k < i + 8; ++k) difference |= at(k) ^ word;
    if (difference != 0) return false;
  }
  return true;
}

inline void fill_page(void* page, uint64_t word) {
  char* bytes = static_cast<char*>(page);
  for (size_t i = 0; i < kPageSize; i += sizeof(word)) memcpy(bytes + i, &word, sizeof(word));
}

}  // namespace weir::zswap
