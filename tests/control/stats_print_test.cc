// stats_print_test.cc: the statistics as text, of this process's own allocator.
#include "control/stats_print.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "heap/process_heaps.h"
#include "malloc/process.h"
#include "os/proc.h"
#include "support/sanitizer.h"

namespace weir {
namespace {

std::string stats_text() {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  std::string text;
  std::thread reader([&] {
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;) text.append(buffer, static_cast<size_t>(n));
  });
  print_stats(ends[1]);
  close(ends[1]);
  reader.join();
  close(ends[0]);
  return text;
}

// The words of the first line that begins with these, after them; sizes are MiB.
std::vector<std::string> words_after(const std::string& text, const std::vector<std::string>& first) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream row(line);
    std::vector<std::string> words;
    for (std::string word; row >> word;) words.push_back(word);
    if (words.size() > first.size() && std::equal(first.begin(), first.end(), words.begin()))
      return {words.begin() + static_cast<std::ptrdiff_t>(first.size()), words.end()};
  }
  return {};
}

double number_after(const std::string& text, const std::vector<std::string>& first) {
  const auto words = words_after(text, first);
  if (words.empty()) ADD_FAILURE() << "no line '" << first[0] << "...' in\n" << text;
  return words.empty() ? -1 : std::stod(words[0]);
}

double mib(Pages pages) {
  return static_cast<double>(pages.v) / 256;
}

class StatsPrint : public testing::Test {
 protected:
  void SetUp() override {
    if (kTsan) GTEST_SKIP() << "a process's own arenas are bare, where the sanitizer has no shadow";
  }
};

// Each with what it means; those that are 0 are left out.
TEST_F(StatsPrint, ShowsTheCounters) {
  void* p = process_malloc(10000000);
  const std::string text = stats_text();
  EXPECT_EQ(text.find("weir " WEIR_VERSION ": memory of process " + std::to_string(getpid())), 0u);
  EXPECT_NEAR(
      number_after(text, {"weir", WEIR_VERSION ":", "memory", "of", "process", std::to_string(getpid()), "after"}),
      static_cast<double>(os::now_ns() - process_stats()->start_ns) / 1e9, 60)
      << "since the program started";
  EXPECT_EQ(text.back(), '\n');
  const ZoneStats s = process_allocator().pages().zone_of(p)->stats();
  const std::string part = text.substr(text.find("counters of node " + std::to_string(s.node.v) + "\n"));
  const std::pair<std::string, uint64_t> counters[] = {
#define VMSTAT(name, help) {#name, s.name},
#include "page/vmstat.def"
#undef VMSTAT
  };
  unsigned shown = 0;
  for (const auto& [name, value] : counters) {
    shown += value != 0;
    const auto words = words_after(part, {name});
    if (value == 0)
      EXPECT_TRUE(words.empty()) << name;
    else
      EXPECT_EQ(number_after(part, {name}), static_cast<double>(value)) << name;
  }
  EXPECT_GE(shown, 3u);
  process_free(p);
}

TEST_F(StatsPrint, AgreesWithTheZone) {
  void* p = process_malloc(10000000);
  const std::string text = stats_text();
  const Zone& zone = *process_allocator().pages().zone_of(p);
  const ZoneStats s = process_allocator().pages().zone(zone.node()).stats();
  EXPECT_GE(s.charged.v, 10000000 / kPageSize);
  const std::string table = text.substr(text.find("\nnode     managed"));
  const auto row = words_after(table, {std::to_string(zone.node().v)});
  ASSERT_EQ(row.size(), 6u) << table;
  const Pages expected[] = {s.managed, s.charged, s.free, s.watermarks.min, s.watermarks.low, s.watermarks.high};
  for (size_t i = 0; i < row.size(); ++i) EXPECT_NEAR(std::stod(row[i]), mib(expected[i]), 0.001) << i;
  if (process_allocator().nr_nodes() == 1) {
    EXPECT_NEAR(number_after(text, {"given", "out"}), mib(s.charged), 0.001);
    EXPECT_NEAR(number_after(text, {"free"}), mib(s.free_resident), 0.001);
    EXPECT_GT(number_after(text, {"bookkeeping"}), 0);
  }
  process_free(p);
}

