#include "oom/badness.h"

namespace weir {
namespace {

// Of the kernel's formula: an adjustment of 1000 is all of the memory.
constexpr uint64_t kAdjustments = 1000;

int64_t saturated(uint64_t n) {
  return n > uint64_t{INT64_MAX} ? INT64_MAX : static_cast<int64_t>(n);
}

uint64_t sum(uint64_t a, uint64_t b) {
  uint64_t result;
  return __builtin_add_overflow(a, b, &result) ? UINT64_MAX : result;
}

}  // namespace

int64_t oom_badness(Pages pages, Pages swapped, int oom_score_adj, Pages total) {
  if (oom_score_adj <= kOomScoreAdjMin) return kOomNever;
  if (oom_score_adj > kOomScoreAdjMax) oom_score_adj = kOomScoreAdjMax;
  const uint64_t held = sum(pages.v, swapped.v);
  // At most 1000 * (2^64 / 1000), which fits 64 bits without a sign.
  const uint64_t share =
      total.v / kAdjustments * static_cast<uint64_t>(oom_score_adj < 0 ? -oom_score_adj : oom_score_adj);
  if (oom_score_adj >= 0) return saturated(sum(held, share));
  if (held >= share) return saturated(held - share);
  const uint64_t below = share - held;
  return below > uint64_t{INT64_MAX} ? kOomNever + 1 : -static_cast<int64_t>(below);
}

}  // namespace weir
