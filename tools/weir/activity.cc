#include "activity.h"

namespace weir::tool {

const char* name_of(Activity activity) {
  switch (activity) {
    case Activity::kKswapdScan:
      return "kswapd scan/s";
    case Activity::kDirectScan:
      return "direct scan/s";
    case Activity::kSwapIn:
      return "swap in/s";
    case Activity::kSwapOut:
      return "swap out/s";
    case Activity::kFaults:
      return "faults/s";
  }
  return "?";
}

double rate_of(Activity activity, const CounterChange& change) {
  switch (activity) {
    case Activity::kKswapdScan:
      return change.rate("pgscan_kswapd");
    case Activity::kDirectScan:
      return change.rate("pgscan_direct");
    case Activity::kSwapIn:
      return change.rate("pswpin") + change.rate("zswpin");
    case Activity::kSwapOut:
      return change.rate("pswpout") + change.rate("zswpout");
    case Activity::kFaults:
      return change.rate("pgfault");
  }
  return 0;
}

void Tracker::add(Moment now) {
  if (is_same_program(last_.snapshot, now.snapshot)) {
    const CounterChange change(&last_, now);
    for (const Activity each : kActivities) {
      auto& history = histories_[static_cast<size_t>(each)];
      if (history.size() == kMoments) history.erase(history.begin());
      history.push_back(rate_of(each, change));
    }
  } else {
    for (auto& history : histories_) history.clear();
  }
  last_ = std::move(now);
}

}  // namespace weir::tool
