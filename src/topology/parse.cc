#include "topology/parse.h"

namespace weir {
namespace {

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n';
}

void skip_spaces(std::string_view& text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

bool take_number(std::string_view& text, uint64_t& number) {
  if (text.empty() || !is_digit(text.front())) return false;
  number = 0;
  while (!text.empty() && is_digit(text.front())) {
    if (__builtin_mul_overflow(number, 10u, &number)) return false;
    if (__builtin_add_overflow(number, static_cast<uint64_t>(text.front() - '0'), &number)) return false;
    text.remove_prefix(1);
  }
  return true;
}

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool parse_id_list(std::string_view text, os::IdSet<os::kMaxOsNodes>& ids) {
  skip_spaces(text);
  bool first_entry = true;
  while (!text.empty() && !is_space(text.front())) {
    if (!first_entry && !take(text, ',')) return false;
    first_entry = false;
    uint64_t first = 0;
    if (!take_number(text, first)) return false;
    uint64_t last = first;
    if (take(text, '-') && !take_number(text, last)) return false;
    if (last < first || last >= os::kMaxOsNodes) return false;
    for (uint64_t id = first; id <= last; ++id) ids.add(id);
  }
  skip_spaces(text);
  return text.empty();
}

bool parse_id_mask(std::string_view text, os::IdSet<os::kMaxOsCpus>& ids) {
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  for (size_t word = 0;; ++word) {  // from the lowest, which is written last
    unsigned nr_digits = 0;
    for (; nr_digits < 8 && !text.empty() && text.back() != ','; ++nr_digits) {
      const int value = hex_digit(text.back());
      if (value < 0) return false;
      for (unsigned bit = 0; bit < 4; ++bit)
        if ((value >> bit & 1) != 0) ids.add(word * 32 + nr_digits * 4 + bit);
      text.remove_suffix(1);
    }
    if (nr_digits == 0) return false;
    if (text.empty()) return true;
    if (text.back() != ',') return false;
    text.remove_suffix(1);
  }
}

bool parse_mem_total(std::string_view text, uint64_t& bytes) {
  constexpr std::string_view kKey = "MemTotal:";
  const size_t key = text.find(kKey);
  if (key == std::string_view::npos) return false;
  text.remove_prefix(key + kKey.size());
  skip_spaces(text);
  uint64_t kb = 0;
  if (!take_number(text, kb)) return false;
  skip_spaces(text);
  if (!take(text, 'k') || !take(text, 'B')) return false;
  return !__builtin_mul_overflow(kb, 1024u, &bytes);
}

bool parse_distance_row(std::string_view text, std::span<uint16_t> row) {
  for (uint16_t& entry : row) {
    skip_spaces(text);
    uint64_t value = 0;
    if (!take_number(text, value) || value == 0 || value > UINT16_MAX) return false;
    entry = static_cast<uint16_t>(value);
  }
  return true;
}

}  // namespace weir
