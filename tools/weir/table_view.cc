#include "table_view.h"

#include <algorithm>
#include <string>

namespace weir::tool {
namespace {

// The longest name of a column, and a blank on both sides.
constexpr size_t kChoiceWidth = 10;

void put_cell(Line& line, const Table& table, size_t column, const std::string& text, Style style) {
  const Column& c = table.columns()[column];
  const bool is_last = column + 1 == table.columns().size();
  const size_t width = is_last ? line.width() - line.columns() : std::min(c.width, line.width() - line.columns());
  if (c.is_text)
    put_left(line, text, width, style);
  else
    put_right(line, text, width, style);
}

void put_heading(Line& line, const Table& table) {
  for (size_t c = 0; c < table.columns().size(); ++c) {
    put_cell(line, table, c, table.columns()[c].name, c == table.sorted() ? Style::kSorted : Style::kHeading);
    line.put(" ", Style::kHeading);
  }
}

void put_row(Line& line, const Table& table, size_t index) {
  const Row& row = table.rows()[index];
  const bool is_selected = index == table.index();
  for (size_t c = 0; c < table.columns().size(); ++c) {
    put_cell(line, table, c, row.cells[c].text, is_selected ? Style::kSelected : row.cells[c].style);
    line.put(" ", is_selected ? Style::kSelected : Style::kPlain);
  }
}

}  // namespace

void draw_table(Frame& frame, Table& table, size_t width, size_t height) {
  const size_t visible = height > 1 ? height - 1 : 1;
  const size_t first = table.scroll(visible);
  put_heading(frame.emplace_back(width), table);
  for (size_t i = first; i < first + visible; ++i) {
    Line& line = frame.emplace_back(width);
    if (i < table.rows().size()) put_row(line, table, i);
  }
}

void draw_table_with_choice(Frame& frame, Table& table, size_t width, size_t height, size_t choice) {
  Frame right;
  draw_table(right, table, width - std::min(width, kChoiceWidth), height);
  const size_t shown = right.size() - 1;
  const size_t first = choice >= shown ? choice + 1 - shown : 0;
  for (size_t i = 0; i < right.size(); ++i) {
    Line& line = frame.emplace_back(width);
    if (i == 0) put_left(line, " Sort by", kChoiceWidth, Style::kTitle);
    const size_t column = first + i - 1;
    if (i != 0 && column < table.columns().size())
      put_left(line, std::string(" ") + table.columns()[column].name, kChoiceWidth,
               column == choice ? Style::kSelected : Style::kStrong);
    line.fill_to(kChoiceWidth);
    for (const Span& span : right[i].spans()) line.put(span.text, span.style);
  }
}

}  // namespace weir::tool
