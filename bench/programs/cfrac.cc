// Factors integers by the continued fraction method of Morrison and Brillhart with allocating big numbers: hundreds of
// millions of tiny, very short-lived objects and a slowly growing set of relations. Single-threaded.
#include <vector>

#include "bigint.h"
#include "common.h"

namespace {

using bench::BigInt;

constexpr size_t kBaseSize = 120;  // primes; about the optimum for numbers of 24 to 28 digits
constexpr size_t kExtra = 12;      // relations beyond the base: each fails to split with probability one half
constexpr uint64_t kPrimeLow = 1'000'000'000'000;  // factors of 13 digits
constexpr uint64_t kPrimeHigh = 9'000'000'000'000;

uint64_t power_mod(uint64_t base, uint64_t exponent, uint64_t modulus) {
  unsigned __int128 result = 1, factor = base % modulus;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) result = result * factor % modulus;
    factor = factor * factor % modulus;
  }
  return static_cast<uint64_t>(result);
}

// Miller-Rabin with bases that decide every 64-bit number.
bool is_prime(uint64_t n) {
  if (n < 2 || n % 2 == 0) return n == 2;
  const auto twos = static_cast<unsigned>(__builtin_ctzll(n - 1));
  for (uint64_t base : {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37}) {
    if (n == base) return true;
    unsigned __int128 x = power_mod(base, (n - 1) >> twos, n);
    bool passes = x == 1 || x == n - 1;
    for (unsigned i = 1; i < twos && !passes; ++i) {
      x = x * x % n;
      passes = x == n - 1;
    }
    if (!passes) return false;
  }
  return true;
}

uint64_t random_prime(bench::Rng& rng) {
  for (;;) {
    const uint64_t candidate = (kPrimeLow + rng.next() % (kPrimeHigh - kPrimeLow)) | 1;
    if (is_prime(candidate)) return candidate;
  }
}

// a^2 = (-1)^negative * product of base[i]^exponents[i] (mod n).
struct Relation {
  BigInt a;
  bool negative;
  std::vector<unsigned char> exponents;
  std::vector<uint64_t> odd;      // bit i: exponent i is odd; the last bit is the sign
  std::vector<uint64_t> history;  // bit r: relation r is part of this row
};

void set_bit(std::vector<uint64_t>& bits, size_t i) {
  bits[i / 64] |= uint64_t{1} << (i % 64);
}
bool get_bit(const std::vector<uint64_t>& bits, size_t i) {
  return (bits[i / 64] >> (i % 64)) & 1;
}
void add_bits(std::vector<uint64_t>& to, const std::vector<uint64_t>& from) {
  for (size_t i = 0; i < to.size(); ++i) to[i] ^= from[i];
}

class Factoring {
 public:
  explicit Factoring(BigInt n) : n_(std::move(n)) {}

  // A proper factor. Multipliers are tried in turn: with some the fraction's period is too short.
  BigInt factor() {
    for (uint32_t multiplier = 1; multiplier < 100; ++multiplier) {
      BigInt found = try_multiplier(multiplier);
      if (!found.is_zero()) return found;
    }
    bench::fail("cfrac: no factor found");
  }

 private:
  void choose_base(const BigInt& kn) {
    base_.assign(1, 2);
    for (uint32_t p = 3; base_.size() < kBaseSize; p += 2) {
      if (!is_prime(p)) continue;
      const uint32_t residue = kn.divide_small(p).second;
      if (residue == 0 || power_mod(residue, (p - 1) / 2, p) == 1) base_.push_back(p);
    }
  }

  BigInt try_multiplier(uint32_t multiplier) {
    const BigInt kn = n_ * BigInt(multiplier);
    const BigInt root = integer_root(kn);
    choose_base(kn);
    relations_.clear();
    // The expansion of sqrt(kn): (root + p) / q is the complete quotient, a the numerators of the convergents mod n.
    BigInt p = root, q = kn - root * root, q_before = 1, a = root % n_, a_before = 1;
    for (bool negative = true; !q.is_zero() && !(q == BigInt(1)); negative = !negative) {
      collect(a, q, negative);
      if (relations_.size() == base_.size() + kExtra) return combine();
      const BigInt digit = (root + p) / q;
      const BigInt p_next = digit * q - p;
      BigInt q_next = q_before + digit * p;
      q_next = q_next - digit * p_next;
      q_before = std::move(q);
      q = std::move(q_next);
      p = p_next;
      BigInt a_next = (digit * a + a_before) % n_;
      a_before = std::move(a);
      a = std::move(a_next);
    }
    return 0;
  }

