#include "watch_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "table_view.h"
#include "watch_tables.h"
#include "water_level.h"

namespace weir::tool {
namespace {

// Lines about the process as a whole, and those of the table that are always seen: the heading and some.
constexpr size_t kHeaderLines = 4, kLeastTableLines = 4;
constexpr size_t kMostGraphHeight = 4;

// -- the header ------------------------------------------------------------------------------------------------------

void put_value(Line& line, std::string_view name, std::string_view value, Style style = Style::kStrong) {
  line.put(" ").put(name).put(" ").put(value, style).put(" ");
}

std::string compression_text(const weir_stats_page& page) {
  if (page.zswap_stored == 0 || page.zswap_bytes == 0) return "nothing";
  const double stored = static_cast<double>(page.zswap_stored) * page.page_size;
  return fmt::format("{} ({:.1f} to 1)", size_text(page.zswap_stored), stored / static_cast<double>(page.zswap_bytes));
}

void put_limit(Line& line, const Snapshot& s) {
  const weir_stats_page& page = s.page();
  put_value(line, "limit", s.limited() ? fmt::format("{} ({})", size_text(page.limit), s.mode()) : "none");
  // Without a limit weir does not count what is resident.
  if (s.limited()) {
    put_value(line, "resident", size_text(s.sum(&weir_stats_node::resident)));
    put_value(line, "peak", size_text(page.resident_peak));
  }
  put_value(line, "in use", size_text(s.used()));
  put_value(line, "swapped", size_text(s.sum(&weir_stats_node::swapped)));
}

void put_swap(Line& line, const Snapshot& s) {
  const weir_stats_page& page = s.page();
  put_value(line, "zswap", size_text(s.sum(&weir_stats_node::zswap_pool)));
  put_value(line, "holds", compression_text(page));
  if (page.swap_total == 0)
    put_value(line, "swap file", "none");
  else
    put_value(line, "swap file",
              fmt::format("{} of {}, {}", size_text(page.swap_used), size_text(page.swap_total), s.swap_path()));
}

// What the limit (or the machine's memory) is spent on.
void put_memory(Line& line, const Snapshot& s, bool unicode) {
  constexpr size_t kLeft = 10, kRight = 17;
  const uint64_t managed = std::max<uint64_t>(s.sum(&weir_stats_node::managed), 1);
  const uint64_t standby = s.sum(&weir_stats_node::standby);
  const uint64_t zswap = s.sum(&weir_stats_node::zswap_pool);
  const uint64_t in_place = s.used() - std::min(s.used(), standby + zswap);
  const size_t columns = line.width() - kLeft - kRight;
  const auto end = [&](uint64_t pages) { return std::min<size_t>(columns, columns * pages / managed); };
  const std::array<size_t, 4> ends = {end(in_place), end(in_place + standby), end(in_place + standby + zswap), columns};
  constexpr std::array<Style, 4> kStyles = {Style::kInPlace, Style::kStandby, Style::kZswap, Style::kFaint};
  const std::array<const char*, 4> signs =
      unicode ? std::array<const char*, 4>{"█", "▓", "▒", "·"} : std::array<const char*, 4>{"#", "=", "%", "."};
  line.put(" memory  [");
  size_t column = 0;
  for (size_t i = 0; i < ends.size(); ++i)
    for (; column < ends[i]; ++column) line.put(signs[i], kStyles[i]);
  line.put("] ").put(size_text(s.used()), Style::kStrong).put(fmt::format(" of {}", size_text(managed)));
}

// -- nodes -----------------------------------------------------------------------------------------------------------

void put_node(Line& line, const Snapshot& s, uint32_t node, bool unicode) {
  constexpr size_t kLeft = 10, kRight = 44;
  const WaterLevel water = water_level(s, node);
  line.put(fmt::format(" node {:<3}[", node));
  put_level(line, water, line.width() - kLeft - kRight, unicode);
  line.put("] free ");
  put_right(line, size_text(water.free), 5, style_of(water.level()));
  line.put(fmt::format("  min {:>5} low {:>5} high {:>5}", size_text(water.min), size_text(water.low),
                       size_text(water.high)));
}

void draw_nodes(Frame& frame, const Snapshot& s, const Screen& screen, size_t lines) {
  const auto nodes = s.nodes();
  const size_t shown = nodes.size() <= lines ? nodes.size() : lines - 1;
  for (size_t i = 0; i < shown; ++i) put_node(frame.emplace_back(screen.width), s, nodes[i], screen.unicode);
  if (shown < nodes.size())
    frame.emplace_back(screen.width)
        .put(fmt::format(" and {} more nodes: a higher terminal shows them", nodes.size() - shown), Style::kFaint);
}

// -- graphs ----------------------------------------------------------------------------------------------------------

void draw_graph(Frame& frame, const Tracker& tracker, Activity activity, const Screen& screen, size_t height) {
  constexpr size_t kLeft = 22, kRight = 10;
  const auto& values = tracker.history(activity);
  const size_t width = screen.width - kLeft - kRight;
  const auto first = values.end() - static_cast<std::ptrdiff_t>(std::min(values.size(), width));
  const double most = first == values.end() ? 0 : *std::max_element(first, values.end());
  const auto lines = graph(values, most, width, height, screen.unicode);
  for (size_t i = 0; i < height; ++i) {
    Line& line = frame.emplace_back(screen.width);
    if (i == 0) {
      put_left(line, fmt::format(" {}", name_of(activity)), 15);
      put_right(line, count_text(tracker.now(activity)), 6, Style::kStrong);
    }
    line.fill_to(kLeft);
    line.put(lines[i], Style::kGraph);
    if (i == 0) line.put(" max ", Style::kFaint).put(count_text(most), Style::kFaint);
  }
}

}  // namespace

std::vector<std::string> graph(const std::vector<double>& values, double most, size_t width, size_t height,
                               bool unicode) {
  static constexpr std::array<const char*, 9> kBlocks = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::array<const char*, 5> kAscii = {" ", ".", ":", "|", "#"};
  const size_t steps = unicode ? kBlocks.size() - 1 : kAscii.size() - 1;
  const size_t shown = std::min(values.size(), width);
  std::vector<std::string> lines(height, std::string(width - shown, ' '));
  for (size_t i = values.size() - shown; i < values.size(); ++i) {
    const double share = most > 0 ? std::min(values[i] / most, 1.0) : 0;
    auto filled = static_cast<size_t>(share * static_cast<double>(steps * height) + 0.5);
    if (values[i] > 0) filled = std::max<size_t>(filled, 1);  // little is not nothing
    for (size_t line = 0; line < height; ++line) {
      const size_t below = (height - 1 - line) * steps;
      const size_t level = std::min(filled - std::min(filled, below), steps);
      lines[line] += unicode ? kBlocks[level] : kAscii[level];
    }
  }
  return lines;
}

void draw_watch(Frame& frame, Watch& watch, const Screen& screen, std::optional<size_t> choice) {
  const Snapshot& s = watch.snapshot();
  const size_t room = screen.height - 2;
  const size_t end = frame.size() + room;
  frame.emplace_back(screen.width).put(" ").put(watch.arguments(), Style::kFaint);
  put_limit(frame.emplace_back(screen.width), s);
  put_swap(frame.emplace_back(screen.width), s);
  put_memory(frame.emplace_back(screen.width), s, screen.unicode);
  const size_t most_node_lines = room - kHeaderLines - kActivities.size() - kLeastTableLines;
  draw_nodes(frame, s, screen, most_node_lines);
  // Graphs get what half of the rest allows: the table gets the other half.
  const size_t height = std::clamp<size_t>((end - frame.size()) / 2 / kActivities.size(), 1, kMostGraphHeight);
  for (const Activity each : kActivities) draw_graph(frame, watch.tracker(), each, screen, height);
  const std::string note = watch.shows_heaps() ? heap_note(s) : std::string();
  const size_t left = end - frame.size() - (note.empty() ? 0 : 1);
  if (choice)
    draw_table_with_choice(frame, watch.table(), screen.width, left, *choice);
  else
    draw_table(frame, watch.table(), screen.width, left);
  if (!note.empty()) frame.emplace_back(screen.width).put(" ").put(note, Style::kFaint);
}

}  // namespace weir::tool
