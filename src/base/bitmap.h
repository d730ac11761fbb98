// Purpose: operations on ranges of bits in arrays of 64-bit words that somebody else owns.
// Thread safety: none; the owner of the words locks. Invariants: bits outside the range are never changed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace weir::bitmap {

inline constexpr size_t kWordBits = 64;

constexpr uint64_t low_mask(size_t bits) {
  return bits >= kWordBits ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
}

// How many bits are set. By hand: without an instruction for it the compiler calls a function of its own library,
// another page of code that starting a program would touch. (Warren, "Hacker's Delight", 5-1.)
constexpr unsigned weight(uint64_t word) {
  constexpr uint64_t kTwos = 0x5555555555555555, kFours = 0x3333333333333333, kBytes = 0x0f0f0f0f0f0f0f0f;
  word -= word >> 1 & kTwos;
  word = (word & kFours) + (word >> 2 & kFours);
  word = (word + (word >> 4)) & kBytes;
  return static_cast<unsigned>(word * (~uint64_t{0} / 255) >> 56);
}

inline bool test(const uint64_t* words, size_t i) {
  return (words[i / kWordBits] >> (i % kWordBits)) & 1;
}
inline void set(uint64_t* words, size_t i) {
  words[i / kWordBits] |= uint64_t{1} << (i % kWordBits);
}
inline void clear(uint64_t* words, size_t i) {
  words[i / kWordBits] &= ~(uint64_t{1} << (i % kWordBits));
}

// Calls visit(word&, mask) for each word that the range [first, first + count) touches.
template <class Word, class Visit>
inline void for_range(Word* words, size_t first, size_t count, Visit visit) {
  while (count != 0) {
    const size_t shift = first % kWordBits;
    const size_t here = count < kWordBits - shift ? count : kWordBits - shift;
    visit(words[first / kWordBits], low_mask(here) << shift);
    first += here;
    count -= here;
  }
}

// The other bits of a word may change meanwhile (residency under a limit). The same code as a plain load.
inline uint64_t load(const uint64_t& w) {
  return __atomic_load_n(&w, __ATOMIC_RELAXED);
}

inline size_t count_range(const uint64_t* words, size_t first, size_t count) {
  size_t total = 0;
  for_range(words, first, count, [&](const uint64_t& w, uint64_t mask) { total += size_t{weight(load(w) & mask)}; });
  return total;
}

// Sets the range; returns how many of its bits were clear before.
inline size_t set_range(uint64_t* words, size_t first, size_t count) {
  size_t changed = 0;
  for_range(words, first, count, [&](uint64_t& w, uint64_t mask) {
    changed += size_t{weight(~w & mask)};
    w |= mask;
  });
  return changed;
}

// Clears the range; returns how many of its bits were set before.
inline size_t clear_range(uint64_t* words, size_t first, size_t count) {
  size_t changed = 0;
  for_range(words, first, count, [&](uint64_t& w, uint64_t mask) {
    changed += size_t{weight(w & mask)};
    w &= ~mask;
  });
  return changed;
}

// The same for words whose other bits change at any time.
inline size_t atomic_set_range(uint64_t* words, size_t first, size_t count) {
  size_t changed = 0;
  for_range(words, first, count, [&](uint64_t& w, uint64_t mask) {
    changed += size_t{weight(~__atomic_fetch_or(&w, mask, __ATOMIC_RELAXED) & mask)};
  });
  return changed;
}
inline size_t atomic_clear_range(uint64_t* words, size_t first, size_t count) {
  size_t changed = 0;
  for_range(words, first, count, [&](uint64_t& w, uint64_t mask) {
    changed += size_t{weight(__atomic_fetch_and(&w, ~mask, __ATOMIC_RELAXED) & mask)};
  });
  return changed;
}

// The first index >= from and < end whose bit equals `value`, or `end`.
inline size_t find_next(const uint64_t* words, size_t from, size_t end, bool value) {
  while (from < end) {
    const uint64_t all = load(words[from / kWordBits]);
    const uint64_t w = (value ? all : ~all) >> (from % kWordBits);
    if (w != 0) {
      const size_t found = from + static_cast<size_t>(std::countr_zero(w));
      return found < end ? found : end;
    }
    from = (from / kWordBits + 1) * kWordBits;
  }
  return end;
}

}  // namespace weir::bitmap
