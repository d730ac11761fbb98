#include "swap/swap_cipher.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstring>

namespace weir {
namespace {

#define WEIR_INLINE inline __attribute__((always_inline))

// A shuffle of two vectors by a constant mask. Clang has no such operation on masks that are vectors, but makes one of
// this loop.
#if defined(__clang__)
#define WEIR_SHUFFLE(to, a, b, mask)                \
  for (unsigned lane_ = 0; lane_ < kLanes; ++lane_) \
  (to)[lane_] = (mask)[lane_] < kLanes ? (a)[(mask)[lane_]] : (b)[(mask)[lane_] - kLanes]
#else
#define WEIR_SHUFFLE(to, a, b, mask) (to) = __builtin_shuffle((a), (b), (mask))
#endif

// Arrays of vectors stay in registers only when every index is a constant.
#define WEIR_UNROLL _Pragma("GCC unroll 16")

constexpr unsigned kBlockWords = 16;

template <unsigned kLanes>
struct VectorOf;
template <>
struct VectorOf<4> {
  using Type = uint32_t __attribute__((vector_size(16)));
};
template <>
struct VectorOf<8> {
  using Type = uint32_t __attribute__((vector_size(32)));
};

// Several blocks side by side, one in each 32-bit lane of a vector. Vectors are passed by reference only: how they are
// passed by value depends on the instructions that a function may use.
template <unsigned kLanes>
struct Blocks {
  using Vector = typename VectorOf<kLanes>::Type;

  static WEIR_INLINE void mix(Vector& sum, const Vector& addend, Vector& target, unsigned bits) {
    sum += addend;
    target ^= sum;
    target = (target << bits) | (target >> (32 - bits));
  }
  // Section 2.1.
  static WEIR_INLINE void quarter_round(Vector& a, Vector& b, Vector& c, Vector& d) {
    mix(a, b, d, 16);
    mix(c, d, b, 12);
    mix(a, b, d, 8);
    mix(c, d, b, 7);
  }
  // Section 2.3: constants "expand 32-byte k", key, block counter, nonce.
  static WEIR_INLINE void set_up(Vector (&state)[kBlockWords], const CipherKey& key, const CipherNonce& nonce,
                                 uint32_t counter) {
    constexpr uint32_t kConstants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    WEIR_UNROLL
    for (unsigned i = 0; i < 4; ++i) state[i] = Vector{} + kConstants[i];
    WEIR_UNROLL
    for (unsigned i = 0; i < 8; ++i) state[4 + i] = Vector{} + key.words[i];
    uint32_t counters[kLanes];
    WEIR_UNROLL
    for (unsigned lane = 0; lane < kLanes; ++lane) counters[lane] = counter + lane;
    memcpy(&state[12], counters, sizeof(counters));
    WEIR_UNROLL
    for (unsigned i = 0; i < 3; ++i) state[13 + i] = Vector{} + nonce.words[i];
  }
  static WEIR_INLINE void rounds(const Vector (&start)[kBlockWords], Vector (&x)[kBlockWords]) {
    WEIR_UNROLL
    for (unsigned i = 0; i < kBlockWords; ++i) x[i] = start[i];
    for (unsigned i = 0; i < 10; ++i) {
      quarter_round(x[0], x[4], x[8], x[12]);
      quarter_round(x[1], x[5], x[9], x[13]);
      quarter_round(x[2], x[6], x[10], x[14]);
      quarter_round(x[3], x[7], x[11], x[15]);
      quarter_round(x[0], x[5], x[10], x[15]);
      quarter_round(x[1], x[6], x[11], x[12]);
      quarter_round(x[2], x[7], x[8], x[13]);
      quarter_round(x[3], x[4], x[9], x[14]);
    }
    WEIR_UNROLL
    for (unsigned i = 0; i < kBlockWords; ++i) x[i] += start[i];
  }
  // Changes places across the diagonal of each square of kLanes vectors, so that a block's words stand side by side: in
  // each step, pairs of lanes `kStep` apart are exchanged with those of the vector `kStep` further on.
  template <unsigned kStep>
  static WEIR_INLINE void exchange(Vector (&x)[kBlockWords]) {
    [[maybe_unused]] Vector low, high;  // GCC 12 does not see the uses below
    WEIR_UNROLL
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const bool upper = (lane & kStep) != 0;
      low[lane] = upper ? kLanes + lane - kStep : lane;
      high[lane] = upper ? kLanes + lane : lane + kStep;
    }
    WEIR_UNROLL
    for (unsigned i = 0; i < kBlockWords; ++i) {
      if ((i & kStep) != 0) continue;
      [[maybe_unused]] const Vector a = x[i], b = x[i + kStep];
      WEIR_SHUFFLE(x[i], a, b, low);
      WEIR_SHUFFLE(x[i + kStep], a, b, high);
    }
  }
  static WEIR_INLINE void transpose(Vector (&x)[kBlockWords]) {
    exchange<1>(x);
    exchange<2>(x);
    if constexpr (kLanes == 8) exchange<4>(x);
  }
  static WEIR_INLINE void crypt(const CipherKey& key, const CipherNonce& nonce, uint32_t counter,
                                const unsigned char* in, unsigned char* out, size_t size) {
    Vector state[kBlockWords], x[kBlockWords];
    set_up(state, key, nonce, counter);
    for (size_t done = 0; done < size; done += sizeof(x)) {
      rounds(state, x);
      transpose(x);
      if (size - done >= sizeof(x))
        apply(x, in + done, out + done);
      else
        apply_part(x, in + done, out + done, size - done);
      state[12] += kLanes;
    }
  }

