// badness_test.cc: the points against a table reckoned by hand, and against the formula in 128 bits.
#include "oom/badness.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/random.h"

namespace weir {
namespace {

// The formula as it is written down, where nothing can overflow.
__int128 model(uint64_t pages, uint64_t swapped, int adj, uint64_t total) {
  const __int128 exact = static_cast<__int128>(pages) + swapped + static_cast<__int128>(adj) * (total / 1000);
  const __int128 least = static_cast<__int128>(INT64_MIN) + 1, most = INT64_MAX;
  return std::clamp(exact, least, most);
}

TEST(OomBadness, Table) {
  const struct {
    uint64_t pages, swapped;
    int adj;
    uint64_t total;
    int64_t points;
  } rows[] = {
      {0, 0, 0, 0, 0},
      {100, 23, 0, 1000000, 123},
      {100, 23, 1000, 1000000, 1000123},
      {100, 23, 1, 1000000, 1123},
      {100, 23, -1, 1000000, -877},
      {2000, 0, -1, 1000000, 1000},
      {0, 0, -999, 1000000, -999000},
      // The division comes first.
      {5, 0, 1000, 999, 5},
      {5, 0, 1000, 1999, 1005},
      {5, 0, -500, 2999, -995},
      // Exempt, whatever it holds.
      {1 << 30, 1 << 30, -1000, 1000000, kOomNever},
      // Out of range.
      {7, 0, -5000, 1000, kOomNever},
      {7, 0, INT32_MIN, 1000, kOomNever},
      {7, 0, 5000, 1000000, 1000007},
      {7, 0, INT32_MAX, 1000000, 1000007},
      // Where the kernel's sum would wrap around.
      {UINT64_MAX, UINT64_MAX, 1000, UINT64_MAX, INT64_MAX},
      {UINT64_MAX, 0, 0, 0, INT64_MAX},
      {uint64_t{1} << 63, 0, 0, 0, INT64_MAX},
      {0, 0, -999, UINT64_MAX, kOomNever + 1},
      {0, 0, 999, UINT64_MAX, INT64_MAX},
  };
  for (const auto& row : rows)
    EXPECT_EQ(oom_badness(Pages(row.pages), Pages(row.swapped), row.adj, Pages(row.total)), row.points)
        << row.pages << "+" << row.swapped << " adj " << row.adj << " of " << row.total;
}

TEST(OomBadness, AgreesWithTheFormula) {
  Random random(1);
  // Numbers of all magnitudes: as many near the ends of the range as in the middle.
  const auto any = [&] { return random.next() >> random.below(64); };
  for (int i = 0; i < 200000; ++i) {
    const uint64_t pages = any(), swapped = any(), total = any();
    const int adj = static_cast<int>(random.below(2000)) - 999;
    const int64_t points = oom_badness(Pages(pages), Pages(swapped), adj, Pages(total));
    ASSERT_TRUE(points == model(pages, swapped, adj, total))
        << pages << "+" << swapped << " adj " << adj << " of " << total << ": " << points;
    ASSERT_NE(points, kOomNever) << "only who is exempt";
  }
}

}  // namespace
}  // namespace weir
