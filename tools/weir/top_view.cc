#include "top_view.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "table_view.h"
#include "watch_view.h"

namespace weir::tool {
namespace {

using Keys = std::vector<std::pair<const char*, const char*>>;

constexpr std::array kHelp = {
    "Up Down PgUp PgDn Home End   select",
    "Enter F5                     open the view of a process",
    "Esc                          go back to the list",
    "Tab                          in the view: size classes, or heaps",
    "F3 /                         search; F3 again: the next one",
    "F6                           choose the column that decides the order",
    "< >                          order by the column to the left, to the right",
    "I                            invert the order",
    "+ -                          longer, shorter interval",
    "p                            pause, go on",
    "F1 h ?                       this help",
    "F10 q Ctrl-C                 quit",
};

void put_memory_signs(Line& line, bool unicode) {
  line.put(" memory: ").put(unicode ? "█" : "#", Style::kInPlace).put(" at its place  ");
  line.put(unicode ? "▓" : "=", Style::kStandby).put(" unmapped, still there (STBY)  ");
  line.put(unicode ? "▒" : "%", Style::kZswap).put(" compressed");
}

void put_level_signs(Line& line, bool unicode) {
  const char* mark = unicode ? "┃" : "|";
  line.put(" node: free pages; marks at ").put(mark, Style::kBelowMin).put(" min ");
  line.put(mark, Style::kBelowLow).put(" low ").put(mark, Style::kAboveHigh).put(" high; full at twice high");
}

void put_level_colours(Line& quiet, Line& busy) {
  quiet.put(" ").put("above high", Style::kAboveHigh).put(": quiet   ").put("below high", Style::kBelowHigh);
  quiet.put(": kswapd goes on if it works");
  busy.put(" ").put("below low", Style::kBelowLow).put(": kswapd works   ").put("below min", Style::kBelowMin);
  busy.put(": threads wait");
}

void draw_help(Frame& frame, const Screen& screen) {
  const auto line = [&]() -> Line& { return frame.emplace_back(screen.width); };
  line().put(" Keys", Style::kStrong);
  for (const char* each : kHelp) line().put("   ").put(each);
  line();
  line().put(" What is seen", Style::kStrong);
  put_memory_signs(line(), screen.unicode);
  put_level_signs(line(), screen.unicode);
  Line quiet(screen.width), busy(screen.width);
  put_level_colours(quiet, busy);
  frame.push_back(quiet);
  frame.push_back(busy);
  line().put(" IN/s OUT/s SCAN/s: pages a second, to and from compressed memory and the file");
  line().put(" SCAN/s is red when threads had to look for pages themselves (direct)");
  line().put(" Heaps: LIMIT or SOFT in colour: above it; *: chosen when memory ran out");
}

void draw_list(Frame& frame, TopApp& app, const Screen& screen) {
  constexpr size_t kLinesAbove = 2, kTitleAndKeys = 2;
  const auto total = app.list().total();
  Line& summary = frame.emplace_back(screen.width);
  if (total.processes == 0)
    summary.put(" No process on weir that you may look at. Start one: weir run --limit SIZE -- PROGRAM");
  else
    summary.put(fmt::format(" {} on weir, {} with a limit: {} in use of {}; {} swapped out, zswap {}", total.processes,
                            total.limited, size_text(total.used), size_text(total.limit), size_text(total.swapped),
                            size_text(total.zswap_pool)));
  frame.emplace_back(screen.width);
  const size_t height = screen.height - kTitleAndKeys - kLinesAbove;
  if (app.mode() == TopApp::Mode::kChoice)
    draw_table_with_choice(frame, app.table(), screen.width, height, app.choice());
  else
    draw_table(frame, app.table(), screen.width, height);
}

void put_title(Line& line, TopApp& app) {
  constexpr size_t kRight = 12;
  line.put(" weir top", Style::kTitle);
  if (const Watch* watch = app.watch()) {
    line.put(fmt::format("  process {}  {} ", watch->pid(), watch->command()), Style::kTitle);
    if (watch->state() == Watch::State::kEnded) line.put(" ended ", Style::kBelowMin);
    if (watch->state() == Watch::State::kUnreadable) line.put(" not on weir now, or not yours ", Style::kBelowLow);
  }
  line.fill_to(line.width() - kRight, Style::kTitle);
  const std::string right = app.is_paused() ? "paused" : fmt::format("every {} s", app.delay());
  put_right(line, right, line.width() - line.columns() - 1, Style::kTitle);
  line.fill(Style::kTitle);
}

void put_keys(Line& line, const Keys& keys) {
  for (const auto& [key, what] : keys) line.put(key, Style::kStrong).put(what, Style::kKey).put(" ", Style::kKey);
  line.fill(Style::kKey);
}

void put_bottom(Line& line, TopApp& app) {
  switch (app.mode()) {
    case TopApp::Mode::kHelp:
      return put_keys(line, {{"any key", " back"}, {"F10", "Quit"}});
    case TopApp::Mode::kChoice:
      return put_keys(line, {{"Enter", "Sort"}, {"Esc", "Cancel"}});
    case TopApp::Mode::kSearch:
      put_left(line, "F3", 2, Style::kStrong);
      line.put("Next ", Style::kKey).put("Esc", Style::kStrong).put("Done ", Style::kKey);
      line.put(" Search: ").put(app.search(), app.is_found() ? Style::kStrong : Style::kBelowMin);
      if (!app.is_found()) line.put("  (none)", Style::kBelowMin);
      return;
    case TopApp::Mode::kTable:
      break;
  }
  if (const Watch* watch = app.watch())
    put_keys(line, {{"F1", "Help"},
                    {"F3", "Search"},
                    {"F6", "Sort"},
                    {"Esc", "List"},
                    {"Tab", watch->shows_heaps() ? "Classes" : "Heaps"},
                    {"p", "Pause"},
                    {"F10", "Quit"}});
  else
    put_keys(line, {{"F1", "Help"}, {"F3", "Search"}, {"F5", "Open"}, {"F6", "Sort"}, {"p", "Pause"}, {"F10", "Quit"}});
}

Frame draw_too_small(const Screen& screen) {
  Frame frame;
  frame.emplace_back(screen.width)
      .put(fmt::format("weir top needs {}x{}, this is {}x{} (q quits)", kLeastWidth, kLeastHeight, screen.width,
                       screen.height));
  return frame;
}

}  // namespace

Frame draw_top(TopApp& app, const Screen& screen) {
  if (screen.width < kLeastWidth || screen.height < kLeastHeight) return draw_too_small(screen);
  Frame frame;
  put_title(frame.emplace_back(screen.width), app);
  if (app.mode() == TopApp::Mode::kHelp) {
    draw_help(frame, screen);
  } else if (Watch* watch = app.watch()) {
    const bool choosing = app.mode() == TopApp::Mode::kChoice;
    draw_watch(frame, *watch, screen, choosing ? std::optional(app.choice()) : std::nullopt);
  } else {
    draw_list(frame, app, screen);
  }
  while (frame.size() + 1 < screen.height) frame.emplace_back(screen.width);
  put_bottom(frame.emplace_back(screen.width), app);
  return frame;
}

}  // namespace weir::tool
