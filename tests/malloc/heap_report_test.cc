// heap_report_test.cc: the three reports of the heap say the same, and what they say is what was done.
#include "malloc/heap_report.h"

#include <gtest/gtest.h>

#include <regex>
#include <string>
#include <vector>

#include "malloc/size_class.h"
#include "support/private_allocator.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{256} << 20;
constexpr size_t kLarge = size_t{3} << 20;

void append(void* context, std::string_view text) {
  static_cast<std::string*>(context)->append(text);
}

// A free chunk of malloc_info: its size, how many there are, and what they are said to be together.
struct Entry {
  uint64_t size, total, count;
};

class HeapReport : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(a_.start(kCapacity)); }
  std::string text_of(void (*write)(Allocator&, TextSink)) {
    std::string text;
    write(*a_, {append, &text});
    return text;
  }
  static std::vector<Entry> entries(const std::string& xml) {
    const std::regex one(R"rx(<size from="(\d+)" to="(\d+)" total="(\d+)" count="(\d+)"/>)rx");
    std::vector<Entry> all;
    for (std::sregex_iterator at(xml.begin(), xml.end(), one), end; at != end; ++at) {
      EXPECT_EQ((*at)[1], (*at)[2]);
      all.push_back({std::stoull((*at)[1]), std::stoull((*at)[3]), std::stoull((*at)[4])});
    }
    return all;
  }
  // The numbers of all places that look so.
  static std::vector<uint64_t> numbers(const std::string& text, const std::string& pattern) {
    const std::regex one(pattern);
    std::vector<uint64_t> all;
    for (std::sregex_iterator at(text.begin(), text.end(), one), end; at != end; ++at)
      all.push_back(std::stoull((*at)[1]));
    return all;
  }
  PrivateAllocator a_;
};

TEST_F(HeapReport, CountsWhatIsGivenOutToTheByte) {
  const HeapTotals before = heap_totals(*a_);
  EXPECT_EQ(before.in_use_bytes(), 0u);
  void* large = a_.malloc(nullptr, kLarge);
  EXPECT_EQ(heap_totals(*a_).in_use_bytes(), kLarge);
  std::vector<void*> small;
  for (int i = 0; i < 1000; ++i) small.push_back(a_.malloc(nullptr, 500));
  const size_t object = kSizeClasses[class_of_size(500)].size;
  const size_t in_use = heap_totals(*a_).in_use_bytes() - kLarge;
  // What a slab cannot use for objects is in use, too: at most an eighth, and a part of a page.
  EXPECT_GE(in_use, 1000 * object);
  EXPECT_LE(in_use, 1000 * object * 8 / 7 + kPageSize);
  for (void* p : small) ASSERT_EQ(a_.free(nullptr, p).misuse, Misuse::kNone);
  ASSERT_EQ(a_.free(nullptr, large).misuse, Misuse::kNone);
  a_.trim(nullptr);
  EXPECT_EQ(heap_totals(*a_).in_use_bytes(), 0u);
  EXPECT_EQ(heap_totals(*a_).free_resident_bytes, 0u);
}

TEST_F(HeapReport, EverySizeIsNamedAndAddsUp) {
  void* large = a_.malloc(nullptr, kLarge);
  std::vector<void*> small;
  for (size_t size = 16; size <= kMaxSmallSize; size += 100) small.push_back(a_.malloc(nullptr, size));
  const HeapTotals totals = heap_totals(*a_);
  const std::string xml = text_of(write_heap_info);
  const size_t object = kSizeClasses[class_of_size(516)].size;
  uint64_t bytes = 0, count = 0, of_one_class = 0;
  for (const Entry& each : entries(xml)) {
    EXPECT_EQ(each.total, each.size * each.count);
    EXPECT_GT(each.count, 0u);
    bytes += each.total;
    count += each.count;
    of_one_class += each.size == object ? each.count : 0;
  }
  EXPECT_GT(of_one_class, 0u) << "a slab of which one object is used is not named in\n" << xml;
  EXPECT_EQ(bytes, totals.free_bytes);
  EXPECT_EQ(count, totals.free_chunks);
  // Once for the node, once for all.
  using Twice = std::vector<uint64_t>;
  EXPECT_EQ(numbers(xml, R"rx(<total type="rest" count="\d+" size="(\d+)")rx"),
            (Twice{totals.free_bytes, totals.free_bytes}));
  EXPECT_EQ(numbers(xml, R"rx(<system type="current" size="(\d+)")rx"),
            (Twice{totals.accessible_bytes, totals.accessible_bytes}));
  for (void* p : small) ASSERT_EQ(a_.free(nullptr, p).misuse, Misuse::kNone);
  ASSERT_EQ(a_.free(nullptr, large).misuse, Misuse::kNone);
}

TEST_F(HeapReport, StatsAreTheSameNumbers) {
  void* large = a_.malloc(nullptr, kLarge);
  const HeapTotals totals = heap_totals(*a_);
  const std::string text = text_of(write_heap_stats);
  using Twice = std::vector<uint64_t>;
  EXPECT_EQ(numbers(text, "system bytes     = +(\\d+)\n"), (Twice{totals.accessible_bytes, totals.accessible_bytes}));
  EXPECT_EQ(numbers(text, "in use bytes     = +(\\d+)\n"), (Twice{kLarge, kLarge}));
  ASSERT_EQ(a_.free(nullptr, large).misuse, Misuse::kNone);
}

}  // namespace
}  // namespace weir
