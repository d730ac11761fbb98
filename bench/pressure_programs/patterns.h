// Which page is touched next.
//
//   uniform    every page alike
//   hot        90% of the touches go to the first fifth of the pages
//   hot-spread the same, but the fifth is single pages spread over all of the memory
//   zipf       rank r in proportion to 1 / r^0.99, ranks spread over all of the memory
//   scan       one page after the other, over and over; each thread begins at its share of the memory
//   hot-scan   every other touch goes to the first quarter at random, the others scan the rest
//
// Thread safety: a Pattern belongs to one thread. Source of the Zipf generator: Gray et al., "Quickly generating
// billion-record synthetic databases", SIGMOD 1994.
#ifndef WEIR_BENCH_PRESSURE_PATTERNS_H_
#define WEIR_BENCH_PRESSURE_PATTERNS_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "../programs/common.h"

namespace pressure {

enum class PatternKind { kUniform, kHot, kHotSpread, kZipf, kScan, kHotScan, kUnknown };

inline constexpr const char* kPatternNames = "uniform, hot, hot-spread, zipf, scan or hot-scan";

inline PatternKind pattern_named(const char* name) {
  const char* names[] = {"uniform", "hot", "hot-spread", "zipf", "scan", "hot-scan"};
  for (unsigned i = 0; i < 6; ++i) {
    if (strcmp(name, names[i]) == 0) return static_cast<PatternKind>(i);
  }
  return PatternKind::kUnknown;
}

class Zipf {
 public:
  void init(uint64_t n) {
    n_ = static_cast<double>(n);
    double sum = 0;
    for (uint64_t i = 1; i <= n; ++i) sum += 1.0 / std::pow(static_cast<double>(i), kTheta);
    sum_ = sum;
    const double first_two = 1.0 + std::pow(0.5, kTheta);
    eta_ = (1.0 - std::pow(2.0 / n_, 1.0 - kTheta)) / (1.0 - first_two / sum_);
  }
  // A rank from 0 on.
  uint64_t next(bench::Rng& rng) const {
    const double u = rng.unit(), scaled = u * sum_;
    if (scaled < 1.0) return 0;
    if (scaled < 1.0 + std::pow(0.5, kTheta)) return 1;
    const auto rank = static_cast<uint64_t>(n_ * std::pow(eta_ * u - eta_ + 1.0, 1.0 / (1.0 - kTheta)));
    return rank < static_cast<uint64_t>(n_) ? rank : static_cast<uint64_t>(n_) - 1;
  }

 private:
  static constexpr double kTheta = 0.99;
  double n_ = 0, sum_ = 0, eta_ = 0;
};

class Pattern {
 public:
  void init(PatternKind kind, uint64_t pages, unsigned thread, unsigned threads) {
    kind_ = kind;
    pages_ = pages;
    hot_ = pages / (kind == PatternKind::kHotScan ? 4 : 5);
    cursor_ = pages / threads * thread;
    if (kind == PatternKind::kZipf) zipf_.init(pages);
  }

  uint64_t next(bench::Rng& rng) {
    switch (kind_) {
      case PatternKind::kUniform:
        return rng.below(pages_);
      case PatternKind::kHot:
        return hot_or_cold(rng);
      case PatternKind::kHotSpread:
        return spread(hot_or_cold(rng));
      case PatternKind::kZipf:
        return spread(zipf_.next(rng));
      case PatternKind::kScan:
        return cursor_ = cursor_ + 1 < pages_ ? cursor_ + 1 : 0;
      case PatternKind::kHotScan:
      case PatternKind::kUnknown:
        break;
    }
    if ((rng.next() >> 32 & 1) != 0) return rng.below(hot_);
    return cursor_ = cursor_ + 1 < pages_ && cursor_ + 1 > hot_ ? cursor_ + 1 : hot_;
  }

 private:
  uint64_t hot_or_cold(bench::Rng& rng) const {
    return rng.below(10) != 0 ? rng.below(hot_) : hot_ + rng.below(pages_ - hot_);
  }
  // One to one, because the factor is a prime that no number of pages below 2^31 is a multiple of.
  uint64_t spread(uint64_t rank) const { return rank * 2654435761u % pages_; }

  PatternKind kind_ = PatternKind::kUniform;
  uint64_t pages_ = 0, hot_ = 0, cursor_ = 0;
  Zipf zipf_;
};

}  // namespace pressure

#endif  // WEIR_BENCH_PRESSURE_PATTERNS_H_
