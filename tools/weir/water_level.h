// Purpose: where the free pages of a node stand against its watermarks, and how that looks.
// Thread safety: functions of their arguments.
#pragma once

#include "frame.h"
#include "snapshot.h"

namespace weir::tool {

// In the order of trouble.
enum class Level : uint8_t {
  kAboveHigh,  // nothing to do
  kBelowHigh,  // kswapd goes on if it works, and sleeps if it sleeps
  kBelowLow,   // kswapd works
  kBelowMin,   // threads wait
};

// Numbers are pages.
struct WaterLevel {
  uint64_t free, min, low, high, managed;
  [[nodiscard]] Level level() const;
};

[[nodiscard]] WaterLevel water_level(const Snapshot& snapshot, uint32_t node);
// Of the node that is in the most trouble.
[[nodiscard]] Level worst_level(const Snapshot& snapshot);
[[nodiscard]] Style style_of(Level level);

// A bar of `columns` that is full at twice high (where all is quiet), with marks at min, low and high.
void put_level(Line& line, const WaterLevel& water, size_t columns, bool unicode);

}  // namespace weir::tool
