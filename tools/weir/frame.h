// Purpose: what is on a screen, before it is on a terminal: lines of styled text that are as wide as the screen.
// Thread safety: values. Invariants: no line has more columns than the frame is wide; what the locale (LC_CTYPE) cannot
//                show is a question mark.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weir::tool {

enum class Style : uint8_t {
  kPlain,
  kFaint,
  kStrong,
  kTitle,      // the line at the top
  kHeading,    // of a table
  kSorted,     // the column of it that decides the order
  kSelected,   // the line that keys act on
  kKey,        // what a key does, in the line at the bottom
  kAboveHigh,  // water levels
  kBelowHigh,
  kBelowLow,
  kBelowMin,
  kInPlace,  // memory
  kStandby,
  kZswap,
  kGraph,
};
constexpr size_t kStyles = static_cast<size_t>(Style::kGraph) + 1;

// Where is drawn on, and whether it knows more than ASCII.
struct Screen {
  size_t width = 80;
  size_t height = 24;
  bool unicode = false;
};

struct Span {
  std::string text;
  Style style;
};

class Line {
 public:
  explicit Line(size_t width) : width_(width) {}
  // What does not fit is left out.
  Line& put(std::string_view text, Style style = Style::kPlain);
  // Blanks up to a column.
  Line& fill_to(size_t column, Style style = Style::kPlain);
  Line& fill(Style style) { return fill_to(width_, style); }
  [[nodiscard]] size_t columns() const { return columns_; }
  [[nodiscard]] size_t width() const { return width_; }
  [[nodiscard]] const std::vector<Span>& spans() const { return spans_; }
  // Without styles.
  [[nodiscard]] std::string text() const;

 private:
  void add(std::string_view text, size_t columns, Style style);

  size_t width_;
  size_t columns_ = 0;
  std::vector<Span> spans_;
};

using Frame = std::vector<Line>;

// How many columns a text takes.
[[nodiscard]] size_t columns_of(std::string_view text);
// Puts a text of at most `columns` to the left or to the right in as many columns.
void put_left(Line& line, std::string_view text, size_t columns, Style style = Style::kPlain);
void put_right(Line& line, std::string_view text, size_t columns, Style style = Style::kPlain);

// In five columns: 512K, 58.7M, 1023M, 1.5G.
[[nodiscard]] std::string size_text(uint64_t pages);
// In five columns: 0, 12345, 1234k.
[[nodiscard]] std::string count_text(double number);

}  // namespace weir::tool
