// Purpose: weir top without a terminal: tables, histories, water levels, what keys do, and the frames that are drawn.
#include <gtest/gtest.h>
#include <locale.h>
#include <weir/stats_page.h>

#include <cstring>
#include <string>
#include <vector>

#include "top_view.h"
#include "watch_view.h"
#include "water_level.h"

namespace weir::tool {
namespace {

// A page as a process publishes it, with a limit, some nodes, one size class a node, and room for two heaps.
class FakePage {
 public:
  explicit FakePage(uint32_t nodes = 1) {
    const uint64_t size = sizeof(weir_stats_page) + nodes * (sizeof(weir_stats_node) + sizeof(weir_stats_slab)) +
                          WEIR_STATS_PATH + kHeapRows * sizeof(weir_stats_heap);
    words_.resize((size + 7) / 8);
    weir_stats_page& p = page();
    p.page_size = 4096;
    p.size = size;
    p.start_ns = 1;
    p.nr_nodes = nodes;
    p.node_offset = sizeof(weir_stats_page);
    p.node_size = sizeof(weir_stats_node);
    p.slab_offset = p.node_offset + nodes * p.node_size;
    p.slab_size = sizeof(weir_stats_slab);
    p.nr_classes = 1;
    p.nr_lanes = 1;
    p.swap_path_offset = p.slab_offset + nodes * p.slab_size;
    p.heap_offset = p.swap_path_offset + WEIR_STATS_PATH;
    p.heap_size = sizeof(weir_stats_heap);
    p.nr_heap_rows = kHeapRows;
    p.limit = 10000 * nodes;
    p.mode = WEIR_STATS_SWAP;
    name("pgscan_kswapd").name("zswpin").name("pswpin").name("pgfault");
    for (uint32_t n = 0; n < nodes; ++n) {
      node(n).present_node = 1;
      node(n).managed = 10000;
      node(n).watermark_min = 100;
      node(n).watermark_low = 150;
      node(n).watermark_high = 200;
      set_free(n, 5000);
    }
  }
  weir_stats_page& page() { return *reinterpret_cast<weir_stats_page*>(words_.data()); }
  weir_stats_node& node(uint32_t n) { return const_cast<weir_stats_node&>(*weir_stats_node_at(&page(), n)); }
  weir_stats_slab& slab(uint32_t n) { return const_cast<weir_stats_slab&>(*weir_stats_slab_at(&page(), n, 0, 0)); }
  // A heap with a limit of 256 pages and a soft one of 128.
  weir_stats_heap& add_heap(const char* name, uint64_t charged) {
    auto& h = const_cast<weir_stats_heap&>(*weir_stats_heap_at(&page(), static_cast<uint32_t>(page().nr_heaps++)));
    h.id = h.id_again = page().nr_heaps;
    strncpy(h.name, name, sizeof(h.name) - 1);
    h.charged = h.peak = charged;
    h.limit = 256;
    h.soft_limit = 128;
    return h;
  }
  void set_free(uint32_t n, uint64_t free) { node(n).resident = 10000 - free; }
  void set(size_t counter, uint64_t value) { page().counters[counter] = value; }
  [[nodiscard]] Moment at(double seconds, pid_t pid = 7) { return {Snapshot(pid, words_), seconds}; }

