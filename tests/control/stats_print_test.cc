// stats_print_test.cc: the statistics as text, of this process's own allocator.
#include "control/stats_print.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

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
  const std::string text = stats_text();
  const ZoneStats s = process_allocator().pages().zone(NodeId(0)).stats();
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
  std::istringstream lines(stats_text());
  uint64_t all[kNrOrders] = {}, by_type[kNrOrders] = {}, types = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("Node 0, zone   Normal ", 0) == 0 && line.find_first_of("0123456789", 22) != std::string::npos) {
      std::istringstream numbers(line.substr(22));
      for (uint64_t& n : all) numbers >> n;
    } else if (line.find(", type ") != std::string::npos && line.rfind("Node ", 0) == 0) {
      std::istringstream numbers(line.substr(line.find(", type ") + 7));
      std::string type;
      numbers >> type;
      for (uint64_t& n : by_type) {
        uint64_t count = 0;
        numbers >> count;
        n += count;
      }
      ++types;
    }
  }
  EXPECT_EQ(types, kNrMigrateTypes);
  uint64_t pages = 0;
  for (unsigned o = 0; o < kNrOrders; ++o) {
    EXPECT_EQ(all[o], by_type[o]) << "order " << o;
    pages += all[o] << o;
  }
  const ZoneStats s = process_allocator().pages().zone(NodeId(0)).stats();
  EXPECT_EQ(pages, (s.accessible - s.charged).v);
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

}  // namespace
}  // namespace weir
