// Latencies: a fast clock in ticks, and a log-linear histogram that keeps every value to 3%, however large.
//
// Thread safety: a Histogram belongs to one thread; add() joins them when the threads have ended.
#ifndef WEIR_BENCH_PRESSURE_HISTOGRAM_H_
#define WEIR_BENCH_PRESSURE_HISTOGRAM_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace pressure {

inline uint64_t now_ns() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(ts.tv_nsec);
}

// Where there is no time-stamp counter, a tick is a nanosecond. ticks() waits for the loads before it.
#if defined(__x86_64__)
inline uint64_t ticks() {
  unsigned cpu;
  const uint64_t t = __rdtscp(&cpu);
  _mm_lfence();
  return t;
}
#else
inline uint64_t ticks() {
  return now_ns();
}
#endif

// Ticks per nanosecond, compared with the system's clock over 20 ms: at that length the two reads matter to 1 in 10^5.
inline double measure_tick_rate() {
  const uint64_t ns = now_ns(), t = ticks();
  while (now_ns() - ns < 20'000'000) {
  }
  return static_cast<double>(ticks() - t) / static_cast<double>(now_ns() - ns);
}

class Histogram {
 public:
  void record(uint64_t value) {
    ++counts_[bucket_of(value)];
    ++total_;
    if (value > most_) most_ = value;
  }
  void add(const Histogram& other) {
    for (size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
    if (other.most_ > most_) most_ = other.most_;
  }
  uint64_t total() const { return total_; }
  uint64_t most() const { return most_; }

  // The least value that `fraction` of all values do not exceed, as the upper end of its bucket.
  uint64_t quantile(double fraction) const {
    const double wanted = fraction * static_cast<double>(total_);
    uint64_t seen = 0;
    for (size_t i = 0; i < kBuckets; ++i) {
      seen += counts_[i];
      if (seen != 0 && static_cast<double>(seen) >= wanted) return upper_end(i) < most_ ? upper_end(i) : most_;
    }
    return most_;
  }

  // ,"p50_ns":N,... of a JSON object.
  void print(FILE* out, double ticks_per_ns) const {
    const struct {
      const char* name;
      double fraction;
    } kinds[] = {{"p50_ns", 0.5}, {"p90_ns", 0.9}, {"p99_ns", 0.99}, {"p999_ns", 0.999}};
    for (const auto& kind : kinds) {
      fprintf(out, ",\"%s\":%.0f", kind.name, static_cast<double>(quantile(kind.fraction)) / ticks_per_ns);
    }
    fprintf(out, ",\"max_ns\":%.0f", static_cast<double>(most_) / ticks_per_ns);
  }

 private:
  // 32 buckets per power of two: 3%.
  static constexpr unsigned kBits = 5;
  static constexpr size_t kBuckets = (64 - kBits + 1) << kBits;

  static size_t bucket_of(uint64_t value) {
    if (value < (1u << kBits)) return value;
    const unsigned shift = 63 - static_cast<unsigned>(__builtin_clzll(value)) - kBits;
    return (static_cast<size_t>(shift) << kBits) + (value >> shift);
  }
  static uint64_t upper_end(size_t bucket) {
    if (bucket < (2u << kBits)) return bucket;
    const size_t shift = (bucket >> kBits) - 1;
    const uint64_t front = bucket - (shift << kBits);
    return ((front + 1) << shift) - 1;
  }

  uint64_t counts_[kBuckets] = {};
  uint64_t total_ = 0;
  uint64_t most_ = 0;
};

}  // namespace pressure

#endif  // WEIR_BENCH_PRESSURE_HISTOGRAM_H_