 private:
  static constexpr uint32_t kHeapRows = 2;
  FakePage& name(const char* text) {
    memcpy(page().counter_names + names_, text, strlen(text) + 1);
    names_ += strlen(text) + 1;
    ++page().nr_counters;
    return *this;
  }
  std::vector<uint64_t> words_;
  size_t names_ = 0;
};
enum Counter : size_t { kScan, kFromZswap, kFromFile, kFaultCounter };

Table three_columns() {
  return Table({{"N", 4, false, false}, {"WORD", 6, true, true}, {"LAST", 0, true, false}}, 0);
}
Row row(uint64_t key, double number, const std::string& word) {
  return {key, {{std::to_string(static_cast<int>(number)), number}, {word}, {"x"}}};
}
std::vector<uint64_t> keys_of(const Table& table) {
  std::vector<uint64_t> keys;
  for (const Row& each : table.rows()) keys.push_back(each.key);
  return keys;
}
using Keys = std::vector<uint64_t>;

void type(TopApp& app, const std::string& text) {
  for (const char c : text) app.press({Key::kText, std::string(1, c)});
}
std::string text_of(const Frame& frame) {
  std::string text;
  for (const Line& line : frame) text += line.text() + "\n";
  return text;
}
TopApp with_processes(const std::vector<std::string>& commands) {
  TopApp app(1);
  std::vector<ProcessList::Seen> seen;
  FakePage page;
  for (size_t i = 0; i < commands.size(); ++i) {
    page.set_free(0, 1000 * (i + 1));  // the first uses most, and so is the first
    seen.push_back({page.at(1, static_cast<pid_t>(i + 1)), commands[i]});
  }
  app.list().update(std::move(seen));
  return app;
}

class TopTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(setlocale(LC_CTYPE, "C.UTF-8"), nullptr); }
};

TEST_F(TopTest, NumbersTakeFiveColumns) {
  EXPECT_EQ(size_text(0), "0");
  EXPECT_EQ(size_text(1), "4K");
  EXPECT_EQ(size_text(255), "1020K");
  EXPECT_EQ(size_text(256), "1.0M");
  EXPECT_EQ(size_text(25600), "100M");
  EXPECT_EQ(size_text(25599), "100M");
  EXPECT_EQ(size_text(262143), "1.0G");
  EXPECT_EQ(size_text(uint64_t{1} << 28), "1.0T");
  for (uint64_t pages = 1; pages < uint64_t{1} << 50; pages = pages * 9 / 8 + 1)
    EXPECT_LE(size_text(pages).size(), 5U) << pages;
  EXPECT_EQ(count_text(0.4), "0");
  EXPECT_EQ(count_text(99999), "99999");
  EXPECT_EQ(count_text(100000), "100k");
  EXPECT_EQ(count_text(12345678), "12M");
  for (double n = 1; n < 1e15; n *= 1.07) EXPECT_LE(count_text(n).size(), 5U) << n;
}

TEST_F(TopTest, LinesAreAsWideAsTheScreenWhateverIsInThem) {
  Line line(8);
  line.put("ab").put("\xff\x1b\n").put("漢字表");
  EXPECT_EQ(line.text(), "ab???漢");  // the next one would need two columns
  EXPECT_EQ(line.columns(), 7U);
  line.fill(Style::kPlain);
  EXPECT_EQ(line.columns(), 8U);
  Line cells(20);
  put_right(cells, "漢", 4);
  put_left(cells, "toolong", 4);
  EXPECT_EQ(cells.text(), "  漢tool");
  setlocale(LC_CTYPE, "C");
  Line ascii(8);
  ascii.put("é");
  EXPECT_EQ(ascii.text(), "??");
}

TEST_F(TopTest, OrderOfATable) {
  Table table = three_columns();
  table.set_rows({row(1, 5, "b"), row(2, 9, "C"), row(3, 5, "a")});
  EXPECT_EQ(keys_of(table), (Keys{2, 1, 3}));  // the largest first, equal ones by key
  table.invert();
  EXPECT_EQ(keys_of(table), (Keys{1, 3, 2}));
  table.sort_by(1);
  EXPECT_EQ(keys_of(table), (Keys{3, 1, 2}));
}

TEST_F(TopTest, SelectionStaysOnItsRow) {
  Table table = three_columns();
  EXPECT_FALSE(table.selected());
  table.move(1);
  table.set_rows({row(1, 1, "a"), row(2, 2, "b"), row(3, 3, "c")});
  EXPECT_EQ(table.selected(), 3U);
  table.move(1);
  EXPECT_EQ(table.selected(), 2U);
  table.set_rows({row(1, 1, "a"), row(2, 9, "b"), row(3, 3, "c"), row(4, 4, "d")});
  EXPECT_EQ(table.selected(), 2U);
  EXPECT_EQ(table.index(), 0U);
  table.select(99);
  EXPECT_EQ(table.selected(), 1U);
  table.set_rows({row(5, 1, "a"), row(6, 2, "b")});  // it is gone: the one in its place, or the last
  EXPECT_EQ(table.selected(), 5U);
  table.move(-7);
  EXPECT_EQ(table.selected(), 6U);
  table.set_rows({});
  EXPECT_FALSE(table.selected());
}

