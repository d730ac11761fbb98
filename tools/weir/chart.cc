#include "chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace weir::tool {
namespace {

constexpr double kTextSize = 12;

std::string trimmed(double value, int decimals) {
  std::string text = fmt::format("{:.{}f}", value, decimals);
  if (text.find('.') == std::string::npos) return text;
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text;
}

double legend_width(const LegendEntry& entry) {
  constexpr double kMarkAndGaps = 18 + 20;
  return kMarkAndGaps + text_width(entry.name, kTextSize);
}

// The times that the panels have lines at.
std::vector<double> time_ticks(const Panel& panel, const Unit& unit) {
  constexpr unsigned kWanted = 10;
  auto all = ticks(0, panel.x_end / unit.size, kWanted);
  for (double& each : all) each *= unit.size;
  return all;
}

}  // namespace

std::vector<Point> thin(std::vector<Point> points, size_t most) {
  if (points.size() <= most || most < 4) return points;
  const size_t stretches = most / 2 - 1;
  std::vector<Point> kept = {points.front()};
  const auto lower = [](const Point& a, const Point& b) { return a.y < b.y; };
  for (size_t i = 0; i < stretches; ++i) {
    const auto begin = points.begin() + static_cast<std::ptrdiff_t>(i * points.size() / stretches);
    const auto end = points.begin() + static_cast<std::ptrdiff_t>((i + 1) * points.size() / stretches);
    const auto lowest = std::min_element(begin, end, lower), highest = std::max_element(begin, end, lower);
    kept.push_back(*std::min(lowest, highest));
    if (lowest != highest) kept.push_back(*std::max(lowest, highest));
  }
  kept.push_back(points.back());
  return kept;
}

std::vector<double> ticks(double least, double greatest, unsigned wanted) {
  const double rough = std::max(greatest - least, 1e-9) / wanted;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough / power > 5 ? 10 : rough / power > 2 ? 5 : rough / power > 1 ? 2 : 1);
  std::vector<double> all;
  for (double i = std::ceil(least / step - 1e-6); i * step <= greatest * (1 + 1e-9); ++i)
    all.push_back(i == 0 ? 0 : i * step);  // (no minus before it)
  return all;
}

std::string short_number(double value) {
  const double size = std::abs(value);
  if (size >= 1e6) return trimmed(value / 1e6, 1) + "M";
  if (size >= 1e4) return trimmed(value / 1e3, 0) + "k";
  if (size >= 1e3) return trimmed(value / 1e3, 1) + "k";
  return trimmed(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

Unit memory_unit(double bytes) {
  constexpr double kKib = 1024, kMib = kKib * 1024, kGib = kMib * 1024;
  return bytes < 2 * kMib ? Unit{kKib, "KiB"} : bytes < 10 * kGib ? Unit{kMib, "MiB"} : Unit{kGib, "GiB"};
}

Unit time_unit(double ms) {
  constexpr double kSecond = 1e3, kMinute = 60 * kSecond, kHour = 60 * kMinute;
  return ms < kSecond       ? Unit{1, "ms"}
         : ms < 5 * kMinute ? Unit{kSecond, "s"}
         : ms < 5 * kHour   ? Unit{kMinute, "min"}
                            : Unit{kHour, "h"};
}

Point Panel::place(Point p) const {
  return {box.left + p.x / x_end * (box.right - box.left),
          box.bottom - (p.y - y_low) / (y_top - y_low) * (box.bottom - box.top)};
}

std::vector<Point> Panel::place(std::vector<Point> points) const {
  for (Point& each : points) each = place(each);
  return points;
}

void draw_heading(Svg& svg, const Panel& panel, std::string_view name, const std::vector<LegendEntry>& legend) {
  const double y = panel.box.top - 12;
  svg.text(panel.box.left, y, name, {.size = 13, .colour = kInk, .bold = true});
  double x = panel.box.right;
  for (const LegendEntry& entry : legend) x -= legend_width(entry);
  for (const LegendEntry& entry : legend) {
    const double left = x + 20;
    if (entry.is_line)
      svg.line({left, y - 4}, {left + 12, y - 4}, entry.colour, 2);
    else
      svg.box({left, y - 9, left + 12, y + 1}, entry.colour);
    svg.text(left + 18, y, entry.name, {.colour = kInk});
    x += legend_width(entry);
  }
}

void draw_grid(Svg& svg, const Panel& panel, const Unit& unit, unsigned wanted_ticks) {
  const Box& b = panel.box;
  for (const double each : ticks(panel.y_low / unit.size, panel.y_top / unit.size, wanted_ticks)) {
    const double y = panel.place({0, each * unit.size}).y;
    svg.line({b.left, y}, {b.right, y}, kGrid);
    svg.text(b.left - 8, y + 4, short_number(std::abs(each)), {.anchor = Anchor::kEnd});
  }
  for (const double each : time_ticks(panel, time_unit(panel.x_end))) {
    const double x = panel.place({each, 0}).x;
    svg.line({x, b.top}, {x, b.bottom}, kGrid);
  }
}

void draw_times(Svg& svg, const Panel& panel, const Unit& unit) {
  const double y = panel.box.bottom + 18;
  for (const double each : time_ticks(panel, unit))
    svg.text(panel.place({each, 0}).x, y, short_number(each / unit.size), {.anchor = Anchor::kMiddle});
  svg.text(panel.box.right + 24, y, unit.name, {});  // beside a number at the very end
}

void draw_side_notes(Svg& svg, const Panel& panel, std::vector<SideNote> notes) {
  constexpr double kApart = 14;
  std::sort(notes.begin(), notes.end(), [](const SideNote& a, const SideNote& b) { return a.y > b.y; });
  // From the lowest up, none below the panel.
  double most = panel.box.bottom;
  for (SideNote& each : notes) {
    each.y = std::min(each.y, most);
    most = each.y - kApart;
    svg.text(panel.box.right + 8, each.y + 4, each.text, {.size = 11, .colour = each.colour});
  }
}

}  // namespace weir::tool
