// Purpose: the picture of a recording: three panels over one axis of time, and below them maps of the arena.
// Thread safety: values. Invariants: every curve begins at the first sample and ends at the last.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "chart.h"
#include "map_picture.h"
#include "plot.h"
#include "svg.h"

namespace weir::tool {
namespace {

constexpr double kWidth = 1180, kHeight = 872;
constexpr double kLeft = 68, kRight = kWidth - 112;
constexpr Box kFreeBox = {kLeft, 112, kRight, 312};
constexpr double kLaneHeight = 13, kLaneGap = 5;
constexpr Box kMemoryBox = {kLeft, 404, kRight, 594};
constexpr Box kTrafficBox = {kLeft, 642, kRight, 832};
// More cannot be told apart on 1000 pixels, and the file stays small.
constexpr size_t kMostPoints = 1500;

constexpr std::string_view kBelowMin = "#f7d4d0", kBelowLow = "#fce3c8", kBelowHigh = "#fdf2c9", kAboveHigh = "#e0f1e0";
constexpr std::string_view kMinLine = "#c2473a", kLowLine = "#d0852c", kHighLine = "#3f9150";
constexpr std::string_view kFreeLine = "#123f63", kKswapd = "#0b6e99", kDirect = "#c2473a";
constexpr std::string_view kPool = "#b39ac6";
constexpr std::string_view kLimitLine = "#1d2733", kSwappedLine = "#c05a2e";
constexpr std::string_view kCompressed = "#a58fbd", kFile = "#e3a857", kFaults = "#174a3a";

using Value = std::function<double(const Sample&)>;

// The recorded moments that are nearest to these, in their order.
std::vector<const MapMoment*> chosen_maps(const Recording& r, const std::vector<double>& seconds) {
  std::vector<const MapMoment*> chosen;
  for (const double wanted : seconds) {
    const auto distance = [&](const MapMoment& m) { return std::abs(m.ms - r.samples.front().ms - wanted * 1e3); };
    const auto nearest = std::min_element(r.maps.begin(), r.maps.end(), [&](const MapMoment& a, const MapMoment& b) {
      return distance(a) < distance(b);
    });
    if (nearest != r.maps.end()) chosen.push_back(&*nearest);
  }
  return chosen;
}

double heights_of(const std::vector<const MapMoment*>& maps) {
  double height = 0;
  for (const MapMoment* each : maps) height += map_height(each->maps);
  return height;
}

class Picture {
 public:
  Picture(const Recording& recording, const std::vector<double>& map_seconds)
      : r_(recording),
        maps_(chosen_maps(recording, map_seconds)),
        // One sample is drawn as if it had stayed so for a while.
        x_end_(std::max(r_.samples.back().ms - r_.samples.front().ms, 100.0)),
        svg_(kWidth, kHeight + heights_of(maps_), title()) {}

  std::string draw() {
    draw_title();
    draw_free();
    draw_lanes();
    draw_memory();
    draw_traffic();
    draw_maps();
    return svg_.finish();
  }

 private:
  [[nodiscard]] std::string title() const {
    constexpr size_t kMostBytes = 76;
    std::string command = r_.command.substr(r_.command.substr(0, r_.command.find(' ')).rfind('/') + 1);
    if (command.size() <= kMostBytes) return command;
    size_t cut = kMostBytes;
    while (cut > 0 && (static_cast<unsigned char>(command[cut]) & 0xc0) == 0x80) --cut;
    return command.substr(0, cut) + "\u2026";
  }
  [[nodiscard]] double bytes(double pages) const { return pages * r_.page_size; }
  [[nodiscard]] std::string memory(double pages) const {
    const Unit unit = memory_unit(bytes(pages));
    return fmt::format("{:.{}f} {}", bytes(pages) / unit.size, bytes(pages) < 100 * unit.size ? 1 : 0, unit.name);
  }

  // The curve of what samples hold.
  [[nodiscard]] std::vector<Point> curve(const Value& value) const {
    std::vector<Point> points;
    for (const Sample& each : r_.samples) points.push_back({each.ms - r_.samples.front().ms, value(each)});
    if (points.size() == 1) points.push_back({x_end_, points[0].y});
    return points;
  }
  // The steps of how much a count rose, a second.
  [[nodiscard]] std::vector<Point> steps(const Value& value) const {
    std::vector<Point> points;
    for (size_t i = 1; i < r_.samples.size(); ++i) {
      const Sample &a = r_.samples[i - 1], &b = r_.samples[i];
      const double rate = std::max(value(b) - value(a), 0.0) / (b.ms - a.ms) * 1e3;
      points.push_back({a.ms - r_.samples.front().ms, rate});
      points.push_back({b.ms - r_.samples.front().ms, rate});
    }
    return points;
  }
  static double greatest(const std::vector<Point>& points, double least) {
    for (const Point& each : points) least = std::max(least, each.y);
    return least;
  }
  void line_of(const Panel& panel, const std::vector<Point>& points, std::string_view colour, double width) {
    svg_.polyline(panel.place(thin(points, kMostPoints)), colour, width);
  }
  void area_of(const Panel& panel, const std::vector<Point>& points, std::string_view fill) {
    svg_.area(panel.place(thin(points, kMostPoints)), panel.place({0, 0}).y, fill);
  }