TEST_F(TopTest, TheSelectedRowIsAlwaysSeen) {
  Table table = three_columns();
  std::vector<Row> rows;
  for (uint64_t i = 0; i < 30; ++i) rows.push_back(row(i, -static_cast<double>(i), "w"));
  table.set_rows(rows);
  EXPECT_EQ(table.scroll(10), 0U);
  table.move_pages(1);
  EXPECT_EQ(table.index(), 9U);
  table.move_pages(1);
  EXPECT_EQ(table.scroll(10), 9U);
  table.select(99);
  EXPECT_EQ(table.scroll(10), 20U);
  EXPECT_EQ(table.scroll(40), 0U);  // room for all
  table.set_rows({row(1, 1, "a")});
  EXPECT_EQ(table.scroll(10), 0U);
}

TEST_F(TopTest, HistoryHasRatesOfEachInterval) {
  FakePage page;
  Tracker tracker(page.at(10));
  EXPECT_EQ(tracker.now(Activity::kFaults), 0);
  page.set(kFaultCounter, 100);
  page.set(kFromZswap, 30);
  page.set(kFromFile, 10);
  tracker.add(page.at(12));
  EXPECT_DOUBLE_EQ(tracker.now(Activity::kFaults), 50);
  EXPECT_DOUBLE_EQ(tracker.now(Activity::kSwapIn), 20);
  EXPECT_DOUBLE_EQ(tracker.now(Activity::kDirectScan), 0);  // that counter is not in the page
  for (int i = 0; i < 600; ++i) tracker.add(page.at(13 + i));
  EXPECT_EQ(tracker.history(Activity::kFaults).size(), Tracker::kMoments);
  EXPECT_DOUBLE_EQ(tracker.now(Activity::kFaults), 0);
  page.page().start_ns = 2;  // another program
  tracker.add(page.at(700));
  EXPECT_TRUE(tracker.history(Activity::kFaults).empty());
}

TEST_F(TopTest, LevelsOfWater) {
  FakePage page(2);
  const auto level = [&](uint64_t free) {
    page.set_free(1, free);
    return worst_level(page.at(1).snapshot);
  };
  EXPECT_EQ(level(200), Level::kAboveHigh);
  EXPECT_EQ(level(199), Level::kBelowHigh);
  EXPECT_EQ(level(150), Level::kBelowHigh);
  EXPECT_EQ(level(149), Level::kBelowLow);
  EXPECT_EQ(level(100), Level::kBelowLow);
  EXPECT_EQ(level(99), Level::kBelowMin);
  EXPECT_EQ(level(0), Level::kBelowMin);
}

TEST_F(TopTest, BarOfALevel) {
  const auto bar = [](uint64_t free) {
    Line line(100);
    put_level(line, {.free = free, .min = 100, .low = 150, .high = 200, .managed = 10000}, 40, false);
    return line;
  };
  EXPECT_EQ(bar(0).text(), "..........|....|....|...................");
  EXPECT_EQ(bar(120).text(), "##########|#...|....|...................");
  EXPECT_EQ(bar(9999).text(), "##########|####|####|###################");
  EXPECT_EQ(bar(120).spans()[0].style, Style::kBelowLow);
  EXPECT_EQ(bar(120).spans()[1].style, Style::kBelowMin);  // the mark of min
  EXPECT_EQ(bar(50).spans()[0].style, Style::kBelowMin);
  Line none(10);
  put_level(none, {.free = 0, .min = 0, .low = 0, .high = 0, .managed = 0}, 10, true);
  EXPECT_EQ(none.columns(), 10U);
}

