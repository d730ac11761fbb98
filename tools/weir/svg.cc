#include "svg.h"

#include <fmt/format.h>

#include <cmath>

#include "json.h"

namespace weir::tool {
namespace {

constexpr std::string_view kFonts = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";

// Of points on a level only the ends are needed.
bool is_between_equals(const std::vector<Point>& points, size_t i) {
  constexpr double kSame = 0.05;
  return i > 0 && i + 1 < points.size() && std::abs(points[i].y - points[i - 1].y) < kSame &&
         std::abs(points[i].y - points[i + 1].y) < kSame;
}

std::string coordinates(const std::vector<Point>& points) {
  std::string list;
  for (size_t i = 0; i < points.size(); ++i)
    if (!is_between_equals(points, i))
      list += fmt::format("{}{:.1f},{:.1f}", list.empty() ? "" : " ", points[i].x, points[i].y);
  return list;
}

}  // namespace

std::string xml_text(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const std::string_view character = text.substr(0, length == 0 ? 1 : length);
    const char c = character[0];
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (c == '"')
      result += "&quot;";
    else if (length == 0 || character == "\uFFFE" || character == "\uFFFF")
      result += "\uFFFD";
    else
      result += static_cast<unsigned char>(c) < ' ' ? " " : character;
    text.remove_prefix(character.size());
  }
  return result;
}

double text_width(std::string_view text, double size) {
  // As DejaVu Sans has them, which is wider than the others.
  constexpr double kNarrow = 0.37, kUsual = 0.62, kWide = 0.95;
  constexpr std::string_view kNarrowOnes = " .,:;|/!'()[]fijlrtI", kWideOnes = "mwMW%";
  double width = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xc0) == 0x80) continue;  // more of the same character
    const bool is_narrow = kNarrowOnes.find(c) != std::string_view::npos;
    width += is_narrow ? kNarrow : kWideOnes.find(c) != std::string_view::npos ? kWide : kUsual;
  }
  return width * size;
}

Svg::Svg(double width, double height, std::string_view title) {
  body_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "font-family=\"{2}\" role=\"img\">\n<title>{3}</title>\n<rect width=\"100%\" height=\"100%\" "
      "fill=\"#ffffff\"/>\n",
      width, height, kFonts, xml_text(title));
}

void Svg::text(double x, double y, std::string_view text, const TextStyle& style) {
  constexpr std::string_view kAnchors[] = {"start", "middle", "end"};
  body_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{}\" fill=\"{}\" text-anchor=\"{}\"{}>{}</text>\n",
                       x, y, style.size, style.colour, kAnchors[static_cast<size_t>(style.anchor)],
                       style.bold ? " font-weight=\"600\"" : "", xml_text(text));
}

void Svg::box(const Box& b, std::string_view fill, double opacity) {
  body_ += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"{}/>\n", b.left,
                       b.top, b.right - b.left, b.bottom - b.top, fill,
                       opacity < 1 ? fmt::format(" opacity=\"{:.2f}\"", opacity) : "");
}

void Svg::line(Point from, Point to, std::string_view colour, double width, std::string_view dashes) {
  body_ += fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" stroke-width=\"{}\"{}/>\n", from.x,
      from.y, to.x, to.y, colour, width, dashes.empty() ? "" : fmt::format(" stroke-dasharray=\"{}\"", dashes));
}

void Svg::polyline(const std::vector<Point>& points, std::string_view colour, double width) {
  body_ += fmt::format(
      "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"/>\n",
      coordinates(points), colour, width);
}

void Svg::area(const std::vector<Point>& points, double base, std::string_view fill) {
  if (points.empty()) return;
  body_ += fmt::format("<polygon points=\"{:.1f},{:.1f} {} {:.1f},{:.1f}\" fill=\"{}\"/>\n", points.front().x, base,
                       coordinates(points), points.back().x, base, fill);
}

void Svg::begin_clip(const Box& b) {
  ++clips_;
  body_ += fmt::format(
      "<clipPath id=\"weir-clip-{0}\"><rect x=\"{1:.1f}\" y=\"{2:.1f}\" width=\"{3:.1f}\" height=\"{4:.1f}\"/>"
      "</clipPath>\n<g clip-path=\"url(#weir-clip-{0})\">\n",
      clips_, b.left, b.top, b.right - b.left, b.bottom - b.top);
}

}  // namespace weir::tool
