// Purpose: what reclaim did in a process, a second, and how that was before: the lines of the graphs of weir top.
// Thread safety: one thread. Invariants: a history has at most kMoments values, the newest last.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "moment.h"

namespace weir::tool {

// In pages and in faults a second. Swapped is what went to compressed memory or the file.
enum class Activity : uint8_t { kKswapdScan, kDirectScan, kSwapIn, kSwapOut, kFaults };
constexpr std::array<Activity, 5> kActivities = {Activity::kKswapdScan, Activity::kDirectScan, Activity::kSwapIn,
                                                 Activity::kSwapOut, Activity::kFaults};
[[nodiscard]] const char* name_of(Activity activity);
[[nodiscard]] double rate_of(Activity activity, const CounterChange& change);

// A process and its recent past.
class Tracker {
 public:
  // As many values as the widest terminals have columns.
  static constexpr size_t kMoments = 512;

  explicit Tracker(Moment first) : last_(std::move(first)) {}
  // A process that became another program has no past.
  void add(Moment now);
  [[nodiscard]] const Moment& last() const { return last_; }
  [[nodiscard]] const std::vector<double>& history(Activity activity) const {
    return histories_[static_cast<size_t>(activity)];
  }
  // Of the last interval; 0 when there was none yet.
  [[nodiscard]] double now(Activity activity) const {
    const auto& all = history(activity);
    return all.empty() ? 0 : all.back();
  }

 private:
  Moment last_;
  std::array<std::vector<double>, kActivities.size()> histories_;
};

}  // namespace weir::tool
