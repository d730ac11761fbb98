// Purpose: the free-page levels at which reclaim starts and stops, as in the kernel.
// Thread safety: values.
#pragma once

#include "base/units.h"

namespace weir {

struct Watermarks {
  Pages min{};   // below: the allocating thread reclaims for itself
  Pages low{};   // below: kswapd wakes
  Pages high{};  // kswapd works until free pages reach this
};

// min_free_kbytes that fits a machine with `managed` pages: clamp(sqrt(16 * managed_kB), 128, 262144).
// Source: Linux 6.12 mm/page_alloc.c, calculate_min_free_kbytes.
uint64_t default_min_free_kbytes(Pages managed);

// The watermarks of a zone that holds `managed` of `total_managed` pages.
//   min_free_kbytes: for all zones together; 0 = default_min_free_kbytes(total_managed).
//   watermark_scale_factor: distance between the marks in 1/10000 of the zone, 1..3000.
// Source: Linux 6.12 mm/page_alloc.c, __setup_per_zone_wmarks. min never exceeds the zone.
Watermarks compute_watermarks(Pages managed, Pages total_managed, uint64_t min_free_kbytes,
                              uint64_t watermark_scale_factor);

}  // namespace weir
