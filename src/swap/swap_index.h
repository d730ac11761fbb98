// Purpose: a set of numbers that finds its next member in a few steps, however large and empty it is: a bitmap, a
// bitmap
//          of which words of it are not empty, and so on.
// Thread safety: none; the owner locks. Invariants: a bit of an upper level is set exactly when the word below it is
//                not zero.
#pragma once

#include <cstdint>

#include "base/bitmap.h"
#include "swap/swap_array.h"

namespace weir {

class SwapIndex {
 public:
  static constexpr uint64_t kNone = UINT64_MAX;

  constexpr SwapIndex() = default;
  // For numbers below `capacity`, at most 64^5 = 2^30.
  [[nodiscard]] bool open(uint64_t capacity) {
    uint64_t words = 0;
    levels_ = 0;
    for (uint64_t bits = capacity; levels_ == 0 || bits > 1; ++levels_) {
      if (levels_ == kMaxLevels) return false;
      bits = (bits + 63) / 64;
      start_[levels_] = words;
      words += bits;
    }
    capacity_ = capacity;
    return words_.reserve(words) && words_.grow(words);
  }
  void close() { words_.release(); }

  bool test(uint64_t i) const { return bitmap::test(words_.data(), i); }
  void insert(uint64_t i) {
    for (unsigned level = 0; level < levels_; ++level, i /= 64) {
      uint64_t& word = words_[start_[level] + i / 64];
      const uint64_t before = word;
      word |= uint64_t{1} << (i % 64);
      if (before != 0) return;
    }
  }
  void erase(uint64_t i) {
    for (unsigned level = 0; level < levels_; ++level, i /= 64) {
      uint64_t& word = words_[start_[level] + i / 64];
      word &= ~(uint64_t{1} << (i % 64));
      if (word != 0) return;
    }
  }
  void put(uint64_t i, bool member) { member ? insert(i) : erase(i); }

  // The least member that is at least `from`.
  uint64_t find_from(uint64_t from) const {
    if (from >= capacity_) return kNone;
    unsigned level = 0;
    for (uint64_t i = from;; ++level) {
      // Going up, `i` may stand behind the level's last bit.
      if (level == levels_) return kNone;
      const uint64_t word = i / 64 < words_at(level) ? words_[start_[level] + i / 64] >> (i % 64) : 0;
      if (word != 0) return descend(level, i + static_cast<uint64_t>(std::countr_zero(word)));
      i = i / 64 + 1;
    }
  }
  // The same, going on from 0 when there is none.
  uint64_t find_around(uint64_t from) const {
    const uint64_t found = find_from(from);
    return found == kNone ? find_from(0) : found;
  }
  // The greatest member.
  uint64_t find_last() const {
    uint64_t i = 0;
    for (unsigned level = levels_; level-- > 0;) {
      const uint64_t word = words_[start_[level] + i];
      if (word == 0) return kNone;
      i = i * 64 + 63 - static_cast<uint64_t>(std::countl_zero(word));
    }
    return i;
  }
  // True when the upper levels say what the lowest one does.
  bool verify() const {
    for (unsigned level = 1; level < levels_; ++level)
      for (uint64_t i = 0; i < words_at(level - 1); ++i)
        if (((words_[start_[level] + i / 64] >> (i % 64)) & 1) != (words_[start_[level - 1] + i] != 0)) return false;
    return true;
  }

 private:
  static constexpr unsigned kMaxLevels = 5;

  uint64_t words_at(unsigned level) const {
    uint64_t bits = capacity_;
    for (unsigned i = 0; i <= level; ++i) bits = (bits + 63) / 64;
    return bits;
  }
  uint64_t descend(unsigned level, uint64_t i) const {
    while (level-- > 0) i = i * 64 + static_cast<uint64_t>(std::countr_zero(words_[start_[level] + i]));
    return i;
  }

  uint64_t capacity_ = 0;
  unsigned levels_ = 0;
  uint64_t start_[kMaxLevels] = {};
  SwapArray<uint64_t> words_;
};

}  // namespace weir
