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
    if (option.kind != OptionKind::kInt && option.kind != OptionKind::kSize && option.kind != OptionKind::kMs) continue;
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

TEST(Options, SetChangesOneOption) {
  for (const OptionInfo& changed : kOptionTable) {
    Options options;
    const char* value = changed.kind == OptionKind::kThp    ? "always"
                        : changed.kind == OptionKind::kBool ? (changed.default_value == 0 ? "on" : "off")
                        : changed.kind == OptionKind::kSize ? "65M"
                                                            : "77";
    if (changed.name == "tcache_bytes") value = "1.5M";
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
    if (option.kind == OptionKind::kMs) continue;
    EXPECT_EQ(set_option(options, option.name, "-1"), SetResult::kBadValue) << option.name;
  }
}

TEST(Options, ShownValueParsesBack) {
  Options options;
  ASSERT_EQ(set_option(options, "thp", "ALWAYS"), SetResult::kSet);
  ASSERT_EQ(set_option(options, "tcache_bytes", "1.5M"), SetResult::kSet);
  ASSERT_EQ(set_option(options, "decay_ms", "-1"), SetResult::kSet);
  EXPECT_EQ(shown(options, OptionId::thp), "always");
  EXPECT_EQ(shown(options, OptionId::tcache_bytes), "1536K");
  EXPECT_EQ(shown(options, OptionId::decay_ms), "-1");
  EXPECT_EQ(shown(options, OptionId::numa), "1");
  EXPECT_EQ(shown(options, OptionId::arena_size), "1T");
  Options copy;
  for (const OptionInfo& option : kOptionTable) {
    ASSERT_EQ(set_option(copy, option.name, shown(options, option.id)), SetResult::kSet) << option.name;
    EXPECT_EQ(option_value(copy, option.id), option_value(options, option.id)) << option.name;
  }
}

TEST(Options, AcceptedForms) {
  EXPECT_EQ(accepted("min_free_kbytes"), "a whole number 0..1048576 (KiB)");
  EXPECT_EQ(accepted("guard"), "0 or 1 (off or on)");
  EXPECT_EQ(accepted("thp"), "never|dense|always");
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