TEST_F(TopTest, Graphs) {
  EXPECT_EQ(graph({0, 1, 4, 8}, 8, 6, 1, false), (std::vector<std::string>{"   .:#"}));
  EXPECT_EQ(graph({0, 4, 8}, 8, 3, 2, true), (std::vector<std::string>{"  █", " ██"}));
  EXPECT_EQ(graph({1, 2, 3}, 3, 2, 1, true), (std::vector<std::string>{"▅█"}));  // the newest
  EXPECT_EQ(graph({0, 0}, 0, 2, 1, true), (std::vector<std::string>{"  "}));
  EXPECT_EQ(graph({0.001, 1000}, 1000, 2, 1, true), (std::vector<std::string>{"▁█"}));  // little is not nothing
  EXPECT_EQ(graph({}, 0, 3, 1, true), (std::vector<std::string>{"   "}));
}

TEST_F(TopTest, KeysOfTheList) {
  TopApp app = with_processes({"alpha", "beta", "gamma"});
  EXPECT_EQ(app.table().selected(), 1U);
  app.press({Key::kDown, {}});
  EXPECT_EQ(app.table().selected(), 2U);
  app.press({Key::kEnd, {}});
  EXPECT_EQ(app.table().selected(), 3U);
  app.press({Key::kHome, {}});
  EXPECT_EQ(app.table().selected(), 1U);
  app.press({Key::kEscape, {}});  // there is nothing to go back to
  EXPECT_FALSE(app.take_refresh());
  type(app, "p");
  EXPECT_TRUE(app.is_paused());
  type(app, "+");
  EXPECT_EQ(app.delay(), 2);
  type(app, "---------");
  EXPECT_EQ(app.delay(), 0.1);
  type(app, "h");
  EXPECT_EQ(app.mode(), TopApp::Mode::kHelp);
  type(app, "q");  // any key
  EXPECT_EQ(app.mode(), TopApp::Mode::kTable);
  EXPECT_FALSE(app.is_over());
  type(app, "q");
  EXPECT_TRUE(app.is_over());
}

TEST_F(TopTest, SearchingSelectsWhatIsFound) {
  TopApp app = with_processes({"redis-server", "postgres", "redis-cli"});
  type(app, "/RED");
  EXPECT_EQ(app.table().selected(), 1U);
  app.press({Key::kSearch, {}});
  EXPECT_EQ(app.table().selected(), 3U);
  app.press({Key::kSearch, {}});
  EXPECT_EQ(app.table().selected(), 1U);
  type(app, "q");  // is a letter here
  EXPECT_FALSE(app.is_over());
  EXPECT_FALSE(app.is_found());
  EXPECT_EQ(app.table().selected(), 1U);
  app.press({Key::kBackspace, {}});
  EXPECT_TRUE(app.is_found());
  app.press({Key::kText, "é"});
  app.press({Key::kBackspace, {}});
  EXPECT_EQ(app.search(), "RED");
  app.press({Key::kEnter, {}});
  EXPECT_EQ(app.mode(), TopApp::Mode::kTable);
  EXPECT_EQ(app.watch(), nullptr);  // the first Enter ends the search
}

TEST_F(TopTest, ChoosingTheOrder) {
  TopApp app = with_processes({"b", "c", "a"});
  app.press({Key::kSort, {}});
  EXPECT_EQ(app.mode(), TopApp::Mode::kChoice);
  EXPECT_NE(text_of(draw_top(app, {})).find("Sort by"), std::string::npos);
  app.press({Key::kEnd, {}});
  app.press({Key::kDown, {}});
  app.press({Key::kEnter, {}});
  EXPECT_EQ(keys_of(app.table()), (Keys{3, 1, 2}));  // by COMMAND
  type(app, ">");                                    // round to PID
  EXPECT_EQ(keys_of(app.table()), (Keys{1, 2, 3}));
  type(app, "I");
  EXPECT_EQ(keys_of(app.table()), (Keys{3, 2, 1}));
  type(app, "<");
  EXPECT_EQ(app.table().sorted(), app.table().columns().size() - 1);
}

