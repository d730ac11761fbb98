// sysctl_test.cc: every setting that can be changed while the program runs: its bounds, what is refused and how, and
// what follows from it in an allocator of the test's own, also while threads allocate and kswapd reclaims.
#include "control/sysctl.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "support/page_content.h"
#include "support/squeeze.h"
#include "support/swap_place.h"

namespace weir {
namespace {

constexpr size_t kLimit = size_t{16} << 20;
constexpr size_t kCapacity = size_t{256} << 20;

bool apply(Allocator& allocator, Reclaimer::Budget budget) {
  return allocator.options_changed(budget);
}

// What was returned, and the reason.
struct Outcome {
  int error;
  std::string report;
};

Outcome set(Options& options, Allocator& allocator, std::string_view name, std::string_view value) {
  Line report;
  Sysctl sysctl(options, allocator, apply);
  const int error = sysctl.set(name, value, report);
  return {error, std::string(report.view())};
}

std::string get(Options& options, Allocator& allocator, std::string_view name) {
  Line value, report;
  EXPECT_EQ(Sysctl(options, allocator, apply).get(name, value, report), 0) << report.view();
  return std::string(value.view());
}

class SysctlTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const char* why = a_.start(kLimit, kCapacity)) GTEST_SKIP() << why;
  }
  Outcome set(std::string_view name, std::string_view value) {
    return weir::set(a_.options(), a_.allocator(), name, value);
  }
  std::string get(std::string_view name) { return weir::get(a_.options(), a_.allocator(), name); }
  Watermarks expected_marks(Pages limit) {
    return compute_watermarks(limit, limit, static_cast<uint64_t>(a_.options().min_free_kbytes),
                              static_cast<uint64_t>(a_.options().watermark_scale_factor));
  }
  void expect_marks(Pages limit) {
    const Watermarks now = a_.zone().watermarks(), wanted = expected_marks(limit);
    EXPECT_EQ(now.min, wanted.min);
    EXPECT_EQ(now.low, wanted.low);
    EXPECT_EQ(now.high, wanted.high);
  }

  LimitedAllocator a_;
};

TEST_F(SysctlTest, EveryChangeableOptionHasItsBounds) {
  for (const SysctlInfo& each : kSysctlTable) {
    SCOPED_TRACE(each.name);
    const OptionInfo& option = option_info(each.id);
    if (option.kind == OptionKind::kText) continue;
    const std::string before = get(each.name);
    // Of compressed memory, no more pages than there is address space for.
    const bool is_pool = each.id == OptionId::zswap_max;
    const int64_t max = is_pool ? static_cast<int64_t>(bytes_of(a_.reclaimer().zswap_room())) : option.max;
    const std::string above = std::to_string(max + (is_pool ? int64_t{kPageSize} : 1));
    for (const int64_t good : {option.min, max}) {
      // Of a choice, its name.
      Line name;
      format_number(name, each.id, good);
      const bool is_choice = option.kind == OptionKind::kOom || option.kind == OptionKind::kCompressor;
      const Outcome outcome = set(each.name, is_choice ? std::string(name.view()) : std::to_string(good));
      EXPECT_EQ(outcome.error, 0) << good << ": " << outcome.report;
      EXPECT_EQ(option_value(a_.options(), each.id), good);
    }
    const bool never_is_below = option.kind == OptionKind::kMs;
    const std::string below = std::to_string(option.min - (never_is_below ? 2 : 1));
    for (const std::string& bad : {below, above, std::string("x"), std::string(), std::string("1 2")}) {
      const Outcome outcome = set(option.name, bad);
      EXPECT_EQ(outcome.error, EINVAL) << bad;
      EXPECT_EQ(outcome.report.rfind("expected ", 0), 0u) << outcome.report;
      EXPECT_EQ(option_value(a_.options(), each.id), max) << bad;
    }
    EXPECT_EQ(set(option.name, before).error, 0) << before;
    EXPECT_EQ(get(option.name), before);
  }
  EXPECT_EQ(a_.reclaimer().limit(), Pages(kLimit >> kPageShift));
  expect_marks(Pages(kLimit >> kPageShift));
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_F(SysctlTest, WherePagesAreWrittenTo) {
  const SwapFolder folder, other;
  SwapFiles& files = a_.node().files();
  EXPECT_EQ(get("swap"), "none");
  EXPECT_EQ(set("swap_size", "64M").error, 0) << "for the file to come";
  ASSERT_EQ(set("swap", folder.path()).error, 0);
  EXPECT_EQ(get("swap"), folder.path());
  SwapFile* const first = files.writer();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->capacity(), (size_t{64} << 20) / kPageSize);
  EXPECT_EQ(a_.node().policy().zswap_max, Pages(kLimit / 2 / kPageSize)) << "half of the limit, where there is a file";
  for (const std::string& bad : {std::string(), std::string("relative"), std::string(600, '/')}) {
    const Outcome outcome = set("swap", bad);
    EXPECT_EQ(outcome.error, EINVAL) << bad;
    EXPECT_EQ(outcome.report, "expected the absolute path of a directory, file or block device, or none");
  }
  EXPECT_EQ(set("swap", "/no/such/folder/file").report, "no such file or directory");
  EXPECT_EQ(set("swap_size", "4K").report, "too small, at least 256 KiB and a page are needed");
  EXPECT_EQ(get("swap"), folder.path());
  EXPECT_EQ(get("swap_size"), "64M");
  EXPECT_EQ(files.writer(), first);
  ASSERT_EQ(set("swap", other.path()).error, 0);
  EXPECT_NE(files.writer(), first);
  ASSERT_EQ(set("swap_size", "128M").error, 0);
  EXPECT_EQ(files.writer()->capacity(), (size_t{128} << 20) / kPageSize);
  ASSERT_EQ(set("swap", "none").error, 0);
  EXPECT_EQ(get("swap"), "none");
  EXPECT_EQ(files.writer(), nullptr);
  EXPECT_EQ(a_.node().policy().zswap_max, Pages(kLimit / 8 * 7 / kPageSize));
  EXPECT_STREQ(find_fault(a_), nullptr);
}

