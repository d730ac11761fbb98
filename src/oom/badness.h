// Purpose: how bad it is that somebody holds memory, as a number: the more points, the sooner he loses it.
// Thread safety: pure functions.
#pragma once

#include <cstdint>

#include "base/units.h"

namespace weir {

// The range of oom_score_adj, as the kernel's (include/uapi/linux/oom.h). The least value exempts.
inline constexpr int kOomScoreAdjMin = -1000;
inline constexpr int kOomScoreAdjMax = 1000;

// The points of who is exempt (kernel: LONG_MIN). Nobody else has as few.
inline constexpr int64_t kOomNever = INT64_MIN;

// Source: Linux 6.12 mm/oom_kill.c, oom_badness:
//   points = pages + swapped + oom_score_adj * (total / 1000)
// in pages; `total` is what all of them together may hold, the limit and the swap space.
//
// As there, the division comes first and drops its remainder: up to 999 pages of `total` do not count, and with fewer
// than 1000 the adjustment means nothing. As there, points may be negative; who has them is chosen when nobody has
// more. The kernel's sum wraps around; here it stops at INT64_MAX, and above kOomNever. An adjustment out of range
// counts as the nearest one in range.
[[nodiscard]] int64_t oom_badness(Pages pages, Pages swapped, int oom_score_adj, Pages total);

}  // namespace weir
