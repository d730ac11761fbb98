#include "table.h"

#include <strings.h>

#include <algorithm>

namespace weir::tool {
namespace {

bool contains(const std::string& text, std::string_view part) {
  const auto same = [](char a, char b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return lower(a) == lower(b);
  };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end();
}

}  // namespace

void Table::set_rows(std::vector<Row> rows) {
  const auto before = selected();
  rows_ = std::move(rows);
  sort();
  select_key(before);
}

void Table::sort_by(size_t column) {
  const auto before = selected();
  sorted_ = column;
  inverted_ = false;
  sort();
  select_key(before);
}

void Table::invert() {
  const auto before = selected();
  inverted_ = !inverted_;
  sort();
  select_key(before);
}

void Table::select_key(std::optional<uint64_t> key) {
  const auto same = std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.key == key; });
  select(same != rows_.end() ? static_cast<size_t>(same - rows_.begin()) : index_);
}

void Table::sort() {
  const Column& column = columns_[sorted_];
  // Less than 0: a comes first.
  const auto order = [&](const Row& a, const Row& b) {
    const Cell& x = a.cells[sorted_];
    const Cell& y = b.cells[sorted_];
    if (column.is_text) return strcasecmp(x.text.c_str(), y.text.c_str());
    const int rising = x.number < y.number ? -1 : x.number > y.number ? 1 : 0;
    return column.rises ? rising : -rising;
  };
  std::sort(rows_.begin(), rows_.end(), [&](const Row& a, const Row& b) {
    const int decided = inverted_ ? -order(a, b) : order(a, b);
    return decided != 0 ? decided < 0 : a.key < b.key;
  });
}

std::optional<uint64_t> Table::selected() const {
  if (index_ >= rows_.size()) return std::nullopt;
  return rows_[index_].key;
}

void Table::select(size_t index) {
  index_ = rows_.empty() ? 0 : std::min(index, rows_.size() - 1);
}

void Table::move(long by) {
  const long wanted = static_cast<long>(index_) + by;
  select(wanted < 0 ? 0 : static_cast<size_t>(wanted));
}

bool Table::matches(const Row& row, std::string_view text) const {
  for (size_t c = 0; c < columns_.size(); ++c)
    if (columns_[c].is_searched && contains(row.cells[c].text, text)) return true;
  return false;
}

bool Table::find(std::string_view text, bool behind) {
  for (size_t i = 0; i < rows_.size(); ++i) {
    const size_t at = (index_ + i + (behind ? 1 : 0)) % rows_.size();
    if (!matches(rows_[at], text)) continue;
    select(at);
    return true;
  }
  return false;
}

size_t Table::scroll(size_t visible) {
  visible_ = visible;
  const size_t last_top = rows_.size() - std::min(rows_.size(), visible);
  if (index_ < top_) top_ = index_;
  if (index_ >= top_ + visible) top_ = index_ + 1 - visible;
  top_ = std::min(top_, last_top);
  return top_;
}

}  // namespace weir::tool
