// Purpose: a table whose rows come and go: their order, the one that is selected, and what is seen of them.
// Thread safety: one thread. Invariants: the selected row stays selected wherever it moves to; when it goes, the row in
//                its place is; rows that are equal in the column of the order stand by their keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frame.h"

namespace weir::tool {

struct Column {
  const char* name;
  size_t width;  // the last one takes what is left
  bool is_text;  // to the left, and ordered from a to z; else numbers, the largest first
  bool is_searched;
  bool rises = false;  // a number of which the smallest comes first
};

struct Cell {
  std::string text;
  double number = 0;  // what a column without text is ordered by
  Style style = Style::kPlain;
};

struct Row {
  uint64_t key;
  std::vector<Cell> cells;
};

class Table {
 public:
  Table(std::vector<Column> columns, size_t sorted) : columns_(std::move(columns)), sorted_(sorted) {}

  void set_rows(std::vector<Row> rows);
  [[nodiscard]] const std::vector<Row>& rows() const { return rows_; }
  [[nodiscard]] const std::vector<Column>& columns() const { return columns_; }

  [[nodiscard]] size_t sorted() const { return sorted_; }
  // The order of a column, as it usually is.
  void sort_by(size_t column);
  void invert();

  // The key of the selected row; nothing when there are no rows.
  [[nodiscard]] std::optional<uint64_t> selected() const;
  [[nodiscard]] size_t index() const { return index_; }
  void select(size_t index);
  void move(long by);
  // By as many rows as were seen last.
  void move_pages(long by) { move(by * static_cast<long>(visible_ > 1 ? visible_ - 1 : 1)); }
  // Selects the first row from the selected one on, or behind it, that has the text (capitals or not) in a column that
  // is searched. False, and nothing changes, when there is none.
  bool find(std::string_view text, bool behind);

  // Says how many rows are seen, and scrolls as far as is needed to see the selected one. Returns the first that is
  // seen.
  size_t scroll(size_t visible);

 private:
  void sort();
  void select_key(std::optional<uint64_t> key);
  [[nodiscard]] bool matches(const Row& row, std::string_view text) const;

  std::vector<Column> columns_;
  std::vector<Row> rows_;
  size_t sorted_;
  bool inverted_ = false;
  size_t index_ = 0;
  size_t top_ = 0;
  size_t visible_ = 1;
};

}  // namespace weir::tool
