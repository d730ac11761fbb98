#include "water_level.h"

#include <algorithm>

namespace weir::tool {
namespace {

size_t scaled(uint64_t pages, uint64_t full, size_t columns) {
  const double share = static_cast<double>(std::min(pages, full)) / static_cast<double>(full);
  return static_cast<size_t>(share * static_cast<double>(columns));
}

}  // namespace

Level WaterLevel::level() const {
  if (free < min) return Level::kBelowMin;
  if (free < low) return Level::kBelowLow;
  return free < high ? Level::kBelowHigh : Level::kAboveHigh;
}

WaterLevel water_level(const Snapshot& snapshot, uint32_t node) {
  const weir_stats_node& n = snapshot.node(node);
  return {.free = snapshot.free(node),
          .min = n.watermark_min,
          .low = n.watermark_low,
          .high = n.watermark_high,
          .managed = n.managed};
}

Level worst_level(const Snapshot& snapshot) {
  Level worst = Level::kAboveHigh;
  for (const uint32_t n : snapshot.nodes()) worst = std::max(worst, water_level(snapshot, n).level());
  return worst;
}

Style style_of(Level level) {
  switch (level) {
    case Level::kAboveHigh:
      return Style::kAboveHigh;
    case Level::kBelowHigh:
      return Style::kBelowHigh;
    case Level::kBelowLow:
      return Style::kBelowLow;
    case Level::kBelowMin:
      return Style::kBelowMin;
  }
  return Style::kPlain;
}

void put_level(Line& line, const WaterLevel& water, size_t columns, bool unicode) {
  const uint64_t full = std::max<uint64_t>(std::min(water.high * 2, water.managed), 1);
  const size_t filled = scaled(water.free, full, columns);
  const auto mark_style = [&](size_t column) {
    if (column == scaled(water.min, full, columns)) return Style::kBelowMin;
    if (column == scaled(water.low, full, columns)) return Style::kBelowLow;
    return column == scaled(water.high, full, columns) ? Style::kAboveHigh : Style::kPlain;
  };
  const Style water_style = style_of(water.level());
  for (size_t column = 0; column < columns; ++column) {
    if (const Style mark = mark_style(column); mark != Style::kPlain)
      line.put(unicode ? "┃" : "|", mark);
    else if (column < filled)
      line.put(unicode ? "█" : "#", water_style);
    else
      line.put(unicode ? "·" : ".", Style::kFaint);
  }
}

}  // namespace weir::tool
