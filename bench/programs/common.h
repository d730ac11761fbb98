// What every benchmark program shares: command line, random numbers, content checks, the result line.
//
// A program takes [SCALE] [--threads N] [--seed N], does an amount of work that depends on these three alone, and
// prints one line "<name> checksum=<16 hex digits> ...". The checksum must not depend on how threads interleave: blocks
// contribute to a sum, whoever frees them. Corrupted content ends the program with status 1, bad usage with 64.
//
// Thread safety: Rng and Sum belong to one thread each; the other functions are pure or end the process.
#ifndef WEIR_BENCH_PROGRAMS_COMMON_H_
#define WEIR_BENCH_PROGRAMS_COMMON_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {

struct Options {
  double scale = 1.0;
  uint64_t seed = 42;
  unsigned threads = 1;

  // `base` pieces of work at scale 1, never less than one.
  size_t scaled(size_t base) const {
    const double n = static_cast<double>(base) * scale;
    return n < 1.0 ? 1 : static_cast<size_t>(n);
  }
};

[[noreturn]] inline void usage(const char* program, const char* bad) {
  fprintf(stderr, "%s: bad argument '%s', expected [SCALE > 0] [--threads 1..256] [--seed NUMBER]\n", program, bad);
  exit(64);
}

inline uint64_t parse_number(const char* program, const char* text, uint64_t low, uint64_t high) {
  char* end = nullptr;
  const unsigned long long value = text == nullptr ? 0 : strtoull(text, &end, 10);
  if (text == nullptr || end == text || *end != '\0' || value < low || value > high) {
    usage(program, text == nullptr ? "(missing value)" : text);
  }
  return value;
}

inline Options parse_options(int argc, char** argv, unsigned default_threads) {
  Options options;
  options.threads = default_threads;
  for (int i = 1; i < argc; ++i) {
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (strcmp(argv[i], "--threads") == 0) {
      options.threads = static_cast<unsigned>(parse_number(argv[0], value, 1, 256));
      ++i;
    } else if (strcmp(argv[i], "--seed") == 0) {
      options.seed = parse_number(argv[0], value, 0, UINT64_MAX);
      ++i;
    } else {
      char* end = nullptr;
      options.scale = strtod(argv[i], &end);
      if (end == argv[i] || *end != '\0' || !(options.scale > 0) || options.scale > 1e6) usage(argv[0], argv[i]);
    }
  }
  return options;
}

// Mixes 64 bits so that neighbouring inputs give unrelated outputs (the finaliser of SplitMix64).
inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// SplitMix64: a counter and a mix, cheap enough not to hide the allocator.
class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(mix(seed + 0x9e3779b97f4a7c15u)) {}
  uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15u); }
  // Uniform in [0, n), n below 2^32.
  uint32_t below(uint64_t n) { return static_cast<uint32_t>(((next() >> 32) * n) >> 32); }
  // Uniform in [low, high].
  size_t between(size_t low, size_t high) { return low + below(high - low + 1); }
  // Uniform in [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

[[noreturn]] inline void fail(const char* what) {
  fprintf(stderr, "benchmark: %s\n", what);
  _Exit(1);
}

inline void* must_malloc(size_t size) {
  void* p = malloc(size);
  if (p == nullptr) fail("malloc returned null");
  return p;
}

// A block that knows what was written to it.
struct Block {
  unsigned char* data = nullptr;
  size_t size = 0;
  uint64_t tag = 0;
};

// Programs touch memory as real ones do: both ends, and each page in between (a page is 4 KiB on what we run on; on
// others the stride is merely finer than needed).
inline constexpr size_t kTouchStride = 4096;

inline void stamp(const Block& b) {
  for (size_t at = kTouchStride; at + 8 < b.size; at += kTouchStride) b.data[at] = static_cast<unsigned char>(b.tag);
  if (b.size >= 8) {
    memcpy(b.data, &b.tag, 8);
    memcpy(b.data + b.size - 8, &b.tag, 8);
  } else {
    memset(b.data, static_cast<int>(b.tag & 0xff), b.size);
  }
}

// Returns the block's share of the checksum, or ends the process when the content is not what was stamped.
inline uint64_t verify(const Block& b) {
  bool intact = true;
  if (b.size >= 16) {
    intact = memcmp(b.data, &b.tag, 8) == 0 && memcmp(b.data + b.size - 8, &b.tag, 8) == 0;
  } else if (b.size >= 8) {
    intact = memcmp(b.data + b.size - 8, &b.tag, 8) == 0;
  } else if (b.size > 0) {
    intact = b.data[0] == static_cast<unsigned char>(b.tag) && b.data[b.size - 1] == static_cast<unsigned char>(b.tag);
  }
  for (size_t at = kTouchStride; at + 8 < b.size; at += kTouchStride) {
    intact = intact && b.data[at] == static_cast<unsigned char>(b.tag);
  }
  if (!intact) fail("a block's content has changed");
  return (b.tag ^ b.size) * 0x9e3779b97f4a7c15u;
}

inline Block allocate(size_t size, uint64_t tag) {
  Block b{static_cast<unsigned char*>(must_malloc(size)), size, tag};
  stamp(b);
  return b;
}

// Verifies, frees, and returns the block's share of the checksum.
inline uint64_t release(Block& b) {
  if (b.data == nullptr) return 0;
  const uint64_t share = verify(b);
  free(b.data);
  b.data = nullptr;
  return share;
}

inline int finish(const char* name, uint64_t checksum) {
  printf("%s checksum=%016llx\n", name, static_cast<unsigned long long>(checksum));
  return fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace bench

#endif  // WEIR_BENCH_PROGRAMS_COMMON_H_
