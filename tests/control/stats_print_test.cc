// stats_print_test.cc: the statistics as text, of this process's own allocator.
#include "control/stats_print.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "heap/process_heaps.h"
#include "malloc/process.h"
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

// The number at the end of the first line that starts with `name`.
uint64_t value_of(const std::string& text, const std::string& name) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t start = line.find_first_not_of(' ');
    if (start != std::string::npos && line.compare(start, name.size() + 1, name + " ") == 0)
      return std::stoull(line.substr(line.rfind(' ') + 1));
  }
  ADD_FAILURE() << "no line '" << name << "' in\n" << text;
  return 0;
}

// The numbers that follow `key`, up to the first word that is none, in the first line that has both and at least a
// number.
std::vector<uint64_t> numbers_after(const std::string& text, const std::string& key, const std::string& start = "") {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t at = line.find(key);
    if (at == std::string::npos || line.compare(0, start.size(), start) != 0) continue;
    std::istringstream rest(line.substr(at + key.size()));
    std::vector<uint64_t> numbers;
    for (uint64_t n; rest >> n;) numbers.push_back(n);
    if (!numbers.empty()) return numbers;
  }
  return {};
}

class StatsPrint : public testing::Test {
 protected:
  void SetUp() override {
    if (kTsan) GTEST_SKIP() << "a process's own arenas are bare, where the sanitizer has no shadow";
  }
};

TEST_F(StatsPrint, NamesEveryCounterOfTheTable) {
  const std::string text = stats_text();
#define VMSTAT(name, help) value_of(text, #name);
#include "page/vmstat.def"
#undef VMSTAT
  EXPECT_EQ(text.find("weir " WEIR_VERSION ": "), 0u);
  EXPECT_EQ(text.back(), '\n');
}

TEST_F(StatsPrint, AgreesWithTheZone) {
  void* p = process_malloc(10000000);
  const Zone& zone = *process_allocator().pages().zone_of(p);
  // From that node's part of the text on; the parts of others have lines of the same names.
  std::string text = stats_text();
  text.erase(0, text.find("Node " + std::to_string(zone.node().v) + ", zone   Normal\n"));
  const ZoneStats s = process_allocator().pages().zone(zone.node()).stats();
  EXPECT_GE(s.charged.v, 10000000 / kPageSize);
  EXPECT_EQ(value_of(text, "charged"), s.charged.v);
  EXPECT_EQ(value_of(text, "present"), s.accessible.v);
  EXPECT_EQ(value_of(text, "managed"), s.managed.v);
  EXPECT_EQ(value_of(text, "pages free"), s.free.v);
  EXPECT_EQ(value_of(text, "min"), s.watermarks.min.v);
  EXPECT_EQ(value_of(text, "low"), s.watermarks.low.v);
  EXPECT_EQ(value_of(text, "high"), s.watermarks.high.v);
  process_free(p);
}

// Free blocks times their sizes are the free pages; the lines per migratetype add up to the line without one.
TEST_F(StatsPrint, FreeBlocksAddUp) {
  void* p = process_malloc(300000);
  const std::string text = stats_text();
  Allocator& allocator = process_allocator();
  for (unsigned n = 0; n < allocator.nr_nodes(); ++n) {
    const NodeId id(static_cast<uint16_t>(n));
    if (!allocator.has_zone(id)) continue;
    const std::string node = "Node " + std::to_string(n);
    const std::vector<uint64_t> all = numbers_after(text, node + ", zone   Normal ");
    ASSERT_EQ(all.size(), kNrOrders) << text;
    std::vector<uint64_t> by_type(kNrOrders);
    for (const char* type : {"Unmovable", "Movable", "Reclaimable"}) {
      const std::string number = std::to_string(n);
      const std::string aligned = "Node " + std::string(4 - number.size(), ' ') + number;
      const std::vector<uint64_t> row = numbers_after(text, "zone   Normal, type " + std::string(type), aligned);
      ASSERT_GE(row.size(), kNrOrders) << type << " of node " << n << " in\n" << text;
      for (unsigned o = 0; o < kNrOrders; ++o) by_type[o] += row[o];
    }
    EXPECT_EQ(all, by_type) << "node " << n;
    uint64_t pages = 0;
    for (unsigned o = 0; o < kNrOrders; ++o) pages += all[o] << o;
    const ZoneStats s = allocator.pages().zone(id).stats();
    EXPECT_EQ(pages, (s.accessible - s.charged).v) << "node " << n;
  }
  process_free(p);
}

TEST_F(StatsPrint, ShowsTheSlabsInUse) {
  std::vector<void*> objects;
  for (int i = 0; i < 100; ++i) objects.push_back(process_malloc(7000));
  const std::string text = stats_text();
  const size_t at = text.find("malloc-7168 ");
  ASSERT_NE(at, std::string::npos) << text;
  std::istringstream row(text.substr(at));
  std::string name, colon, slabdata;
  uint64_t active, total, size, per_slab, pages, slabs;
  row >> name >> active >> total >> size >> per_slab >> pages >> colon >> slabdata >> slabs;
  EXPECT_GE(active, 100u);
  EXPECT_EQ(size, 7168u);
  EXPECT_EQ(per_slab, pages * kPageSize / 7168);
  EXPECT_EQ(total, slabs * per_slab);
  EXPECT_LE(active, total);
  for (void* p : objects) process_free(p);
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
  // Charged, peak, limit, slabs, large, objects, failures, score, node.
  EXPECT_NE(stats_text().find(
                "tenant 7                         29     29     256       4      25         2       1   -17   0\n"),
            std::string::npos)
      << stats_text();
  Pages released;
  ASSERT_EQ(heaps->destroy_heap(id, released), 0);
  EXPECT_EQ(stats_text().find("tenant 7"), std::string::npos);
}

}  // namespace
}  // namespace weir
