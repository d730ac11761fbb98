// Purpose: what every panel of a picture over time needs: scales, ticks, a frame, a legend, and curves that are thinned
//                out when they have more points than can be seen.
// Thread safety: values. Invariants: a thinned curve has the highest and the lowest points of the whole one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "svg.h"

namespace weir::tool {

constexpr std::string_view kInk = "#1d2733", kGrey = "#66727f", kGrid = "#e3e8ed";

// States of pages, the same in every panel.
constexpr std::string_view kInPlaceColour = "#7fb2d1", kStandbyColour = "#f0d9a0";

// At most `most` points, the lowest and the highest of each stretch among them.
[[nodiscard]] std::vector<Point> thin(std::vector<Point> points, size_t most);

// Round numbers from `least` to `greatest`, some `wanted` of them.
[[nodiscard]] std::vector<double> ticks(double least, double greatest, unsigned wanted);
// Without decimals that say nothing: 0.5, 20, 35k, 1.2M.
[[nodiscard]] std::string short_number(double value);

// A unit that numbers of a size are shown in.
struct Unit {
  double size;  // in what is measured
  std::string_view name;
};
[[nodiscard]] Unit memory_unit(double bytes);
[[nodiscard]] Unit time_unit(double ms);

// A panel: where it lies, and what its edges stand for.
struct Panel {
  Box box;
  double x_end;         // x begins at 0
  double y_low, y_top;  // at the bottom and at the top
  [[nodiscard]] Point place(Point p) const;
  [[nodiscard]] std::vector<Point> place(std::vector<Point> points) const;
};

struct LegendEntry {
  std::string_view name, colour;
  bool is_line;
};

// The name of a panel, its legend, and its grid with numbers in `unit`.
void draw_heading(Svg& svg, const Panel& panel, std::string_view name, const std::vector<LegendEntry>& legend);
void draw_grid(Svg& svg, const Panel& panel, const Unit& unit, unsigned wanted_ticks);
// Times under the lowest panel, in `unit`.
void draw_times(Svg& svg, const Panel& panel, const Unit& unit);
// Texts to the right of a panel, each at its height as far as there is room between them.
struct SideNote {
  double y;  // in the picture
  std::string text;
  std::string_view colour;
};
void draw_side_notes(Svg& svg, const Panel& panel, std::vector<SideNote> notes);

}  // namespace weir::tool
