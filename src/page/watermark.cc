#include "page/watermark.h"

namespace weir {
namespace {

uint64_t integer_sqrt(uint64_t n) {
  uint64_t root = 0;
  for (uint64_t bit = uint64_t{1} << 31; bit != 0; bit >>= 1)
    if ((root + bit) * (root + bit) <= n) root += bit;
  return root;
}

// Without overflow for any page counts that an address space can hold. The division of 128 bits is a page of code that
// starting a program need not touch.
uint64_t scale(uint64_t value, uint64_t numerator, uint64_t denominator) {
  uint64_t product;
  if (!__builtin_mul_overflow(value, numerator, &product)) return product / denominator;
  return static_cast<uint64_t>(static_cast<unsigned __int128>(value) * numerator / denominator);
}

}  // namespace

uint64_t default_min_free_kbytes(Pages managed) {
  const uint64_t root = integer_sqrt(managed.v * (kPageSize / 1024) * 16);
  return root < 128 ? 128 : root > 262144 ? 262144 : root;
}

Watermarks compute_watermarks(Pages managed, Pages total_managed, uint64_t min_free_kbytes,
                              uint64_t watermark_scale_factor) {
  if (total_managed.v == 0) return {};
  if (min_free_kbytes == 0) min_free_kbytes = default_min_free_kbytes(total_managed);
  const uint64_t all = min_free_kbytes / (kPageSize / 1024);
  uint64_t min = scale(all, managed.v, total_managed.v);
  if (min > managed.v) min = managed.v;
  const uint64_t by_scale = scale(managed.v, watermark_scale_factor, 10000);
  const uint64_t step = min / 4 > by_scale ? min / 4 : by_scale;
  return {Pages(min), Pages(min + step), Pages(min + 2 * step)};
}

}  // namespace weir