// As in the kernel, of the two the one counts that was set last.
TEST_F(SysctlTest, ARatioEndsTheSize) {
  for (const std::string name : {"vm.dirty_", "vm.dirty_background_"}) {
    ASSERT_EQ(set(name + "bytes", "8M").error, 0);
    EXPECT_EQ(get(name + "bytes"), "8M");
    ASSERT_EQ(set(name + "ratio", "5").error, 0);
    EXPECT_EQ(get(name + "bytes"), "0");
    EXPECT_EQ(get(name + "ratio"), "5");
  }
}

TEST_F(SysctlTest, WhatIsFixedIsRefused) {
  unsigned fixed = 0;
  for (const OptionInfo& option : kOptionTable) {
    if (find_sysctl(option.id) != nullptr) continue;
    SCOPED_TRACE(option.name);
    const std::string before = get(option.name);
    const Outcome outcome = set(option.name, option.kind == OptionKind::kText ? "/x" : "1");
    EXPECT_EQ(outcome.error, EPERM);
    EXPECT_NE(outcome.report.find("cannot be changed while the program runs"), std::string::npos) << outcome.report;
    EXPECT_EQ(get(option.name), before);
    ++fixed;
  }
  EXPECT_EQ(fixed + kSysctlTable.size(), kNrOptions);
}

TEST_F(SysctlTest, Compaction) {
  EXPECT_EQ(get("vm.compaction_proactiveness"), "20") << "the kernel's default";
  EXPECT_EQ(get("vm.extfrag_threshold"), "500");
  EXPECT_EQ(set("vm.extfrag_threshold", "1000").error, 0);
  EXPECT_EQ(a_.options().extfrag_threshold, 1000);
  EXPECT_EQ(set("compaction_proactiveness", "0").error, 0);
  EXPECT_EQ(set("vm.compaction_proactiveness", "101").report, "expected a whole number 0..100");
  EXPECT_EQ(set("vm.extfrag_threshold", "-1").report, "expected a whole number 0..1000");
}

TEST_F(SysctlTest, UnknownNamesAndThoseOfThings) {
  EXPECT_EQ(set("limti", "1G").error, ENOENT);
  EXPECT_EQ(set("limti", "1G").report, "unknown key 'limti' (did you mean 'limit'?)");
  EXPECT_EQ(set("vm.limit", "1G").error, ENOENT) << "the kernel has no such name";
  EXPECT_EQ(set("", "1").error, ENOENT);
  Line value, report;
  EXPECT_EQ(Sysctl(a_.options(), a_.allocator(), apply).get("vm.nothing", value, report), ENOENT);
  EXPECT_TRUE(value.view().empty());
}

