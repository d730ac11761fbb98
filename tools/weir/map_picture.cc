#include "map_picture.h"

#include <fmt/format.h>

#include <algorithm>

#include "chart.h"

namespace weir::tool {
namespace {

// Of small arenas the squares are larger.
constexpr size_t kFewColumns = 32, kManyColumns = 64;
constexpr double kGap = 2, kFoot = 2;
constexpr double kHeading = 40, kNodeLabel = 16, kBelow = 14;
constexpr std::string_view kNoMemory = "#eef1f4", kUnused = "#bfe0c4", kSwapped = "#e58a5f";

size_t columns_for(size_t cells) {
  return cells <= kFewColumns * 4 ? kFewColumns : kManyColumns;
}

size_t rows_for(size_t cells) {
  return (cells + columns_for(cells) - 1) / columns_for(cells);
}

// The maps are drawn between edges that are 1000 apart.
double pitch_for(size_t cells, double width = 1000) {
  return width / static_cast<double>(columns_for(cells));
}

double node_height(const ArenaMap& map) {
  return kNodeLabel + static_cast<double>(rows_for(map.cells.size())) * pitch_for(map.cells.size());
}

void draw_cell(Svg& svg, const Box& box, const MapCell& cell) {
  svg.box(box, kNoMemory);
  const double height = box.bottom - box.top;
  double bottom = box.bottom;
  const auto part = [&](unsigned pages, std::string_view colour) {
    if (pages == 0) return;
    const double top = bottom - height * pages / cell.pages;
    svg.box({box.left, top, box.right, bottom}, colour);
    bottom = top;
  };
  part(cell.in_place, kInPlaceColour);
  part(cell.standby, kStandbyColour);
  part(cell.swapped, kSwapped);
  part(cell.unused, kUnused);
  if (!cell.movable) svg.box({box.left, box.bottom, box.right, box.bottom + kFoot}, kInk);
}

void draw_node(Svg& svg, double left, double right, double top, const ArenaMap& map) {
  unsigned in_place = 0, standby = 0, swapped = 0;
  for (const MapCell& c : map.cells) in_place += c.in_place, standby += c.standby, swapped += c.swapped;
  svg.text(
      left, top + 11,
      fmt::format("node {}: {} pages at their place, {} on standby, {} swapped", map.node, in_place, standby, swapped),
      {.size = 11});
  const size_t columns = columns_for(map.cells.size());
  const double pitch = pitch_for(map.cells.size(), right - left);
  for (size_t i = 0; i < map.cells.size(); ++i) {
    const double x = left + static_cast<double>(i % columns) * pitch;
    const double y = top + kNodeLabel + static_cast<double>(i / columns) * pitch;
    draw_cell(svg, {x, y, x + pitch - kGap, y + pitch - kGap - kFoot}, map.cells[i]);
  }
}

}  // namespace

double map_height(const std::vector<ArenaMap>& maps) {
  double height = kHeading + kBelow;
  for (const ArenaMap& each : maps) height += node_height(each);
  return height;
}

void draw_map(Svg& svg, double left, double right, double top, const std::vector<ArenaMap>& maps,
              const std::string& when) {
  const Panel panel = {{left, top + kHeading, right, top + kHeading}, 1, 0, 1};
  draw_heading(svg, panel, fmt::format("Arena at {}", when),
               {{"at its place", kInPlaceColour, false},
                {"standby", kStandbyColour, false},
                {"swapped", kSwapped, false},
                {"free, in memory", kUnused, false},
                {"no memory", kNoMemory, false},
                {"for slabs", kInk, true}});
  double y = top + kHeading;
  for (const ArenaMap& each : maps) {
    draw_node(svg, left, right, y, each);
    y += node_height(each);
  }
}

}  // namespace weir::tool
