// Purpose: how far free memory is broken up, by the kernel's measures (Linux 6.12 mm/vmstat.c, mm/compaction.c).
// Thread safety: pure functions.
#pragma once

#include "base/units.h"
#include "page/buddy.h"

namespace weir {

Pages free_pages(const BuddyStats& free);

// Whether a request for `count` pages, rounded up to a power of two, would fail because memory is short (towards 0) or
// because it is in pieces (towards 1000); kWouldSucceed: it would not fail (__fragmentation_index). 0 when nothing is
// free.
inline constexpr int kWouldSucceed = -1000;
int fragmentation_index(const BuddyStats& free, Pages count);

// How much of the free memory lies in blocks too small for a pageblock: 0 to 100 % (extfrag_for_order, of
// COMPACTION_HPAGE_ORDER). 0 when nothing is free.
unsigned fragmentation_score(const BuddyStats& free);

// Where compaction ahead of need begins (above `high`) and ends (at `low`), as scores (fragmentation_score_wmark).
// `proactiveness`: 0 to 100; at 0 there is none.
inline constexpr unsigned kBetweenMarks = 10;
struct ScoreMarks {
  unsigned low, high;
};
ScoreMarks score_marks(unsigned proactiveness);

}  // namespace weir
