// Purpose: the tables of one process in weir top: its size classes and its registered heaps.
// Thread safety: pure functions.
#pragma once

#include "snapshot.h"
#include "table.h"

namespace weir::tool {

[[nodiscard]] Table slab_table();
[[nodiscard]] std::vector<Row> slab_rows(const Snapshot& snapshot);

[[nodiscard]] Table heap_table();
[[nodiscard]] std::vector<Row> heap_rows(const Snapshot& snapshot);
// What there is to say below the heaps: that there are none, or more than have rows; else empty.
[[nodiscard]] std::string heap_note(const Snapshot& snapshot);

}  // namespace weir::tool