TEST_F(TopTest, AProcessThatEndsStaysAsItWas) {
  FakePage page;
  page.slab(0) = {.object_size = 64,
                  .objects_per_slab = 256,
                  .pages_per_slab = 4,
                  .reserved = 0,
                  .slabs = 2,
                  .free_objects = 500,
                  .unused = {}};
  Watch watch(Tracker(page.at(1)), "server", "./server --fast");
  page.set(kScan, 500);
  watch.update(page.at(2), "server", "./server --fast");
  watch.lose();
  EXPECT_EQ(watch.state(), Watch::State::kUnreadable);
  watch.update(page.at(3), "server", "./server --fast");
  EXPECT_EQ(watch.state(), Watch::State::kRunning);
  watch.end();
  page.set(kScan, 900);
  watch.update(page.at(4), "other", "");
  watch.lose();
  EXPECT_EQ(watch.state(), Watch::State::kEnded);
  EXPECT_EQ(watch.command(), "server");
  EXPECT_EQ(watch.tracker().last().seconds, 3);
  TopApp app(1, std::move(watch));
  const std::string text = text_of(draw_top(app, {}));
  EXPECT_NE(text.find("process 7  server  ended"), std::string::npos) << text;
  EXPECT_NE(text.find("       512         12   2%      64        2      256    32K malloc-64"), std::string::npos)
      << text;
  app.press({Key::kEscape, {}});
  EXPECT_EQ(app.watch(), nullptr);
  EXPECT_TRUE(app.take_refresh());
  EXPECT_FALSE(app.take_refresh());
}

TEST_F(TopTest, TabShowsHeaps) {
  FakePage page;
  TopApp app(1, Watch(Tracker(page.at(1)), "server", ""));
  app.press({Key::kTab, {}});
  EXPECT_NE(text_of(draw_top(app, {})).find(" no heaps: a program makes them by weir_heap_create"), std::string::npos);
  page.add_heap("tenant \x1b[2J", 200);
  weir_stats_heap& big = page.add_heap("big", 255);
  big.swapped = 155;
  big.oom_score_adj = -1000;
  big.oom_policy = 1;
  big.cap = 256;
  big.limit_failures = 12345678;
  app.watch()->update(page.at(2), "server", "");
  const std::string text = text_of(draw_top(app, {}));
  const size_t heading = text.find("\nCHARGED SWAPPED LIMIT  SOFT  PEAK   ADJ POLICY     FAILED NAME ");
  ASSERT_NE(heading, std::string::npos) << text;
  EXPECT_EQ(text.find("\n  1020K    620K  1.0M  512K 1020K -1000 release* 12345678 big "), text.find('\n', heading + 1))
      << text;
  EXPECT_NE(text.find("\n   800K       0  1.0M  512K  800K     0 fail            0 tenant ?[2J"), std::string::npos)
      << text;
  EXPECT_EQ(text.find(" heaps are shown"), std::string::npos);
  EXPECT_NE(text.find("TabClasses"), std::string::npos);
  page.page().nr_heaps = 7;
  app.watch()->update(page.at(3), "server", "");
  EXPECT_NE(text_of(draw_top(app, {})).find("\n 2 of 7 heaps are shown"), std::string::npos);
  type(app, "/TENANT");
  EXPECT_EQ(app.table().selected(), 1U);
  app.press({Key::kEscape, {}});
  app.press({Key::kSort, {}});
  app.press({Key::kEnd, {}});
  app.press({Key::kTab, {}});  // the choice is of this table
  app.press({Key::kEnter, {}});
  EXPECT_EQ(keys_of(app.table()), (Keys{2, 1}));  // by NAME
  app.press({Key::kTab, {}});
  EXPECT_NE(text_of(draw_top(app, {})).find("OBJSIZE"), std::string::npos);
  app.press({Key::kEscape, {}});
  app.press({Key::kTab, {}});  // nothing in the list
  EXPECT_EQ(app.watch(), nullptr);
}

// What limits are on is in memory.
TEST_F(TopTest, AHeapAboveALimitIsSeen) {
  FakePage page;
  weir_stats_heap& heap = page.add_heap("a", 256);
  const auto styles = [&](uint64_t swapped) {
    heap.swapped = swapped;
    Watch watch(Tracker(page.at(1)), "a", "");
    watch.show_other_table();
    const auto& cells = watch.table().rows()[0].cells;
    return std::pair(cells[2].style, cells[3].style);
  };
  EXPECT_EQ(styles(128), std::pair(Style::kPlain, Style::kPlain));
  EXPECT_EQ(styles(127), std::pair(Style::kPlain, Style::kBelowLow));
  heap.charged = 257;
  EXPECT_EQ(styles(0), std::pair(Style::kBelowMin, Style::kBelowLow));
  heap.limit = heap.soft_limit = 0;
  EXPECT_EQ(styles(0), std::pair(Style::kPlain, Style::kPlain));
}

