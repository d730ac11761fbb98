// watermark_test.cc: the watermarks against the kernel's formula, computed here in another way.
#include "page/watermark.h"

#include <gtest/gtest.h>

#include <cmath>

namespace weir {
namespace {

constexpr Pages gib(uint64_t n) {
  return Pages(n << 18);
}

// __setup_per_zone_wmarks and calculate_min_free_kbytes of Linux 6.12, with 128-bit integers and long double.
Watermarks kernels(uint64_t managed, uint64_t total, uint64_t min_free_kbytes, uint64_t scale_factor) {
  if (min_free_kbytes == 0) {
    const uint64_t root = static_cast<uint64_t>(sqrtl(static_cast<long double>(total) * 4 * 16));
    min_free_kbytes = root < 128 ? 128 : root > 262144 ? 262144 : root;
  }
  const uint64_t pages_min = min_free_kbytes >> 2;
  uint64_t min = static_cast<uint64_t>(static_cast<unsigned __int128>(pages_min) * managed / total);
  if (min > managed) min = managed;
  // mult_frac(managed, scale_factor, 10000)
  const uint64_t by_scale = managed / 10000 * scale_factor + managed % 10000 * scale_factor / 10000;
  const uint64_t step = std::max(min >> 2, by_scale);
  return {Pages(min), Pages(min + step), Pages(min + 2 * step)};
}

void expect_equal(const Watermarks& got, const Watermarks& expected) {
  EXPECT_EQ(got.min.v, expected.min.v);
  EXPECT_EQ(got.low.v, expected.low.v);
  EXPECT_EQ(got.high.v, expected.high.v);
}

// Values as a kernel shows them in /proc/sys/vm/min_free_kbytes for machines whose lowmem is exactly that large.
TEST(Watermark, MinFreeKbytesOfKnownMachines) {
  EXPECT_EQ(default_min_free_kbytes(gib(24)), 20066u);
  EXPECT_EQ(default_min_free_kbytes(gib(1)), 4096u);
  EXPECT_EQ(default_min_free_kbytes(gib(4)), 8192u);
  EXPECT_EQ(default_min_free_kbytes(gib(16)), 16384u);
  EXPECT_EQ(default_min_free_kbytes(gib(4096)), 262144u) << "exactly the ceiling";
  EXPECT_EQ(default_min_free_kbytes(gib(16384)), 262144u);
  EXPECT_EQ(default_min_free_kbytes(Pages(256)), 128u) << "the floor: 1 MiB";
  EXPECT_EQ(default_min_free_kbytes(Pages(0)), 128u);
}

TEST(Watermark, A24GiBNode) {
  const Watermarks w = compute_watermarks(gib(24), gib(24), 0, 10);
  EXPECT_EQ(w.min.v, 5016u);          // 20066 kB >> 2
  EXPECT_EQ(w.low.v, 5016u + 6291u);  // a thousandth of the node is more than a quarter of min
  EXPECT_EQ(w.high.v, 5016u + 2 * 6291u);
}

// Small zones: the classic min, 5/4 min, 3/2 min.
TEST(Watermark, SmallZonesAreQuartersApart) {
  const Watermarks w = compute_watermarks(Pages(25600), Pages(25600), 4096, 10);
  EXPECT_EQ(w.min.v, 1024u);
  EXPECT_EQ(w.low.v, 1280u);
  EXPECT_EQ(w.high.v, 1536u);
}

TEST(Watermark, AZoneGetsItsShareOfMin) {
  const Watermarks quarter = compute_watermarks(gib(6), gib(24), 0, 10);
  EXPECT_EQ(quarter.min.v, 1254u);
  expect_equal(quarter, kernels(gib(6).v, gib(24).v, 0, 10));
}

TEST(Watermark, AgreesWithTheKernelsFormula) {
  const uint64_t sizes[] = {1, 256, 1000, 32768, 262144, 999999, 6291456, 1ull << 28, (1ull << 32) + 12345};
  for (const uint64_t managed : sizes)
    for (const uint64_t total : sizes)
      for (const uint64_t kbytes : {0, 128, 5000, 1048576})
        for (const uint64_t factor : {1, 10, 100, 3000})
          if (managed <= total)
            expect_equal(compute_watermarks(Pages(managed), Pages(total), kbytes, factor),
                         kernels(managed, total, kbytes, factor));
}

TEST(Watermark, MinNeverExceedsTheZone) {
  const Watermarks w = compute_watermarks(Pages(100), Pages(100), 1048576, 10);
  EXPECT_EQ(w.min.v, 100u);
}

TEST(Watermark, NothingManaged) {
  const Watermarks w = compute_watermarks(Pages(0), Pages(0), 0, 10);
  EXPECT_EQ(w.min.v + w.low.v + w.high.v, 0u);
}

}  // namespace
}  // namespace weir
