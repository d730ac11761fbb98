// options_test.cc: the table, its defaults, setting and showing each option by name.
#include "config/options.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace weir {
namespace {

std::string shown(const Options& options, OptionId id) {
  Line line;
  format_option(line, options, id);
  return std::string(line.view());
}

std::string accepted(std::string_view name) {
  Line line;
  format_accepted(line, *find_option(name));
  return std::string(line.view());
}

TEST(Options, Defaults) {
  const Options options;
  EXPECT_EQ(options.decay_ms, 10000);
  EXPECT_EQ(options.min_free_kbytes, 0);
  EXPECT_EQ(options.watermark_scale_factor, 10);
  EXPECT_EQ(options.thp, Thp::kDense);
  EXPECT_FALSE(options.zero_on_free);
  EXPECT_FALSE(options.guard);
  EXPECT_TRUE(options.tcache);
  EXPECT_EQ(options.tcache_bytes, 65536u);
  EXPECT_TRUE(options.background_thread);
  EXPECT_TRUE(options.numa);
  EXPECT_EQ(options.arena_size, uint64_t{1} << 40);
  EXPECT_EQ(options.limit, 0u) << "a plain preload has no limit";
  EXPECT_EQ(options.rss_limit, 0u);
  EXPECT_TRUE(options.kswapd);
  EXPECT_EQ(options.swappiness, 60);
  EXPECT_EQ(options.standby_percent, 10);
  EXPECT_EQ(options.handlers, 0);
  EXPECT_TRUE(options.zswap);
  EXPECT_EQ(options.zswap_max, 0u);
  EXPECT_EQ(options.zswap_compressor, ZswapCompressor::kLz4);
  EXPECT_EQ(options.oom, OomPolicy::kFail);
  EXPECT_TRUE(options.swap.empty());
  EXPECT_EQ(options.swap_size, 0u);
  EXPECT_FALSE(options.swap_encrypt);
  EXPECT_TRUE(options.uffd_move);
  EXPECT_TRUE(options.drop_in_place);
  EXPECT_EQ(options.page_cluster, 3);
  EXPECT_TRUE(options.swap_fault.empty());
  EXPECT_FALSE(options.summary);
  EXPECT_FALSE(options.stats_at_exit);
  EXPECT_FALSE(options.abort_conf);
}

TEST(Options, TableIsInOrderOfIdsAndNamesAreUnique) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kNrOptions; ++i) {
    EXPECT_EQ(static_cast<size_t>(kOptionTable[i].id), i);
    EXPECT_TRUE(names.insert(kOptionTable[i].name).second) << kOptionTable[i].name;
    EXPECT_EQ(find_option(kOptionTable[i].name), &kOptionTable[i]);
    EXPECT_EQ(option_value(Options(), kOptionTable[i].id), kOptionTable[i].default_value);
  }
  EXPECT_EQ(find_option("decay"), nullptr);
  EXPECT_EQ(find_option(""), nullptr);
  EXPECT_EQ(find_option("DECAY_MS"), nullptr);
}

TEST(Options, BoundsAreAcceptedAndTheirNeighboursAreNot) {
  for (const OptionInfo& option : kOptionTable) {
    SCOPED_TRACE(option.name);
    if (option.kind != OptionKind::kInt && option.kind != OptionKind::kSize && option.kind != OptionKind::kMs &&
        option.kind != OptionKind::kLimit)
      continue;
    Options options;
    for (int64_t good : {option.min, option.max}) {
      EXPECT_EQ(set_option(options, option.name, std::to_string(good)), SetResult::kSet);
      EXPECT_EQ(option_value(options, option.id), good);
    }
    EXPECT_EQ(set_option(options, option.name, std::to_string(option.max + 1)), SetResult::kBadValue);
    const bool never = option.kind == OptionKind::kMs && option.min == 0;
    EXPECT_EQ(set_option(options, option.name, std::to_string(option.min - 1)),
              never ? SetResult::kSet : SetResult::kBadValue);
    EXPECT_EQ(option_value(options, option.id), never ? kNeverMs : option.max);
  }
}

// A text that sets the option to something else than its default.
std::string another_value(const OptionInfo& option) {
  switch (option.kind) {
    case OptionKind::kBool:
      return option.default_value == 0 ? "on" : "off";
    case OptionKind::kThp:
      return "always";
    case OptionKind::kCompressor:
      return "zstd";
    case OptionKind::kOom:
      return "abort";
    case OptionKind::kText:
      return "/somewhere";
    case OptionKind::kLimit:
      return "cgroup";
    default:
      return std::to_string(option.default_value == option.max ? option.min : option.max);
  }
}

TEST(Options, SetChangesOneOption) {
  for (const OptionInfo& changed : kOptionTable) {
    Options options;
    const std::string value = another_value(changed);
    ASSERT_EQ(set_option(options, changed.name, value), SetResult::kSet) << changed.name;
    for (const OptionInfo& option : kOptionTable) {
      EXPECT_EQ(option_value(options, option.id) != option.default_value, option.id == changed.id)
          << changed.name << " changed " << option.name;
    }
  }
}

TEST(Options, RefusedValueChangesNothing) {
  Options options;
  ASSERT_EQ(set_option(options, "decay_ms", "3s"), SetResult::kSet);
  for (const char* value : {"", "x", "-2", "25h", "1.5"})
    EXPECT_EQ(set_option(options, "decay_ms", value), SetResult::kBadValue) << value;
  EXPECT_EQ(options.decay_ms, 3000);
  EXPECT_EQ(set_option(options, "decay", "1"), SetResult::kUnknownName);
}