TEST_F(SysctlTest, WatermarksFollow) {
  const Pages limit(kLimit >> kPageShift);
  ASSERT_EQ(set("vm.min_free_kbytes", "1024").error, 0);
  EXPECT_EQ(a_.zone().watermarks().min, Pages(256));
  expect_marks(limit);
  ASSERT_EQ(set("watermark_scale_factor", "3000").error, 0);
  EXPECT_EQ(a_.zone().watermarks().low, Pages(256 + limit.v * 3 / 10));
  ASSERT_EQ(set("vm.min_free_kbytes", "0").error, 0);
  ASSERT_EQ(set("vm.watermark_scale_factor", "10").error, 0);
  expect_marks(limit);
  ASSERT_EQ(set("limit", "64M").error, 0);
  expect_marks(Pages(16384));
}

TEST_F(SysctlTest, HowIsReclaimedFollows) {
  ASSERT_EQ(set("standby_percent", "33").error, 0);
  ASSERT_EQ(set("vm.page-cluster", "5").error, 0);
  ASSERT_EQ(set("zswap_max", "3M").error, 0);
  EXPECT_EQ(a_.node().policy().codec.load(), Codec::kLz4);
  ASSERT_EQ(set("zswap_compressor", "zstd").error, 0);
  EXPECT_EQ(a_.node().policy().codec.load(), Codec::kZstd);
  EXPECT_EQ(a_.node().policy().standby_percent, 33u);
  EXPECT_EQ(a_.node().policy().most_readahead, 32u);
  EXPECT_EQ(a_.node().policy().zswap_max.load(), Pages(768));
  EXPECT_EQ(a_.node().pool().max_pages(), Pages(768));
  EXPECT_FALSE(a_.reclaimer().reclaims_locally());
  ASSERT_EQ(set("vm.zone_reclaim_mode", "5").error, 0);
  EXPECT_TRUE(a_.reclaimer().reclaims_locally());
  ASSERT_EQ(set("zswap_max", "0").error, 0);
  EXPECT_EQ(a_.node().pool().max_pages(), Pages(kLimit / 8 * 7 >> kPageShift)) << "without a file";
  ASSERT_EQ(set("limit", "32M").error, 0);
  EXPECT_EQ(a_.node().pool().max_pages(), Pages(kLimit / 4 * 7 >> kPageShift)) << "in proportion";
}