 private:
  // The vector that holds a block's part: squares come one after the other, blocks one below the other in each.
  static constexpr unsigned index_of(unsigned position) {
    constexpr unsigned kSquares = kBlockWords / kLanes;
    return position % kSquares * kLanes + position / kSquares;
  }
  static WEIR_INLINE void apply(const Vector (&x)[kBlockWords], const unsigned char* in, unsigned char* out) {
    WEIR_UNROLL
    for (unsigned i = 0; i < kBlockWords; ++i) {
      Vector text;
      memcpy(&text, in + i * sizeof(Vector), sizeof(Vector));
      text ^= x[index_of(i)];
      memcpy(out + i * sizeof(Vector), &text, sizeof(Vector));
    }
  }
  static WEIR_INLINE void apply_part(const Vector (&x)[kBlockWords], const unsigned char* in, unsigned char* out,
                                     size_t size) {
    unsigned char stream[sizeof(x)];
    for (unsigned i = 0; i < kBlockWords; ++i) memcpy(stream + i * sizeof(Vector), &x[index_of(i)], sizeof(Vector));
    for (size_t i = 0; i < size; ++i) out[i] = static_cast<unsigned char>(in[i] ^ stream[i]);
  }
};

#if defined(__x86_64__)
__attribute__((target("avx2"))) void crypt_avx2(const CipherKey& key, const CipherNonce& nonce, uint32_t counter,
                                                const unsigned char* in, unsigned char* out, size_t size) {
  Blocks<8>::crypt(key, nonce, counter, in, out, size);
}
__attribute__((target("avx2,avx512f,avx512vl"))) void crypt_avx512(const CipherKey& key, const CipherNonce& nonce,
                                                                   uint32_t counter, const unsigned char* in,
                                                                   unsigned char* out, size_t size) {
  Blocks<8>::crypt(key, nonce, counter, in, out, size);
}

struct VectorSupport {
  bool avx2 = false;
  bool avx512vl = false;
};

// The processor has them and the system keeps their registers (XCR0: bits 1 and 2, and 5 to 7 for AVX-512). Not through
// __builtin_cpu_supports: that brings a constructor along which asks for everything, and asking costs every program
// 50 us at its start where a hypervisor answers.
VectorSupport ask_processor() {
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return {};
  unsigned kept, high;
  asm volatile("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
  if ((kept & 0x6) != 0x6 || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return {};
  constexpr unsigned kAvx512 = bit_AVX512F | bit_AVX512VL;
  return {(b & bit_AVX2) != 0, (kept & 0xe6) == 0xe6 && (b & kAvx512) == kAvx512};
}
#endif

}  // namespace

// Words are little-endian in the standard, as on the processors weir runs on.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

bool can_use(CipherPath path) {
#if defined(__x86_64__)
  const VectorSupport support = ask_processor();
  if (path == CipherPath::kAvx512) return support.avx512vl && support.avx2;
  if (path == CipherPath::kAvx2) return support.avx2;
#endif
  return path == CipherPath::kBaseline;
}

CipherPath best_cipher_path() {
  return can_use(CipherPath::kAvx512) ? CipherPath::kAvx512
         : can_use(CipherPath::kAvx2) ? CipherPath::kAvx2
                                      : CipherPath::kBaseline;
}

void chacha20(CipherPath path, const CipherKey& key, const CipherNonce& nonce, uint32_t counter, const void* from,
              void* to, size_t size) {
  const auto* in = static_cast<const unsigned char*>(from);
  auto* out = static_cast<unsigned char*>(to);
#if defined(__x86_64__)
  if (path == CipherPath::kAvx512) return crypt_avx512(key, nonce, counter, in, out, size);
  if (path == CipherPath::kAvx2) return crypt_avx2(key, nonce, counter, in, out, size);
#endif
  Blocks<4>::crypt(key, nonce, counter, in, out, size);
}

}  // namespace weir
