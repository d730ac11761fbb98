#include "config/value.h"

#include <array>

namespace weir {
namespace {

struct Suffix {
  std::string_view text;
  int64_t factor;
};

constexpr auto kSizeSuffixes = std::to_array<Suffix>(
    {{"K", int64_t{1} << 10}, {"M", int64_t{1} << 20}, {"G", int64_t{1} << 30}, {"T", int64_t{1} << 40}});
constexpr auto kMsSuffixes = std::to_array<Suffix>({{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}});

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// A decimal number such as 12 or 1.5: `scaled` is its digits without the point, `scale` the power of ten to divide by.
struct Decimal {
  int64_t whole = 0;
  int64_t fraction = 0;
  int64_t scale = 1;
  bool has_point = false;
};

// Takes digits off the front of `text` and appends them to `number`; false when there are none or too many.
bool take_digits(std::string_view& text, int64_t& number, int64_t* scale) {
  if (text.empty() || !is_digit(text.front())) return false;
  while (!text.empty() && is_digit(text.front())) {
    if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, text.front() - '0', &number))
      return false;
    // 10^18 is the largest power of ten in 63 bits, and a fraction below it has overflowed no earlier.
    if (scale != nullptr && __builtin_mul_overflow(*scale, 10, scale)) return false;
    text.remove_prefix(1);
  }
  return true;
}

bool take_decimal(std::string_view& text, Decimal& number) {
  if (!take_digits(text, number.whole, nullptr)) return false;
  if (text.empty() || text.front() != '.') return true;
  number.has_point = true;
  text.remove_prefix(1);
  return take_digits(text, number.fraction, &number.scale);
}

// number * factor, rounded down; false when it does not fit.
bool scale_up(const Decimal& number, int64_t factor, int64_t& value) {
  if (number.has_point && factor == 1) return false;  // half a byte, half a millisecond
  const auto part = static_cast<int64_t>(static_cast<__int128>(number.fraction) * factor / number.scale);
  int64_t result;
  if (__builtin_mul_overflow(number.whole, factor, &result) || __builtin_add_overflow(result, part, &result))
    return false;
  value = result;
  return true;
}

bool find_factor(std::span<const Suffix> suffixes, std::string_view text, int64_t& factor) {
  for (const Suffix& suffix : suffixes) {
    if (!equals_ignoring_case(text, suffix.text)) continue;
    factor = suffix.factor;
    return true;
  }
  return false;
}

// What stands after the number of a size: "", "B", or K M G T with "B" or "iB" behind it.
bool size_factor(std::string_view text, int64_t& factor) {
  factor = 1;
  if (!text.empty() && lower(text.back()) == 'b') {
    text.remove_suffix(1);
    if (text.size() == 2 && lower(text.back()) == 'i') text.remove_suffix(1);
  }
  return text.empty() || find_factor(kSizeSuffixes, text, factor);
}

}  // namespace

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

bool parse_bool(std::string_view text, int64_t& value) {
  constexpr auto kNo = std::to_array<std::string_view>({"0", "off", "no", "false"});
  constexpr auto kYes = std::to_array<std::string_view>({"1", "on", "yes", "true"});
  for (size_t i = 0; i < kNo.size(); ++i) {
    const bool yes = equals_ignoring_case(text, kYes[i]);
    if (!yes && !equals_ignoring_case(text, kNo[i])) continue;
    value = yes ? 1 : 0;
    return true;
  }
  return false;
}

bool parse_int(std::string_view text, int64_t& value) {
  const bool negative = !text.empty() && text.front() == '-';
  if (negative) text.remove_prefix(1);
  int64_t number = 0;
  if (!take_digits(text, number, nullptr) || !text.empty()) return false;
  value = negative ? -number : number;
  return true;
}

bool parse_size(std::string_view text, int64_t& value) {
  Decimal number;
  int64_t factor;
  return take_decimal(text, number) && size_factor(text, factor) && scale_up(number, factor, value);
}

bool parse_ms(std::string_view text, int64_t& value) {
  Decimal number;
  int64_t factor = 1;
  if (!take_decimal(text, number) || (!text.empty() && !find_factor(kMsSuffixes, text, factor))) return false;
  return scale_up(number, factor, value);
}

bool parse_name(std::string_view text, std::span<const std::string_view> names, int64_t& value) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (!equals_ignoring_case(text, names[i])) continue;
    value = static_cast<int64_t>(i);
    return true;
  }
  return false;
}

void format_size(Line& line, int64_t bytes) {
  for (size_t i = kSizeSuffixes.size(); bytes != 0 && i-- > 0;) {
    const Suffix& suffix = kSizeSuffixes[i];
    if (bytes % suffix.factor != 0) continue;
    line.sdec(bytes / suffix.factor).text(suffix.text);
    return;
  }
  line.sdec(bytes);
}

}  // namespace weir