  // Keeps (a, q) if q splits completely over the base.
  void collect(const BigInt& a, const BigInt& q, bool negative) {
    BigInt rest = q;
    std::vector<unsigned char> exponents(base_.size(), 0);
    for (size_t i = 0; i < base_.size(); ++i) {
      for (;;) {
        auto [quotient, remainder] = rest.divide_small(base_[i]);
        if (remainder != 0) break;
        rest = std::move(quotient);
        ++exponents[i];
      }
    }
    if (rest == BigInt(1)) relations_.push_back({a, negative, std::move(exponents), {}, {}});
  }

  void prepare_rows() {
    for (size_t r = 0; r < relations_.size(); ++r) {
      Relation& row = relations_[r];
      row.odd.assign(base_.size() / 64 + 1, 0);
      row.history.assign(relations_.size() / 64 + 1, 0);
      for (size_t i = 0; i < base_.size(); ++i) {
        if (row.exponents[i] & 1) set_bit(row.odd, i);
      }
      if (row.negative) set_bit(row.odd, base_.size());
      set_bit(row.history, r);
    }
  }

  // Gaussian elimination over the parities; every row that vanishes gives x^2 = y^2 (mod n).
  BigInt combine() {
    prepare_rows();
    std::vector<bool> used(relations_.size(), false);
    for (size_t column = 0; column <= base_.size(); ++column) {
      size_t pivot = 0;
      while (pivot < relations_.size() && (used[pivot] || !get_bit(relations_[pivot].odd, column))) ++pivot;
      if (pivot == relations_.size()) continue;
      used[pivot] = true;
      for (size_t r = 0; r < relations_.size(); ++r) {
        if (r == pivot || !get_bit(relations_[r].odd, column)) continue;
        add_bits(relations_[r].odd, relations_[pivot].odd);
        add_bits(relations_[r].history, relations_[pivot].history);
      }
    }
    for (size_t r = 0; r < relations_.size(); ++r) {
      if (used[r]) continue;
      BigInt found = split(relations_[r].history);
      if (!found.is_zero()) return found;
    }
    return 0;
  }

  BigInt split(const std::vector<uint64_t>& history) const {
    BigInt x = 1, y = 1;
    std::vector<unsigned> exponents(base_.size(), 0);
    for (size_t r = 0; r < relations_.size(); ++r) {
      if (!get_bit(history, r)) continue;
      x = x * relations_[r].a % n_;
      for (size_t i = 0; i < base_.size(); ++i) exponents[i] += relations_[r].exponents[i];
    }
    for (size_t i = 0; i < base_.size(); ++i) {
      for (unsigned e = 0; e < exponents[i] / 2; ++e) y = y * BigInt(base_[i]) % n_;
    }
    if (!(x * x % n_ == y * y % n_)) bench::fail("cfrac: a relation is wrong");
    BigInt found = gcd(x + n_ - y, n_);
    return found == BigInt(1) || found == n_ ? BigInt(0) : found;
  }

  BigInt n_;
  std::vector<uint32_t> base_;
  std::vector<Relation> relations_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 1);
  bench::Rng rng(options.seed);
  uint64_t sum = 0;
  for (size_t i = 0; i < options.scaled(12); ++i) {
    const uint64_t p = random_prime(rng), q = random_prime(rng);
    const BigInt found = Factoring(BigInt(p) * BigInt(q)).factor();
    if (found.low64() != p && found.low64() != q) bench::fail("cfrac: a wrong factor");
    sum += bench::mix(p * q);
  }
  return bench::finish("cfrac", sum);
}
