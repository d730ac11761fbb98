// Non-negative integers of any size as small reference-counted heap objects: every result is a fresh malloc, as in
// the number packages of the C programs of the time. Belongs to one thread.
#ifndef WEIR_BENCH_PROGRAMS_BIGINT_H_
#define WEIR_BENCH_PROGRAMS_BIGINT_H_

#include <algorithm>
#include <utility>

#include "common.h"

namespace bench {

class BigInt {
 public:
  BigInt() : BigInt(0) {}
  BigInt(uint64_t value) : digits_(make(2)) {
    digits_->limb[0] = static_cast<uint32_t>(value);
    digits_->limb[1] = static_cast<uint32_t>(value >> 32);
    trim();
  }
  BigInt(const BigInt& other) : digits_(other.digits_) { ++digits_->references; }
  BigInt(BigInt&& other) noexcept : digits_(std::exchange(other.digits_, nullptr)) {}
  BigInt& operator=(BigInt other) noexcept {
    std::swap(digits_, other.digits_);
    return *this;
  }
  ~BigInt() {
    if (digits_ != nullptr && --digits_->references == 0) free(digits_);
  }

  bool is_zero() const { return digits_->size == 0; }
  uint32_t size() const { return digits_->size; }
  uint64_t low64() const { return limb(0) | (uint64_t{limb(1)} << 32); }
  bool odd() const { return (limb(0) & 1) != 0; }

  friend int compare(const BigInt& a, const BigInt& b) {
    if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
    for (uint32_t i = a.size(); i-- > 0;) {
      if (a.limb(i) != b.limb(i)) return a.limb(i) < b.limb(i) ? -1 : 1;
    }
    return 0;
  }
  friend bool operator==(const BigInt& a, const BigInt& b) { return compare(a, b) == 0; }
  friend bool operator<(const BigInt& a, const BigInt& b) { return compare(a, b) < 0; }