// Free blocks times their sizes are the free pages.
TEST_F(StatsPrint, FreeBlocksAddUp) {
  void* p = process_malloc(300000);
  const std::string text = stats_text();
  Allocator& allocator = process_allocator();
  for (unsigned n = 0; n < allocator.nr_nodes(); ++n) {
    const NodeId id(static_cast<uint16_t>(n));
    if (!allocator.has_zone(id)) continue;
    uint64_t pages = 0;
    for (const char* type : {"unmovable", "movable", "reclaimable"}) {
      const auto row = words_after(text, {"node", std::to_string(n), type});
      if (row.empty()) continue;
      ASSERT_EQ(row.size(), kNrOrders) << type << " of node " << n << " in\n" << text;
      for (unsigned o = 0; o < kNrOrders; ++o) pages += std::stoull(row[o]) << o;
    }
    const ZoneStats s = allocator.pages().zone(id).stats();
    EXPECT_EQ(pages, (s.accessible - s.charged).v) << "node " << n;
  }
  process_free(p);
}

TEST_F(StatsPrint, ShowsTheSlabsInUse) {
  std::vector<void*> objects;
  for (int i = 0; i < 100; ++i) objects.push_back(process_malloc(7000));
  const std::string text = stats_text();
  const auto row = words_after(text.substr(text.find("\nsize class")), {"7168"});
  ASSERT_EQ(row.size(), 5u) << text;
  const uint64_t used = std::stoull(row[0]), free = std::stoull(row[1]), slabs = std::stoull(row[3]);
  EXPECT_GE(used, 100u);
  EXPECT_EQ(row[2], std::to_string(used * 100 / (used + free)) + "%");
  EXPECT_NEAR(std::stod(row[4]), static_cast<double>(slabs) * kSizeClasses[class_of_size(7168)].slab_units / 64, 0.001);
  const SizeClass& info = kSizeClasses[class_of_size(7168)];
  EXPECT_EQ(used + free, slabs * info.objects);
  for (void* p : objects) process_free(p);
}

// What is no slab of a size class is larger.
TEST_F(StatsPrint, ShowsLargerObjects) {
  const std::vector<std::string> kRow = {"larger", "objects,", "and", "slabs", "of", "heaps"};
  const double before = number_after(stats_text(), kRow);
  void* p = process_malloc(size_t{64} << 20);
  EXPECT_NEAR(number_after(stats_text(), kRow) - before, 64, 1);
  process_free(p);
}

TEST_F(StatsPrint, ShowsTheHeaps) {
  HeapRegistry* heaps = process_make_heaps();
  ASSERT_NE(heaps, nullptr);
  HeapSettings settings;
  settings.limit = 1 << 20;
  settings.oom_score_adj = -17;
  HeapId id;
  ASSERT_EQ(heaps->create("tenant 7", settings, id), 0);
  HeapCall call;
  ASSERT_NE(heaps->alloc(id, 100, kMinAlignment, false, call), nullptr);
  ASSERT_NE(heaps->alloc(id, 100000, kMinAlignment, false, call), nullptr);
  EXPECT_EQ(heaps->alloc(id, 2000000, kMinAlignment, false, call), nullptr);
  EXPECT_NE(stats_text().find("       0.113       0.113       1.000          2        1   -17    0 tenant 7\n"),
            std::string::npos)
      << stats_text();
  Pages released;
  ASSERT_EQ(heaps->destroy_heap(id, released), 0);
  EXPECT_EQ(stats_text().find("tenant 7"), std::string::npos);
}

}  // namespace
}  // namespace weir
