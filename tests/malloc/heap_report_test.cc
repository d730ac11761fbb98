// heap_report_test.cc: the three reports of the heap say the same, and what they say is what was done.
#include "malloc/heap_report.h"

#include <gtest/gtest.h>

#include <cstdlib>
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
  // The numbers of each place that looks like `form`, where # stands for a number and may have blanks before it.
  static std::vector<std::vector<uint64_t>> places(const std::string& text, const std::string& form) {
    std::vector<std::vector<uint64_t>> all;
    const std::string start = form.substr(0, form.find('#'));
    for (size_t at = text.find(start); at != std::string::npos; at = text.find(start, at + 1)) {
      std::vector<uint64_t> found;
      if (matches(text.c_str() + at, form, found)) all.push_back(found);
    }
    return all;
  }
  static bool matches(const char* text, const std::string& form, std::vector<uint64_t>& found) {
    for (const char c : form) {
      if (c != '#') {
        if (*text++ != c) return false;
        continue;
      }
      char* end = nullptr;
      found.push_back(std::strtoull(text, &end, 10));
      if (end == text) return false;
      text = end;
    }
    return true;
  }
  static std::vector<Entry> entries(const std::string& xml) {
    std::vector<Entry> all;
    for (const auto& place : places(xml, R"(<size from="#" to="#" total="#" count="#"/>)")) {
      EXPECT_EQ(place[0], place[1]);
      all.push_back({place[0], place[2], place[3]});
    }
    return all;
  }
  // The last number of each place.
  static std::vector<uint64_t> numbers(const std::string& text, const std::string& form) {
    std::vector<uint64_t> all;
    for (const auto& place : places(text, form)) all.push_back(place.back());
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
  EXPECT_EQ(numbers(xml, R"(<total type="rest" count="#" size="#")"), (Twice{totals.free_bytes, totals.free_bytes}));
  EXPECT_EQ(numbers(xml, R"(<system type="current" size="#")"),
            (Twice{totals.accessible_bytes, totals.accessible_bytes}));
  for (void* p : small) ASSERT_EQ(a_.free(nullptr, p).misuse, Misuse::kNone);
  ASSERT_EQ(a_.free(nullptr, large).misuse, Misuse::kNone);
}

TEST_F(HeapReport, StatsAreTheSameNumbers) {
  void* large = a_.malloc(nullptr, kLarge);
  const HeapTotals totals = heap_totals(*a_);
  const std::string text = text_of(write_heap_stats);
  using Twice = std::vector<uint64_t>;
  EXPECT_EQ(numbers(text, "system bytes     = #\n"), (Twice{totals.accessible_bytes, totals.accessible_bytes}));
  EXPECT_EQ(numbers(text, "in use bytes     = #\n"), (Twice{kLarge, kLarge}));
  ASSERT_EQ(a_.free(nullptr, large).misuse, Misuse::kNone);
}

}  // namespace
}  // namespace weir