  friend BigInt operator+(const BigInt& a, const BigInt& b) {
    const uint32_t size = std::max(a.size(), b.size()) + 1;
    BigInt sum(Sized{size});
    uint64_t carry = 0;
    for (uint32_t i = 0; i < size; ++i) {
      carry += uint64_t{a.limb(i)} + b.limb(i);
      sum.digits_->limb[i] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    sum.trim();
    return sum;
  }

  // a must not be below b.
  friend BigInt operator-(const BigInt& a, const BigInt& b) {
    BigInt difference(Sized{a.size()});
    uint64_t borrow = 0;
    for (uint32_t i = 0; i < a.size(); ++i) {
      const uint64_t step = uint64_t{a.limb(i)} - b.limb(i) - borrow;
      difference.digits_->limb[i] = static_cast<uint32_t>(step);
      borrow = step >> 63;
    }
    if (borrow != 0) fail("bigint: a difference below zero");
    difference.trim();
    return difference;
  }

  friend BigInt operator*(const BigInt& a, const BigInt& b) {
    BigInt product(Sized{a.size() + b.size()});
    for (uint32_t i = 0; i < a.size(); ++i) {
      uint64_t carry = 0;
      for (uint32_t j = 0; j < b.size(); ++j) {
        carry += uint64_t{a.limb(i)} * b.limb(j) + product.digits_->limb[i + j];
        product.digits_->limb[i + j] = static_cast<uint32_t>(carry);
        carry >>= 32;
      }
      product.digits_->limb[i + b.size()] = static_cast<uint32_t>(carry);
    }
    product.trim();
    return product;
  }

  // Quotient and remainder by one limb.
  std::pair<BigInt, uint32_t> divide_small(uint32_t divisor) const {
    BigInt quotient(Sized{size()});
    uint64_t rest = 0;
    for (uint32_t i = size(); i-- > 0;) {
      rest = (rest << 32) | limb(i);
      quotient.digits_->limb[i] = static_cast<uint32_t>(rest / divisor);
      rest %= divisor;
    }
    quotient.trim();
    return {std::move(quotient), static_cast<uint32_t>(rest)};
  }

  std::pair<BigInt, BigInt> divide(const BigInt& divisor) const {
    if (divisor.is_zero()) fail("bigint: division by zero");
    if (*this < divisor) return {BigInt(0), *this};
    if (divisor.size() == 1) {
      auto [quotient, rest] = divide_small(divisor.limb(0));
      return {std::move(quotient), BigInt(rest)};
    }
    return divide_long(divisor);
  }
  friend BigInt operator/(const BigInt& a, const BigInt& b) { return a.divide(b).first; }
  friend BigInt operator%(const BigInt& a, const BigInt& b) { return a.divide(b).second; }

 private:
  struct Digits {
    uint32_t references, size;
    uint32_t limb[];
  };

  struct Sized {
    uint32_t limbs;
  };

  // Zero-filled limbs, for an operation to fill.
  explicit BigInt(Sized size) : digits_(make(size.limbs)) {}

  static Digits* make(uint32_t size) {
    auto* digits = static_cast<Digits*>(must_malloc(sizeof(Digits) + size * sizeof(uint32_t)));
    digits->references = 1;
    digits->size = size;
    memset(digits->limb, 0, size * sizeof(uint32_t));
    return digits;
  }

  uint32_t limb(uint32_t i) const { return i < digits_->size ? digits_->limb[i] : 0; }

  void trim() {
    while (digits_->size > 0 && digits_->limb[digits_->size - 1] == 0) --digits_->size;
  }

  BigInt shifted_left(unsigned bits) const {
    BigInt result(Sized{size() + 1});
    for (uint32_t i = 0; i <= size(); ++i) {
      const uint64_t low = i > 0 ? limb(i - 1) : 0;
      const uint64_t pair = (uint64_t{limb(i)} << 32) | low;
      result.digits_->limb[i] = static_cast<uint32_t>((pair << bits) >> 32);
    }
    return result;  // not trimmed: division wants the extra limb
  }

  BigInt shifted_right(unsigned bits) const {
    BigInt result(Sized{size()});
    for (uint32_t i = 0; i < size(); ++i) {
      const uint64_t pair = (uint64_t{limb(i + 1)} << 32) | limb(i);
      result.digits_->limb[i] = static_cast<uint32_t>(pair >> bits);
    }
    result.trim();
    return result;
  }

  // Knuth's algorithm D for divisors of two limbs and more.
  std::pair<BigInt, BigInt> divide_long(const BigInt& divisor) const {
    const auto shift = static_cast<unsigned>(__builtin_clz(divisor.limb(divisor.size() - 1)));
    BigInt rest = shifted_left(shift);
    BigInt scaled = divisor.shifted_left(shift);
    scaled.trim();
    const uint32_t n = scaled.size(), steps = size() - n + 1;
    BigInt quotient(Sized{steps});
    for (uint32_t j = steps; j-- > 0;) quotient.digits_->limb[j] = rest.subtract_multiple(scaled, j);
    quotient.trim();
    rest.trim();
    return {std::move(quotient), rest.shifted_right(shift)};
  }

  // Takes the largest possible multiple of divisor << 32*at off this number, and returns the factor.
  uint32_t subtract_multiple(const BigInt& divisor, uint32_t at) {
    const uint32_t n = divisor.size();
    uint32_t* u = digits_->limb + at;
    const uint64_t top = (uint64_t{u[n]} << 32) | u[n - 1];
    uint64_t guess = std::min<uint64_t>(top / divisor.limb(n - 1), UINT32_MAX);
    uint64_t left = top - guess * divisor.limb(n - 1);
    while (left <= UINT32_MAX && guess * divisor.limb(n - 2) > ((left << 32) | u[n - 2])) {
      --guess;
      left += divisor.limb(n - 1);
    }
    uint64_t carry = 0, borrow = 0;
    for (uint32_t i = 0; i <= n; ++i) {
      carry += guess * divisor.limb(i);
      const uint64_t step = uint64_t{u[i]} - static_cast<uint32_t>(carry) - borrow;
      u[i] = static_cast<uint32_t>(step);
      borrow = step >> 63;
      carry >>= 32;
    }
    if (borrow == 0) return static_cast<uint32_t>(guess);
    // The guess was one too many (about once in 2^31 divisions): add the divisor back.
    carry = 0;
    for (uint32_t i = 0; i <= n; ++i) {
      carry += uint64_t{u[i]} + divisor.limb(i);
      u[i] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    return static_cast<uint32_t>(guess - 1);
  }

  Digits* digits_;
};

inline BigInt gcd(BigInt a, BigInt b) {
  while (!b.is_zero()) {
    BigInt rest = a % b;
    a = std::move(b);
    b = std::move(rest);
  }
  return a;
}

// The largest integer whose square is not above n (Newton's iteration from above).
inline BigInt integer_root(const BigInt& n) {
  if (n.is_zero()) return n;
  BigInt x = 1;
  while (x * x < n) x = x + x;
  for (;;) {
    BigInt next = ((x + n / x).divide_small(2)).first;
    if (!(next < x)) return x;
    x = std::move(next);
  }
}

}  // namespace bench

#endif  // WEIR_BENCH_PROGRAMS_BIGINT_H_
