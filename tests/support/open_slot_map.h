// Purpose: a slot map that is open for as long as it lives.
// Thread safety: as SlotMap.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "swap/slot_map.h"

namespace weir {

struct OpenMap : SlotMap {
  explicit OpenMap(uint64_t capacity) {
    if (!open(capacity)) abort();
  }
  ~OpenMap() { close(); }
};

}  // namespace weir
