// What the pages hold: words made from the page's number, so that any word can be checked at any time, in a mix of
// random and repeating words that compresses as asked for.
//
// A page is 32 lines of 128 bytes, like an array of small objects: the front of each line is random, the rest repeats
// one word of the page. The first word of a line is always random and may be a slot: each thread has one slot per page,
// the only word it ever writes there, with a version that counts its writes. So a lost write shows as well as a lost
// or misplaced page, threads never write the same word, and writing leaves compressibility as it was.
//
// Thread safety: constant after construction.
#ifndef WEIR_BENCH_PRESSURE_CONTENT_H_
#define WEIR_BENCH_PRESSURE_CONTENT_H_

#include <cstddef>
#include <cstdint>

#include "../programs/common.h"

namespace pressure {

inline constexpr size_t kPageSize = 4096;
inline constexpr size_t kPageWords = kPageSize / sizeof(uint64_t);
inline constexpr size_t kLineWords = 16;
inline constexpr size_t kPageLines = kPageWords / kLineWords;
inline constexpr unsigned kMostThreads = kPageLines;  // one slot each

class Content {
 public:
  // `compressibility`: the share of repeating words, 0 to 1; one word in 16 stays random.
  explicit Content(double compressibility)
      : random_words_(static_cast<size_t>(static_cast<double>(kLineWords) * (1.0 - compressibility) + 0.5)) {
    if (random_words_ < 1) random_words_ = 1;
  }

  // As filled, before any write.
  uint64_t word(uint64_t page, size_t index) const {
    if (index % kLineWords < random_words_) return bench::mix((page << 16 | index) + kRandom);
    return bench::mix(page + kRepeating);
  }

  // Whether a thread may have this word for its own.
  static bool may_be_slot(size_t index) { return index % kLineWords == 0; }
  static size_t slot(uint64_t page, unsigned thread) {
    return (bench::mix(page + kRepeating) + thread) % kPageLines * kLineWords;
  }
  // The slot's content after `version` writes (modulo 256); version 0 is what it was filled with.
  uint64_t slot_word(uint64_t page, unsigned thread, uint8_t version) const {
    const size_t index = slot(page, thread);
    return version == 0 ? word(page, index) : bench::mix((page << 16 | index) + kRandom + uint64_t{version} * kStep);
  }

  void fill(uint64_t* memory, uint64_t page) const {
    for (size_t i = 0; i < kPageWords; ++i) memory[i] = word(page, i);
  }

 private:
  // Any odd constants: they only keep the kinds of words apart.
  static constexpr uint64_t kRandom = 0x9e3779b97f4a7c15u;
  static constexpr uint64_t kRepeating = 0xd1b54a32d192ed03u;
  static constexpr uint64_t kStep = 0xaef17502108ef2d9u;

  size_t random_words_;
};

}  // namespace pressure

#endif  // WEIR_BENCH_PRESSURE_CONTENT_H_