TEST_F(SysctlTest, TheHeapShrinksToALowerLimitAndGrowsToAHigherOne) {
  constexpr size_t kBlock = size_t{64} << 10;
  std::vector<char*> blocks;
  const auto fill = [&](size_t bytes) {
    for (size_t done = 0; done < bytes; done += kBlock) {
      char* p = static_cast<char*>(a_->malloc(nullptr, kBlock));
      ASSERT_NE(p, nullptr);
      write_content(p, kBlock, content_seed(blocks.size(), Content::kCompressible));
      blocks.push_back(p);
    }
  };
  ASSERT_EQ(set("limit", "64M").error, 0);
  fill(size_t{48} << 20);
  EXPECT_EQ(a_.reclaimer().stats().pgsteal_kswapd, 0u) << "it fits";
  // Of what compresses by half, two thirds fit.
  ASSERT_EQ(set("limit", "34M").error, 0);
  EXPECT_EQ(a_.reclaimer().limit(), Pages(8704));
  EXPECT_TRUE(wait_until([&] { return a_.zone().total() <= Pages(8704); })) << "by kswapd alone";
  EXPECT_STREQ(find_fault(a_), nullptr);
  for (size_t i = 0; i < blocks.size(); ++i)
    ASSERT_TRUE(check_content_at(blocks[i], 0, kBlock, content_seed(i, Content::kCompressible))) << i;
  ASSERT_EQ(set("limit", "128M").error, 0);
  for (size_t i = 0; i < blocks.size(); ++i)
    ASSERT_TRUE(check_content_at(blocks[i], 0, kBlock, content_seed(i, Content::kCompressible))) << i;
  const uint64_t before = settled_stats(a_).zswpout;
  fill(size_t{48} << 20);
  EXPECT_EQ(settled_stats(a_).zswpout, before) << "there is room";
  for (char* p : blocks) ASSERT_EQ(a_->free(nullptr, p).misuse, Misuse::kNone);
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST_F(SysctlTest, OneOfTwoLimitsMayGo) {
  EXPECT_EQ(set("limit", "0").error, EINVAL);
  EXPECT_NE(set("limit", "0").report.find("a limit cannot be taken away while the program runs"), std::string::npos);
  EXPECT_EQ(get("limit"), "16M");
  ASSERT_EQ(set("rss_limit", "8M").error, 0);
  EXPECT_EQ(a_.reclaimer().limit(), Pages(2048)) << "the lower one";
  EXPECT_EQ(set("limit", "0").error, 0);
  EXPECT_EQ(set("rss_limit", "0").error, EINVAL);
  ASSERT_EQ(set("limit", "12M").error, 0);
  ASSERT_EQ(set("rss_limit", "0").error, 0);
  EXPECT_EQ(a_.reclaimer().limit(), Pages(3072));
  EXPECT_EQ(a_.zone().managed(), Pages(3072)) << "whatever the rest of the process holds";
}

TEST_F(SysctlTest, ChangesWhileThreadsAllocate) {
  std::atomic<bool> stop{false};
  const auto work = [&](uint64_t seed) {
    std::vector<char*> kept(64);
    for (uint64_t step = seed; !stop.load(std::memory_order_relaxed); ++step) {
      char*& p = kept[step % kept.size()];
      if (p != nullptr && a_->free(nullptr, p).misuse != Misuse::kNone) abort();
      p = static_cast<char*>(a_->malloc(nullptr, 8000 + step % 7 * 30000));
      if (p != nullptr) p[step % 8000] = 1;
    }
    for (char* p : kept)
      if (p != nullptr && a_->free(nullptr, p).misuse != Misuse::kNone) abort();
  };
  std::thread one(work, 1), two(work, 2);
  for (int round = 0; round < 40; ++round) {
    EXPECT_EQ(set("limit", round % 2 == 0 ? "6M" : "20M").error, 0);
    EXPECT_EQ(set("vm.min_free_kbytes", round % 3 == 0 ? "512" : "0").error, 0);
    EXPECT_EQ(set("standby_percent", std::to_string(round)).error, 0);
    EXPECT_EQ(set("vm.page-cluster", std::to_string(round % 7)).error, 0);
    EXPECT_EQ(set("kswapd", round % 4 == 0 ? "0" : "1").error, 0);
    EXPECT_EQ(set("zswap_max", std::to_string((round % 5 + 1) << 20)).error, 0);
  }
  stop = true;
  one.join();
  two.join();
  EXPECT_STREQ(find_fault(a_), nullptr);
}

TEST(SysctlWithoutLimit, SaysWhereALimitBegins) {
  PrivateAllocator a;
  ASSERT_TRUE(a.start(kCapacity));
  for (const SysctlInfo& each : kSysctlTable) {
    SCOPED_TRACE(each.name);
    const OptionInfo& option = option_info(each.id);
    const Outcome outcome = set(a.options(), *a, each.name, std::to_string(option.max));
    EXPECT_EQ(outcome.error, each.needs == Needs::kNothing ? 0 : ENXIO);
    if (outcome.error == 0) continue;
    EXPECT_NE(outcome.report.find("start it under weir run --limit"), std::string::npos) << outcome.report;
    EXPECT_EQ(option_value(a.options(), each.id), option.default_value);
  }
  Zone& zone = a->pages().zone(NodeId(0));
  ASSERT_EQ(set(a.options(), *a, "min_free_kbytes", "4096").error, 0);
  EXPECT_EQ(zone.watermarks().min, Pages(1024));
}

TEST(SysctlOfACgroup, WithoutALimitThereIsNothingToTake) {
  LimitedAllocator a;
  if (const char* why = a.start(kLimit, kCapacity)) GTEST_SKIP() << why;
  const Outcome outcome = set(a.options(), a.allocator(), "limit", "cgroup");
  if (outcome.error == 0) GTEST_SKIP() << "the tests run in a cgroup with a limit";
  EXPECT_EQ(outcome.error, EINVAL);
  EXPECT_EQ(a.options().limit, kLimit) << "it stays as it was";
  EXPECT_EQ(a.reclaimer().limit(), Pages(kLimit >> kPageShift));
}

}  // namespace
}  // namespace weir