TEST_F(TopTest, FramesFillTheScreenExactly) {
  for (const uint32_t nodes : {1U, 8U, 64U}) {
    for (const Screen screen :
         {Screen{80, 24, true}, Screen{80, 24, false}, Screen{81, 25, true}, Screen{200, 70, true}}) {
      FakePage page(nodes);
      TopApp list = with_processes({"a", "b"});
      TopApp process(1, Watch(Tracker(page.at(1)), "a", std::string(500, 'x')));
      for (TopApp* app : {&list, &process}) {
        for (const Key key : {Key::kOther, Key::kHelp, Key::kEscape, Key::kSort, Key::kEscape, Key::kTab, Key::kSort,
                              Key::kEscape, Key::kSearch}) {
          if (key != Key::kEscape || app->mode() != TopApp::Mode::kTable) app->press({key, {}});
          const Frame frame = draw_top(*app, screen);
          EXPECT_EQ(frame.size(), screen.height);
          for (const Line& line : frame) EXPECT_EQ(line.width(), screen.width);
          EXPECT_EQ(frame.front().columns(), screen.width);
          if (!screen.unicode) {
            for (const char c : text_of(frame)) EXPECT_TRUE(c == '\n' || (c >= ' ' && c <= '~'));
          }
        }
        app->press({Key::kEscape, {}});
      }
    }
  }
}

TEST_F(TopTest, ManyNodesLeaveRoomForTheRest) {
  FakePage page(64);
  TopApp app(1, Watch(Tracker(page.at(1)), "a", ""));
  const std::string text = text_of(draw_top(app, {}));
  EXPECT_NE(text.find("and 56 more nodes"), std::string::npos) << text;
  EXPECT_NE(text.find("faults/s"), std::string::npos);
  EXPECT_NE(text.find("OBJSIZE"), std::string::npos);
  EXPECT_EQ(text_of(draw_top(app, {80, 100, false})).find("more nodes"), std::string::npos);
}

TEST_F(TopTest, NothingIsCutOffAtEightyColumns) {
  FakePage page;
  page.set_free(0, 255);  // 1020K: as long as sizes get
  page.node(0).watermark_min = page.node(0).watermark_low = page.node(0).watermark_high = 255;
  TopApp app(1, Watch(Tracker(page.at(1)), "a", ""));
  EXPECT_NE(text_of(draw_top(app, {})).find("free 1020K  min 1020K low 1020K high 1020K\n"), std::string::npos);
  page.page().limit = 262144;
  page.page().mode = WEIR_STATS_PURGE;
  page.page().resident_peak = page.node(0).swapped = 255;
  page.page().zswap_stored = 256;
  page.page().zswap_bytes = 1 << 19;
  app.watch()->update(page.at(2), "a", "");
  const std::string text = text_of(draw_top(app, {}));
  EXPECT_NE(text.find(" limit 1.0G (purge)  resident 38.1M  peak 1020K  in use 38.1M  swapped 1020K"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("holds 1.0M (2.0 to 1)  swap file none"), std::string::npos) << text;
  type(app, "?");
  const Frame wide = draw_top(app, {200, 24, true});
  for (size_t i = 1; i + 1 < wide.size(); ++i) EXPECT_LE(wide[i].columns(), kLeastWidth) << wide[i].text();
}

TEST_F(TopTest, TooSmallIsOneLine) {
  TopApp app(1);
  for (const Screen screen : {Screen{79, 24, true}, Screen{80, 23, true}, Screen{10, 1, true}}) {
    const Frame frame = draw_top(app, screen);
    ASSERT_EQ(frame.size(), 1U);
    EXPECT_LE(frame[0].columns(), screen.width);
  }
  EXPECT_EQ(text_of(draw_top(app, {60, 20, true})), "weir top needs 80x24, this is 60x20 (q quits)\n");
}

}  // namespace
}  // namespace weir::tool
