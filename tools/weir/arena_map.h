// Purpose: what the arena of a process with a limit looks like at one moment, pageblock by pageblock: read from the
//          process's own records (weir/stats_page.h says where they are), and as JSON.
// Thread safety: values. Invariants: no cell has more pages in any state, or in all together, than it has pages.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "json_value.h"
#include "page_reader.h"
#include "snapshot.h"

namespace weir::tool {

// A pageblock of 512 pages; of a large arena, several neighbours together.
struct MapCell {
  unsigned pages = 0;
  bool movable = false;  // its pages are for large objects; else for slabs
  unsigned in_place = 0, standby = 0, swapped = 0;
  unsigned unused = 0;  // free, but with memory behind them
};

struct ArenaMap {
  uint32_t node = 0;
  std::vector<MapCell> cells;
};

// A map of each node. Empty when the process has no limit, or its memory may not be read.
[[nodiscard]] std::vector<ArenaMap> read_maps(const Snapshot& snapshot);

[[nodiscard]] std::string to_json(const std::vector<ArenaMap>& maps);
// Nothing when a number is missing or cannot be.
[[nodiscard]] std::optional<std::vector<ArenaMap>> parse_maps(const JsonValue::Array& maps);

}  // namespace weir::tool
