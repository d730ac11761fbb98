// options_api_test.cc: the C functions that launchers use: checks, values, help, and trying a swap file.
#include "weir/options.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "config/options.h"

namespace weir {
namespace {

namespace fs = std::filesystem;

// "" when the option takes the value.
std::string check(const char* name, const char* value) {
  char report[WEIR_OPTION_TEXT] = "untouched";
  if (weir_option_check(name, value, report, sizeof(report)) != 1) return report;
  EXPECT_STREQ(report, "untouched");
  return "";
}

TEST(OptionsApi, ChecksOneOption) {
  EXPECT_EQ(check("limit", "512M"), "");
  EXPECT_EQ(check("swap", "/a,b"), "");
  EXPECT_EQ(check("limit", "12Q"), "expected a size 1M..16T (bytes, or with K, M, G, T), 0 (none) or cgroup");
  EXPECT_EQ(check("guard", ""), "expected 0 or 1 (off or on)");
  EXPECT_EQ(check("gaurd", "1"), "unknown key 'gaurd' (did you mean 'guard'?)");
  EXPECT_EQ(check("", "1"), "unknown key ''");
}

TEST(OptionsApi, ChecksAList) {
  char report[WEIR_OPTION_TEXT] = "untouched";
  EXPECT_EQ(weir_options_check("limit=1G,swap=\"/a,b\"", "here", report, sizeof(report)), 0u);
  EXPECT_STREQ(report, "untouched");
  EXPECT_EQ(weir_options_check("guard=2,x=1", "here", report, sizeof(report)), 2u);
  EXPECT_STREQ(report, "weir: here: guard=2: expected 0 or 1 (off or on)") << "the first, without a newline";
}

std::string value(const char* conf, const char* name) {
  char text[WEIR_OPTION_TEXT];
  return weir_option_value(conf, name, text, sizeof(text)) != 0 ? text : "no such option";
}

TEST(OptionsApi, ValueAfterAList) {
  EXPECT_EQ(value("", "limit"), "0");
  EXPECT_EQ(value("limit=512M,limit=1024M", "limit"), "1G");
  EXPECT_EQ(value("limit=cgroup,limit=junk", "limit"), "cgroup");
  EXPECT_EQ(value("swap=\"/a, b\"", "swap"), "/a, b");
  EXPECT_EQ(value("", "swap"), "none");
  EXPECT_EQ(value("", "nonsense"), "no such option");
}

TEST(OptionsApi, DescribesEveryOption) {
  weir_option_info info;
  for (size_t i = 0; i < kNrOptions; ++i) {
    ASSERT_EQ(weir_option_describe(i, &info, sizeof(info)), 1);
    EXPECT_EQ(info.name, kOptionTable[i].name);
    EXPECT_EQ(info.help, kOptionTable[i].help);
    EXPECT_EQ(check(info.name, info.default_value), "") << info.name;
    EXPECT_EQ(value("", info.name), info.default_value);
    EXPECT_NE(info.accepted[0], 0) << info.name;
    EXPECT_EQ(info.is_path, info.name == std::string("swap") ? 1 : 0) << info.name;
    std::istringstream words(info.words);
    for (std::string word; words >> word;) EXPECT_EQ(check(info.name, word.c_str()), "") << info.name;
  }
  EXPECT_EQ(weir_option_describe(kNrOptions, &info, sizeof(info)), 0);
  ASSERT_EQ(weir_option_describe(static_cast<size_t>(OptionId::zswap_compressor), &info, sizeof(info)), 1);
  EXPECT_STREQ(info.words, "lz4 zstd");
}

TEST(OptionsApi, WhatCanBeChangedHasAName) {
  weir_option_info info;
  size_t changeable = 0;
  for (size_t i = 0; weir_option_describe(i, &info, sizeof(info)) == 1; ++i) {
    EXPECT_EQ(info.changeable != 0, info.sysctl[0] != '\0') << info.name;
    changeable += info.changeable != 0 ? 1 : 0;
    if (info.name == std::string("page_cluster")) {
      EXPECT_STREQ(info.sysctl, "vm.page-cluster");
    } else if (info.name == std::string("tcache")) {
      EXPECT_EQ(info.changeable, 0);
    }
  }
  EXPECT_EQ(changeable, 27u);
}

TEST(OptionsApi, FormatsNumbersOfThePage) {
  char text[WEIR_OPTION_TEXT];
  const auto format = [&](const char* name, int64_t number) {
    return weir_option_format(name, number, text, sizeof(text)) == 1 ? std::string(text) : "no such option";
  };
  EXPECT_EQ(format("limit", 64 << 20), "64M");
  EXPECT_EQ(format("limit", -1), "cgroup");
  EXPECT_EQ(format("thp", 1), "dense");
  EXPECT_EQ(format("thp", 77), "77") << "a page may have been damaged";
  EXPECT_EQ(format("thp", -77), "-77");
  EXPECT_EQ(format("swap", 0), "none");
  EXPECT_EQ(format("swap", 10), "(text)");
  EXPECT_EQ(format("nothing", 1), "no such option");
}

TEST(OptionsApi, DescribesToCallersThatKnowLess) {
  char name[sizeof(weir_option_info::name) + 1];
  name[sizeof(name) - 1] = 'x';
  ASSERT_EQ(weir_option_describe(0, reinterpret_cast<weir_option_info*>(name), sizeof(name) - 1), 1);
  EXPECT_EQ(name, kOptionTable[0].name);
  EXPECT_EQ(name[sizeof(name) - 1], 'x');
}

TEST(OptionsApi, HelpHasEveryOption) {
  char line[WEIR_OPTION_TEXT];
  for (size_t i = 0; i < kNrOptions; ++i) {
    ASSERT_EQ(weir_option_help(i, line, sizeof(line)), 1);
    const std::string text(line);
    EXPECT_EQ(text.rfind("  " + std::string(kOptionTable[i].name) + "=", 0), 0u) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos);
    EXPECT_LT(text.size() + 1, sizeof(line)) << "cut";
  }
  EXPECT_EQ(weir_option_help(kNrOptions, line, sizeof(line)), 0);
}

TEST(OptionsApi, ShortBuffersAreKept) {
  char small[9] = "********";
  EXPECT_EQ(weir_option_check("guard", "2", small, 5), 0);
  EXPECT_STREQ(small, "expe");
  EXPECT_EQ(small[5], '*');
  EXPECT_EQ(weir_option_check("guard", "2", small, 0), 0);
  EXPECT_STREQ(small, "expe");
  EXPECT_EQ(weir_option_value("limit=512M", "limit", small, 1), 1);
  EXPECT_STREQ(small, "");
}

class SwapCheck : public testing::Test {
 protected:
  SwapCheck() {
    std::string name = (fs::temp_directory_path() / "weir-swap-check-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) abort();
    folder_ = name;
  }
  ~SwapCheck() override { fs::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  static std::string check(const std::string& conf) {
    char report[WEIR_OPTION_TEXT] = "untouched";
    return weir_swap_check(conf.c_str(), report, sizeof(report)) == 1 ? "" : report;
  }

 private:
  fs::path folder_;
};

TEST_F(SwapCheck, WhatCanBeUsed) {
  EXPECT_EQ(check(""), "");
  EXPECT_EQ(check("swap=none"), "");
  EXPECT_EQ(check("swap=" + path("")), "");
  EXPECT_EQ(check("swap_size=64M,swap=" + path("")), "");
  EXPECT_EQ(check("swap=" + path("new")), "");
  EXPECT_EQ(entries(), 0u) << "nothing stays behind";
  std::ofstream(path("empty"));
  EXPECT_EQ(check("swap=" + path("empty")), "");
  EXPECT_EQ(fs::file_size(path("empty")), 0u);
}

TEST_F(SwapCheck, WhatCannot) {
  const std::string expected = "; expected the path of a directory, file or block device, at most 511 bytes, or none";
  EXPECT_EQ(check("swap=" + path("no/such")), "no such file or directory" + expected);
  EXPECT_EQ(check("swap_size=4K,swap=" + path("")), "too small, at least 256 KiB and a page are needed");
  EXPECT_NE(check("swap=/dev/null"), "");
  const std::string text(1 << 20, 'd');
  std::ofstream(path("data")) << text;
  EXPECT_NE(check("swap=" + path("data")).find("holds data"), std::string::npos);
  std::string kept(text.size() + 1, '\0');
  std::ifstream file(path("data"));
  file.read(kept.data(), static_cast<std::streamsize>(kept.size()));
  kept.resize(static_cast<size_t>(file.gcount()));
  EXPECT_TRUE(kept == text) << "a file with data was changed";
}

TEST_F(SwapCheck, FaultsThatAreNotUnderstood) {
  EXPECT_EQ(check("swap_fault=\"write:ENOSPC:after=100,read:EIO\""), "");
  const std::string report = check("swap_fault=write:sometimes");
  EXPECT_EQ(report.rfind("swap_fault: '", 0), 0u) << report;
  EXPECT_NE(report.find("expected "), std::string::npos) << report;
}

}  // namespace
}  // namespace weir
