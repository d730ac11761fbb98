// Purpose: builds a picture in SVG out of text, boxes, lines and areas, with nothing in it that has to be loaded.
// Thread safety: values. Invariants: what is built is well-formed whatever bytes a text has.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace weir::tool {

struct Point {
  double x, y;
};

// A box of the picture: from (left, top) to (right, bottom).
struct Box {
  double left, top, right, bottom;
};

enum class Anchor : unsigned char { kStart, kMiddle, kEnd };

struct TextStyle {
  double size = 12;
  std::string_view colour = "#66727f";
  Anchor anchor = Anchor::kStart;
  bool bold = false;
};

// Text that may stand in an element: escaped, and without what XML 1.0 does not allow.
[[nodiscard]] std::string xml_text(std::string_view text);
// How wide a line will be, at most in common fonts.
[[nodiscard]] double text_width(std::string_view text, double size);

class Svg {
 public:
  // `title` is for those who cannot see the picture.
  Svg(double width, double height, std::string_view title);
  void text(double x, double y, std::string_view text, const TextStyle& style);
  void box(const Box& box, std::string_view fill, double opacity = 1);
  void line(Point from, Point to, std::string_view colour, double width = 1, std::string_view dashes = "");
  void polyline(const std::vector<Point>& points, std::string_view colour, double width);
  // Between the points and the line y = `base`.
  void area(const std::vector<Point>& points, double base, std::string_view fill);
  // What is drawn until the end of it is cut off at the box.
  void begin_clip(const Box& box);
  void end_clip() { body_ += "</g>\n"; }
  [[nodiscard]] std::string finish() const { return body_ + "</svg>\n"; }

 private:
  std::string body_;
  unsigned clips_ = 0;
};

}  // namespace weir::tool
