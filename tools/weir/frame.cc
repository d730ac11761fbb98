#include "frame.h"

#include <fmt/format.h>
#include <wchar.h>
#include <wctype.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace weir::tool {
namespace {

struct Glyph {
  std::string_view text;
  size_t bytes;  // of the source
  size_t columns;
};

// The character at the start of a text that is not empty.
Glyph first_glyph(std::string_view text) {
  mbstate_t state = {};
  wchar_t character = 0;
  const size_t bytes = mbrtowc(&character, text.data(), text.size(), &state);
  if (bytes == 0 || bytes > text.size()) return {"?", 1, 1};  // NUL, wrong or cut off
  const int columns = wcwidth(character);
  if (columns < 0 || iswprint(static_cast<wint_t>(character)) == 0) return {"?", bytes, 1};
  return {text.substr(0, bytes), bytes, static_cast<size_t>(columns)};
}

}  // namespace

void Line::add(std::string_view text, size_t columns, Style style) {
  if (spans_.empty() || spans_.back().style != style) spans_.push_back({"", style});
  spans_.back().text += text;
  columns_ += columns;
}

Line& Line::put(std::string_view text, Style style) {
  while (!text.empty()) {
    const Glyph glyph = first_glyph(text);
    if (columns_ + glyph.columns > width_) break;
    add(glyph.text, glyph.columns, style);
    text.remove_prefix(glyph.bytes);
  }
  return *this;
}

Line& Line::fill_to(size_t column, Style style) {
  column = std::min(column, width_);
  if (column > columns_) add(std::string(column - columns_, ' '), column - columns_, style);
  return *this;
}

std::string Line::text() const {
  std::string all;
  for (const Span& span : spans_) all += span.text;
  return all;
}

size_t columns_of(std::string_view text) {
  size_t columns = 0;
  while (!text.empty()) {
    const Glyph glyph = first_glyph(text);
    columns += glyph.columns;
    text.remove_prefix(glyph.bytes);
  }
  return columns;
}

void put_left(Line& line, std::string_view text, size_t columns, Style style) {
  Line cell(columns);
  cell.put(text).fill(Style::kPlain);
  line.put(cell.text(), style);
}

void put_right(Line& line, std::string_view text, size_t columns, Style style) {
  const size_t taken = std::min(columns, columns_of(text));
  line.put(std::string(columns - taken, ' '), style);
  put_left(line, text, taken, style);
}

std::string size_text(uint64_t pages) {
  constexpr double kKibPerPage = 4;
  constexpr std::array<char, 5> kUnits = {'K', 'M', 'G', 'T', 'P'};
  // From here on a number with a digit behind the point has five characters without its unit.
  constexpr double kNoFraction = 99.95;
  if (pages == 0) return "0";
  double size = static_cast<double>(pages) * kKibPerPage;
  size_t unit = 0;
  for (; size >= 1023.5 && unit + 1 < kUnits.size(); ++unit) size /= 1024;
  if (unit == 0 || size >= kNoFraction) return fmt::format("{:.0f}{}", size, kUnits[unit]);
  return fmt::format("{:.1f}{}", size, kUnits[unit]);
}

std::string count_text(double number) {
  constexpr std::array<const char*, 5> kUnits = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  // Five digits, or four and a unit.
  for (double most = 99999.5; number >= most && unit + 1 < kUnits.size(); ++unit, most = 9999.5) number /= 1000;
  return fmt::format("{:.0f}{}", number, kUnits[unit]);
}

}  // namespace weir::tool