TEST(Options, NeverIsForDurationsOnly) {
  Options options;
  EXPECT_EQ(set_option(options, "decay_ms", "-1"), SetResult::kSet);
  EXPECT_EQ(options.decay_ms, kNeverMs);
  for (const OptionInfo& option : kOptionTable) {
    if (option.kind == OptionKind::kMs || option.kind == OptionKind::kText || option.min < 0) continue;
    EXPECT_EQ(set_option(options, option.name, "-1"), SetResult::kBadValue) << option.name;
  }
}

TEST(Options, LimitsAreSizesOrNoneOrTheCgroups) {
  Options options;
  for (const char* name : {"limit", "rss_limit"}) {
    const OptionInfo& option = *find_option(name);
    for (const char* good : {"1M", "512M", "1.5G", "16T", "0", "1048576"})
      EXPECT_EQ(set_option(options, name, good), SetResult::kSet) << good;
    // 512 is what a user writes who means 512 MiB.
    for (const char* bad : {"", "512", "1023K", "17T", "-1", "none", "cgroups", "50%"})
      EXPECT_EQ(set_option(options, name, bad), SetResult::kBadValue) << bad;
    EXPECT_EQ(shown(options, option.id), "1M");
    EXPECT_EQ(set_option(options, name, "CGROUP"), SetResult::kSet);
    EXPECT_EQ(shown(options, option.id), "cgroup");
  }
  EXPECT_EQ(options.limit, kCgroupLimit);
  EXPECT_EQ(options.rss_limit, kCgroupLimit);
}

TEST(Options, TextIsKeptAsItIs) {
  Options options;
  const std::string longest(Text::kCapacity - 1, 'd');
  for (const std::string& good : {std::string("/var/tmp"), std::string(" a, \"b\"=\n"), longest}) {
    EXPECT_EQ(set_option(options, "swap", good), SetResult::kSet);
    EXPECT_EQ(options.swap.view(), good);
    EXPECT_EQ(std::string(options.swap.c_str()), good);
    EXPECT_EQ(shown(options, OptionId::swap), good);
  }
  for (const std::string& bad : {std::string(), longest + "d", std::string("a\0b", 3)}) {
    EXPECT_EQ(set_option(options, "swap", bad), SetResult::kBadValue);
    EXPECT_EQ(options.swap.view(), longest) << "unchanged";
  }
  EXPECT_EQ(set_option(options, "swap", "/x"), SetResult::kSet);
  EXPECT_EQ(std::string(options.swap.c_str()), "/x") << "nothing of the longer one is left";
  EXPECT_EQ(option_text(options, OptionId::swap), &options.swap);
  EXPECT_EQ(option_text(options, OptionId::limit), nullptr);
  EXPECT_EQ(set_option(options, "swap", "None"), SetResult::kSet);
  EXPECT_TRUE(options.swap.empty());
  EXPECT_EQ(shown(options, OptionId::swap), "none");
}

TEST(Options, ShownValueParsesBack) {
  Options options;
  ASSERT_EQ(set_option(options, "thp", "ALWAYS"), SetResult::kSet);
  ASSERT_EQ(set_option(options, "tcache_bytes", "1.5M"), SetResult::kSet);
  ASSERT_EQ(set_option(options, "decay_ms", "-1"), SetResult::kSet);
  ASSERT_EQ(set_option(options, "limit", "1.5G"), SetResult::kSet);
  ASSERT_EQ(set_option(options, "rss_limit", "cgroup"), SetResult::kSet);
  ASSERT_EQ(set_option(options, "swap", "/var/tmp"), SetResult::kSet);
  EXPECT_EQ(shown(options, OptionId::thp), "always");
  EXPECT_EQ(shown(options, OptionId::tcache_bytes), "1536K");
  EXPECT_EQ(shown(options, OptionId::decay_ms), "-1");
  EXPECT_EQ(shown(options, OptionId::numa), "1");
  EXPECT_EQ(shown(options, OptionId::arena_size), "1T");
  Options copy;
  for (const OptionInfo& option : kOptionTable) {
    ASSERT_EQ(set_option(copy, option.name, shown(options, option.id)), SetResult::kSet) << option.name;
    EXPECT_EQ(shown(copy, option.id), shown(options, option.id));
    EXPECT_EQ(option_value(copy, option.id), option_value(options, option.id)) << option.name;
  }
}

TEST(Options, AcceptedForms) {
  EXPECT_EQ(accepted("min_free_kbytes"), "a whole number 0..1048576 (KiB)");
  EXPECT_EQ(accepted("guard"), "0 or 1 (off or on)");
  EXPECT_EQ(accepted("thp"), "never|dense|always");
  EXPECT_EQ(accepted("zswap_compressor"), "lz4|zstd");
  EXPECT_EQ(accepted("oom"), "fail|abort|kill");
  EXPECT_EQ(accepted("limit"), "a size 1M..16T (bytes, or with K, M, G, T), 0 (none) or cgroup");
  EXPECT_EQ(accepted("swap"), "the path of a directory, file or block device, at most 511 bytes, or none");
  EXPECT_EQ(accepted("standby_percent"), "a whole number 0..50 (% of what the compressed pool leaves of the limit)");
  EXPECT_EQ(accepted("arena_size"), "a size 64M..16T (bytes, or with K, M, G, T)");
  EXPECT_EQ(accepted("decay_ms"), "a time 0..86400000 (ms, or with s, m, h; -1: never)");
}

TEST(Options, HelpFitsOneLineEach) {
  for (const OptionInfo& option : kOptionTable) {
    Line line;
    format_help(line, option);
    const std::string text(line.view());
    EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
    EXPECT_NE(text.find(option.help), std::string::npos);
    EXPECT_EQ(text.rfind("  " + std::string(option.name) + "=", 0), 0u) << text;
  }
}

}  // namespace
}  // namespace weir
