// Sets of cubes over two-valued variables, each cube a malloc of its own, and the recursive operations of two-level
// logic on them: cofactor, tautology, complement.
//
// A cube holds two bits per variable: 01 the variable must be 0, 10 it must be 1, 11 either, 00 nothing satisfies it.
// Belongs to one thread.
#ifndef WEIR_BENCH_PROGRAMS_COVER_H_
#define WEIR_BENCH_PROGRAMS_COVER_H_

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "common.h"

namespace bench {

inline constexpr unsigned kVariablesPerWord = 32;
inline constexpr uint64_t kLowBits = 0x5555'5555'5555'5555u;

class Cube {
 public:
  explicit Cube(unsigned variables)
      : variables_(variables), words_(static_cast<uint64_t*>(must_malloc(word_count() * sizeof(uint64_t)))) {
    for (unsigned w = 0; w < word_count(); ++w) words_[w] = mask(w);
  }
  Cube(const Cube& other)
      : variables_(other.variables_), words_(static_cast<uint64_t*>(must_malloc(word_count() * sizeof(uint64_t)))) {
    memcpy(words_, other.words_, word_count() * sizeof(uint64_t));
  }
  Cube(Cube&& other) noexcept : variables_(other.variables_), words_(std::exchange(other.words_, nullptr)) {}
  Cube& operator=(Cube other) noexcept {
    std::swap(words_, other.words_);
    variables_ = other.variables_;
    return *this;
  }
  ~Cube() { free(words_); }

  unsigned variables() const { return variables_; }
  unsigned get(unsigned v) const { return (words_[v / kVariablesPerWord] >> (v % kVariablesPerWord * 2)) & 3; }
  void set(unsigned v, unsigned value) {
    const unsigned shift = v % kVariablesPerWord * 2;
    uint64_t& word = words_[v / kVariablesPerWord];
    word = (word & ~(uint64_t{3} << shift)) | (uint64_t{value} << shift);
  }

  bool universal() const {
    for (unsigned w = 0; w < word_count(); ++w) {
      if (words_[w] != mask(w)) return false;
    }
    return true;
  }
  bool intersects(const Cube& other) const {
    for (unsigned w = 0; w < word_count(); ++w) {
      const uint64_t both = words_[w] & other.words_[w];
      if (((both | (both >> 1)) & kLowBits) != (mask(w) & kLowBits)) return false;
    }
    return true;
  }
  bool contains(const Cube& other) const {
    for (unsigned w = 0; w < word_count(); ++w) {
      if ((other.words_[w] & ~words_[w]) != 0) return false;
    }
    return true;
  }
  unsigned literals() const {
    unsigned count = 0;
    for (unsigned w = 0; w < word_count(); ++w) count += static_cast<unsigned>(std::popcount(mask(w) & ~words_[w]));
    return count;
  }
  // The part of this cube inside `part`, seen from there.
  Cube cofactor(const Cube& part) const {
    Cube result(*this);
    for (unsigned w = 0; w < word_count(); ++w) result.words_[w] |= mask(w) & ~part.words_[w];
    return result;
  }
  void restrict_to(const Cube& other) {
    for (unsigned w = 0; w < word_count(); ++w) words_[w] &= other.words_[w];
  }
  void extend_to(const Cube& other) {
    for (unsigned w = 0; w < word_count(); ++w) words_[w] |= other.words_[w];
  }
  uint64_t digest() const {
    uint64_t sum = 0;
    for (unsigned w = 0; w < word_count(); ++w) sum = mix(sum ^ words_[w]);
    return sum;
  }

 private:
  unsigned word_count() const { return (variables_ + kVariablesPerWord - 1) / kVariablesPerWord; }
  uint64_t mask(unsigned w) const {
    const unsigned left = variables_ - w * kVariablesPerWord;
    return left >= kVariablesPerWord ? ~uint64_t{0} : (uint64_t{1} << (left * 2)) - 1;
  }

  unsigned variables_;
  uint64_t* words_;
};

using Cover = std::vector<Cube>;

inline constexpr unsigned kNoVariable = ~0u;

struct Split {
  unsigned variable;  // kNoVariable: no cube has a literal
  bool binate;        // it appears in both senses
};

// The variable to branch on: the one that appears in both senses most evenly, else the one that appears most often.
inline Split choose_split(const Cover& cover, unsigned variables) {
  Split best{kNoVariable, false};
  unsigned best_score = 0;
  for (unsigned v = 0; v < variables; ++v) {
    unsigned zeros = 0, ones = 0;
    for (const Cube& cube : cover) {
      zeros += cube.get(v) == 1;
      ones += cube.get(v) == 2;
    }
    const bool binate = zeros > 0 && ones > 0;
    // Any binate variable goes before any unate one.
    const unsigned score = zeros + ones + (binate ? 1'000'000 : 0);
    if (zeros + ones > 0 && score > best_score) {
      best = {v, binate};
      best_score = score;
    }
  }
  return best;
}

inline Cube literal(unsigned variables, unsigned v, unsigned value) {
  Cube cube(variables);
  cube.set(v, value);
  return cube;
}

inline Cover cofactor(const Cover& cover, const Cube& part) {
  Cover result;
  for (const Cube& cube : cover) {
    if (cube.intersects(part)) result.push_back(cube.cofactor(part));
  }
  return result;
}

inline bool has_universal(const Cover& cover) {
  for (const Cube& cube : cover) {
    if (cube.universal()) return true;
  }
  return false;
}

// True when the cubes together cover everything.
inline bool tautology(const Cover& cover, unsigned variables) {
  if (has_universal(cover)) return true;
  double volume = 0;
  for (const Cube& cube : cover) volume += 1.0 / static_cast<double>(uint64_t{1} << cube.literals());
  if (volume < 1.0) return false;
  const Split split = choose_split(cover, variables);
  // A cover in which every variable has one sense only covers everything just when one of its cubes does.
  if (!split.binate) return false;
  return tautology(cofactor(cover, literal(variables, split.variable, 1)), variables) &&
         tautology(cofactor(cover, literal(variables, split.variable, 2)), variables);
}

inline Cover complement_of_cube(const Cube& cube) {
  Cover result;
  for (unsigned v = 0; v < cube.variables(); ++v) {
    if (cube.get(v) != 3) result.push_back(literal(cube.variables(), v, 3u ^ cube.get(v)));
  }
  return result;
}

// Joins the complements of both halves: a cube found in both needs no literal of the split variable.
inline Cover merge_halves(Cover zero, Cover one, unsigned v) {
  Cover result;
  for (Cube& cube : zero) {
    const bool in_both = std::any_of(one.begin(), one.end(), [&](const Cube& other) { return other.contains(cube); });
    if (!in_both) cube.set(v, 1);
    result.push_back(std::move(cube));
  }
  for (Cube& cube : one) {
    if (std::any_of(result.begin(), result.end(), [&](const Cube& other) { return other.contains(cube); })) continue;
    cube.set(v, 2);
    result.push_back(std::move(cube));
  }
  return result;
}

inline Cover complement(const Cover& cover, unsigned variables) {
  if (cover.empty()) return Cover(1, Cube(variables));
  if (has_universal(cover)) return {};
  if (cover.size() == 1) return complement_of_cube(cover[0]);
  const unsigned v = choose_split(cover, variables).variable;
  return merge_halves(complement(cofactor(cover, literal(variables, v, 1)), variables),
                      complement(cofactor(cover, literal(variables, v, 2)), variables), v);
}

}  // namespace bench

#endif  // WEIR_BENCH_PROGRAMS_COVER_H_