  void draw_title();
  void draw_free();
  void draw_ground(const Panel& panel);
  void draw_marks(const Panel& panel, const Unit& unit);
  void draw_lanes();
  void draw_lane(double top, std::string_view name, const Value& value, std::string_view colour,
                 const std::string& sum);
  void draw_memory();
  void draw_traffic();
  void draw_maps();

  const Recording& r_;
  std::vector<const MapMoment*> maps_;
  double x_end_;
  Svg svg_;
};

void Picture::draw_title() {
  svg_.text(32, 38, title(), {.size = 20, .colour = kInk, .bold = true});
  const double ms = r_.samples.back().ms - r_.samples.front().ms;
  const Unit unit = time_unit(ms);
  svg_.text(32, 62,
            fmt::format("limit {}, {:.1f} {}, {} {}", memory(r_.limit), ms / unit.size, unit.name, r_.samples.size(),
                        r_.samples.size() == 1 ? "sample" : "samples"),
            {.size = 13});
}

// -- free memory -----------------------------------------------------------------------------------------------------

void Picture::draw_ground(const Panel& panel) {
  const auto between = [&](double from, double to, std::string_view colour) {
    const double top = panel.place({0, std::min(bytes(to), panel.y_top)}).y;
    svg_.box({panel.box.left, top, panel.box.right, panel.place({0, bytes(from)}).y}, colour);
  };
  between(0, r_.min, kBelowMin);
  between(r_.min, r_.low, kBelowLow);
  between(r_.low, r_.high, kBelowHigh);
  between(r_.high, panel.y_top / r_.page_size, kAboveHigh);
}

// The watermarks, as lines with names.
void Picture::draw_marks(const Panel& panel, const Unit& unit) {
  std::vector<SideNote> notes;
  const auto mark = [&](double pages, std::string_view name, std::string_view colour) {
    const double y = panel.place({0, bytes(pages)}).y;
    svg_.line({panel.box.left, y}, {panel.box.right, y}, colour, 1, "6 4");
    notes.push_back({y, fmt::format("{} {} {}", name, short_number(bytes(pages) / unit.size), unit.name), colour});
  };
  mark(r_.min, "min", kMinLine);
  mark(r_.low, "low", kLowLine);
  mark(r_.high, "high", kHighLine);
  draw_side_notes(svg_, panel, notes);
}

void Picture::draw_free() {
  const auto points = curve([this](const Sample& s) { return bytes(s.free); });
  // So much of what is above that the marks are not pressed together.
  constexpr double kMostOfHigh = 3, kLeastOfHigh = 1.4;
  const double top =
      std::clamp(greatest(points, 0) * 1.05, bytes(r_.high) * kLeastOfHigh, bytes(r_.high) * kMostOfHigh);
  const Panel panel = {kFreeBox, x_end_, 0, std::max(top, r_.page_size)};
  const Unit unit = memory_unit(panel.y_top);
  draw_ground(panel);
  draw_grid(svg_, panel, unit, 5);
  draw_marks(panel, unit);
  svg_.begin_clip(panel.box);
  line_of(panel, points, kFreeLine, 1.5);
  svg_.end_clip();
  draw_heading(svg_, panel, fmt::format("Free memory of the limit, {}", unit.name),
               {{"free", kFreeLine, true},
                {"above high", kAboveHigh, false},
                {"low to high", kBelowHigh, false},
                {"min to low", kBelowLow, false},
                {"below min", kBelowMin, false}});
}

// When kswapd, and when threads that had to wait, looked for pages.
void Picture::draw_lanes() {
  const Sample &first = r_.samples.front(), &last = r_.samples.back();
  const double kswapd = kFreeBox.bottom + 8, direct = kswapd + kLaneHeight + kLaneGap;
  const double stalls = last.allocstall - first.allocstall;
  draw_lane(
      kswapd, "kswapd", [](const Sample& s) { return s.pgscan_kswapd; }, kKswapd,
      fmt::format("{} pages", short_number(last.pgscan_kswapd - first.pgscan_kswapd)));
  draw_lane(
      direct, "direct", [](const Sample& s) { return s.pgscan_direct + s.allocstall; }, kDirect,
      fmt::format("{} {}", short_number(stalls), stalls == 1 ? "stall" : "stalls"));
}

// Times when a count rose, the more the stronger: a mark for every two pixels.
void Picture::draw_lane(double top, std::string_view name, const Value& value, std::string_view colour,
                        const std::string& sum) {
  constexpr double kColumn = 2;
  const Box box = {kLeft, top, kRight, top + kLaneHeight};
  svg_.box(box, "#f1f4f7");
  svg_.text(kLeft - 8, box.bottom - 3, name, {.size = 11, .anchor = Anchor::kEnd});
  svg_.text(kRight + 8, box.bottom - 3, sum, {.size = 11});
  const auto rates = steps(value);
  const double most = greatest(rates, 0);
  std::vector<double> columns(static_cast<size_t>((kRight - kLeft) / kColumn) + 1);
  for (size_t i = 0; i + 1 < rates.size(); i += 2) {
    const auto column = [&](double x) {
      return std::min(static_cast<size_t>(x / x_end_ * static_cast<double>(columns.size())), columns.size() - 1);
    };
    for (size_t c = column(rates[i].x); c <= column(rates[i + 1].x); ++c) columns[c] = std::max(columns[c], rates[i].y);
  }
  const auto strength = [most](double rate) {
    return rate == 0 ? 0 : rate < most / 16 ? 0.4 : rate < most / 4 ? 0.7 : 1;
  };
  for (size_t from = 0, to = 0; from < columns.size(); from = to) {
    while (to < columns.size() && strength(columns[to]) == strength(columns[from])) ++to;
    const double right = std::min(kLeft + static_cast<double>(to) * kColumn, kRight);
    if (strength(columns[from]) > 0)
      svg_.box({kLeft + static_cast<double>(from) * kColumn, box.top, right, box.bottom}, colour,
               strength(columns[from]));
  }
}

// -- memory ----------------------------------------------------------------------------------------------------------

void Picture::draw_memory() {
  // From the bottom: each curve is the sum of what is below it.
  const auto pool = curve([this](const Sample& s) { return bytes(std::min(s.zswap_pool, s.used)); });
  const auto standby = curve([this](const Sample& s) { return bytes(std::min(s.zswap_pool + s.standby, s.used)); });
  const auto used = curve([this](const Sample& s) { return bytes(s.used); });
  const auto swapped = curve([this](const Sample& s) { return bytes(s.swapped); });
  const double top = greatest(swapped, greatest(used, bytes(r_.limit))) * 1.08;
  const Panel panel = {kMemoryBox, x_end_, 0, top};
  const Unit unit = memory_unit(top);
  draw_grid(svg_, panel, unit, 5);
  area_of(panel, used, kInPlaceColour);
  area_of(panel, standby, kStandbyColour);
  area_of(panel, pool, kPool);
  line_of(panel, swapped, kSwappedLine, 2);
  const double limit = panel.place({0, bytes(r_.limit)}).y;
  svg_.line({panel.box.left, limit}, {panel.box.right, limit}, kLimitLine, 1.5, "8 4");
  draw_side_notes(
      svg_, panel,
      {{limit, fmt::format("limit {}", memory(r_.limit)), kLimitLine},
       {panel.place(swapped.back()).y, fmt::format("out {}", memory(r_.samples.back().swapped)), kSwappedLine}});
  draw_heading(svg_, panel, fmt::format("Memory, {}", unit.name),
               {{"swapped out", kSwappedLine, true},
                {"limit", kLimitLine, true},
                {"in use at its place", kInPlaceColour, false},
                {"standby", kStandbyColour, false},
                {"compressed pool", kPool, false}});
}

// -- traffic ---------------------------------------------------------------------------------------------------------

void Picture::draw_traffic() {
  const auto in_file = steps([](const Sample& s) { return s.pswpin; });
  const auto in_all = steps([](const Sample& s) { return s.pswpin + s.zswpin; });
  auto out_file = steps([](const Sample& s) { return s.pswpout; });
  auto out_all = steps([](const Sample& s) { return s.pswpout + s.zswpout; });
  const auto faults = steps([](const Sample& s) { return s.pgfault; });
  const double top = greatest(faults, greatest(in_all, 10)) * 1.05, low = greatest(out_all, 10) * 1.05;
  for (auto* each : {&out_file, &out_all})
    for (Point& p : *each) p.y = -p.y;
  const Panel panel = {kTrafficBox, x_end_, -low, top};
  draw_grid(svg_, panel, {1, "pages/s"}, 6);
  area_of(panel, in_all, kCompressed);
  area_of(panel, in_file, kFile);
  area_of(panel, out_all, kCompressed);
  area_of(panel, out_file, kFile);
  // Where every pixel has a point, a thin line lets the areas be seen.
  line_of(panel, faults, kFaults, faults.size() > kMostPoints ? 0.5 : 1.5);
  const double zero = panel.place({0, 0}).y;
  svg_.line({panel.box.left, zero}, {panel.box.right, zero}, kGrey);
  draw_side_notes(svg_, panel, {{zero - 9, "\u2191 in", kInk}, {zero + 9, "\u2193 out", kInk}});
  draw_heading(svg_, panel, "Swapped in and out, pages/s",
               {{"faults/s", kFaults, true}, {"compressed", kCompressed, false}, {"swap file", kFile, false}});
  draw_times(svg_, panel, time_unit(x_end_));
}

// -- maps ------------------------------------------------------------------------------------------------------------

void Picture::draw_maps() {
  double top = kHeight;
  for (const MapMoment* each : maps_) {
    draw_map(svg_, kLeft, kRight, top, each->maps, fmt::format("{:.2f} s", (each->ms - r_.samples.front().ms) / 1e3));
    top += map_height(each->maps);
  }
}

}  // namespace

std::string picture_of(const Recording& recording, const std::vector<double>& map_seconds) {
  return Picture(recording, map_seconds).draw();
}

}  // namespace weir::tool
