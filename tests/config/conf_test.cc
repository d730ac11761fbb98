// conf_test.cc: lists of options, what is said about the mistakes in them, and that a mistake changes nothing else.
#include "config/conf.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace weir {
namespace {

struct Reports {
  std::vector<std::string> lines;
  ConfSink sink() {
    return {[](void* context, std::string_view line) { static_cast<Reports*>(context)->lines.emplace_back(line); },
            this};
  }
};

using Lines = std::vector<std::string>;

Lines reports_of(std::string_view conf, Options& options) {
  Reports reports;
  const unsigned mistakes = parse_conf(conf, "WEIR_CONF", options, reports.sink());
  EXPECT_EQ(mistakes, reports.lines.size());
  return reports.lines;
}

Lines reports_of(std::string_view conf) {
  Options options;
  return reports_of(conf, options);
}

TEST(ParseConf, SetsWhatItNames) {
  Options options;
  EXPECT_EQ(reports_of("decay_ms=1s,thp=never,tcache_bytes=0,numa=off", options), Lines{});
  EXPECT_EQ(options.decay_ms, 1000);
  EXPECT_EQ(options.thp, Thp::kNever);
  EXPECT_EQ(options.tcache_bytes, 0u);
  EXPECT_FALSE(options.numa);
  EXPECT_EQ(options.watermark_scale_factor, 10);
}

TEST(ParseConf, BlanksAndEmptyEntriesAreIgnored) {
  Options options;
  EXPECT_EQ(reports_of(" , ,decay_ms = 1s ,\t guard=1,,\n", options), Lines{});
  EXPECT_EQ(options.decay_ms, 1000);
  EXPECT_TRUE(options.guard);
  EXPECT_EQ(reports_of(""), Lines{});
  EXPECT_EQ(reports_of(",,,"), Lines{});
}

TEST(ParseConf, QuotedValuesHoldCommasAndBlanks) {
  Options options;
  EXPECT_EQ(reports_of(R"(swap="/a, b=c",limit=2M)", options), Lines{});
  EXPECT_EQ(options.swap.view(), "/a, b=c");
  EXPECT_EQ(options.limit, uint64_t{2} << 20);
  EXPECT_EQ(reports_of(R"( swap = " /x " , guard="1")", options), Lines{});
  EXPECT_EQ(options.swap.view(), " /x ") << "blanks in quotes belong to the value";
  EXPECT_TRUE(options.guard);
  EXPECT_EQ(reports_of(R"(swap=/it"s,guard=0)", options), Lines{}) << "a quote in the middle is a character";
  EXPECT_EQ(options.swap.view(), R"(/it"s)");
  EXPECT_FALSE(options.guard);
}

TEST(ParseConf, QuotesThatDoNotMatchAreNamed) {
  const std::string wanted = "': a quoted value ends with a quote, and has none inside\n";
  for (const std::string entry : {R"(swap="/a)", R"(swap="/a"b)", R"(swap=")", R"(swap=""")", R"(swap="/a" "/b")"}) {
    Options options;
    EXPECT_EQ(reports_of(entry, options), Lines{"weir: WEIR_CONF: '" + entry + wanted});
    EXPECT_TRUE(options.swap.empty());
  }
  Options options;
  EXPECT_EQ(reports_of(R"(swap="/a"b,limit=2M)", options).size(), 1u);
  EXPECT_EQ(options.limit, uint64_t{2} << 20) << "what follows a mistake still counts";
  EXPECT_EQ(reports_of(R"(swap="")").size(), 1u) << "an empty path is a mistake";
}

TEST(ParseConf, LaterEntriesWin) {
  Options options;
  EXPECT_EQ(reports_of("decay_ms=1,decay_ms=2,decay_ms=3", options), Lines{});
  EXPECT_EQ(options.decay_ms, 3);
}

TEST(ParseConf, MistakeKeepsThePreviousValue) {
  Options options;
  EXPECT_EQ(reports_of("decay_ms=7,decay_ms=soon,guard=1", options).size(), 1u);
  EXPECT_EQ(options.decay_ms, 7);
  EXPECT_TRUE(options.guard) << "what follows a mistake still counts";
}

TEST(ParseConf, NamesTheMistakeAndTheAcceptedForm) {
  EXPECT_EQ(reports_of("min_free_kbytes=12Q"),
            Lines{"weir: WEIR_CONF: min_free_kbytes=12Q: expected a whole number 0..1048576 (KiB)\n"});
  EXPECT_EQ(reports_of("decay=5"), Lines{"weir: WEIR_CONF: unknown key 'decay' (did you mean 'decay_ms'?)\n"});
  EXPECT_EQ(reports_of("thp=sometimes"), Lines{"weir: WEIR_CONF: thp=sometimes: expected never|dense|always\n"});
  EXPECT_EQ(reports_of("guard="), Lines{"weir: WEIR_CONF: guard=: expected 0 or 1 (off or on)\n"});
  EXPECT_EQ(reports_of("guard"), Lines{"weir: WEIR_CONF: 'guard' has no value: expected key=value\n"});
  EXPECT_EQ(reports_of("=1"), Lines{"weir: WEIR_CONF: '=1' has no key: expected key=value\n"});
  EXPECT_EQ(reports_of("guard=1=2"), Lines{"weir: WEIR_CONF: guard=1=2: expected 0 or 1 (off or on)\n"});
  EXPECT_EQ(reports_of("limit=512"),
            Lines{"weir: WEIR_CONF: limit=512: expected a size 1M..16T (bytes, or with K, M, G, "
                  "T), 0 (none) or cgroup\n"});
  EXPECT_EQ(reports_of("entirely_different=1"), Lines{"weir: WEIR_CONF: unknown key 'entirely_different'\n"});
}

TEST(ParseConf, OneLineForEachMistake) {
  EXPECT_EQ(reports_of("x=1,guard=2,y=3,guard=1,z").size(), 4u);
}

TEST(ParseConf, AbortConfCountsWhereverItStands) {
  for (const char* conf : {"abort_conf=1,x=1", "x=1,abort_conf=1"}) {
    Options options;
    EXPECT_EQ(reports_of(conf, options).size(), 1u);
    EXPECT_TRUE(options.abort_conf);
  }
}

TEST(ParseConf, ReportsAreOneShortPrintableLine) {
  const std::string noise("\x01\n\xff\x1b[2J", 8);
  const std::string long_value(100000, 'x'), cut_off("a\0b=1", 5);
  for (const std::string& conf :
       {"guard=" + long_value, long_value + "=1", "guard=" + noise, noise + "=1", noise, cut_off}) {
    for (const std::string& line : reports_of(conf)) {
      EXPECT_LT(line.size(), 256u);
      ASSERT_FALSE(line.empty());
      EXPECT_EQ(line.back(), '\n');
      for (size_t i = 0; i + 1 < line.size(); ++i) EXPECT_TRUE(line[i] >= ' ' && line[i] <= '~') << line;
    }
    EXPECT_FALSE(reports_of(conf).empty());
  }
}

TEST(NearestOption, Slips) {
  const auto nearest = [](std::string_view name) {
    const OptionInfo* option = nearest_option(name);
    return option == nullptr ? std::string_view("") : option->name;
  };
  EXPECT_EQ(nearest("decya_ms"), "decay_ms");
  EXPECT_EQ(nearest("decayms"), "decay_ms");
  EXPECT_EQ(nearest("gaurd"), "guard");
  EXPECT_EQ(nearest("tcache_byte"), "tcache_bytes");
  EXPECT_EQ(nearest("tcachebytes"), "tcache_bytes");
  EXPECT_EQ(nearest("watermark"), "watermark_scale_factor");
  EXPECT_EQ(nearest("min_free_kbyte"), "min_free_kbytes");
  EXPECT_EQ(nearest("tph"), "thp");
  EXPECT_EQ(nearest("NUMA"), "") << "four replacements in four characters are another word";
  EXPECT_EQ(nearest("z"), "");
  EXPECT_EQ(nearest(""), "");
  EXPECT_EQ(nearest(std::string(1000, 'g')), "");
}

TEST(DescriptorSink, WritesTheWholeLineAndKeepsErrno) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Options options;
  errno = 4711;
  EXPECT_EQ(parse_conf("x=1", "weir.conf", options, descriptor_sink(ends[1])), 1u);
  EXPECT_EQ(errno, 4711);
  close(ends[1]);
  char text[200];
  const ssize_t size = read(ends[0], text, sizeof(text));
  close(ends[0]);
  ASSERT_GT(size, 0);
  EXPECT_EQ(std::string(text, static_cast<size_t>(size)), "weir: weir.conf: unknown key 'x'\n");
}

}  // namespace
}  // namespace weir
