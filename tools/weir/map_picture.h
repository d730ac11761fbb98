// Purpose: the arena at one moment, as squares of a picture: a row of them for each stretch of addresses.
// Thread safety: pure functions.
#pragma once

#include <string>

#include "arena_map.h"
#include "svg.h"

namespace weir::tool {

// How much of the picture's height a map takes, with its heading.
[[nodiscard]] double map_height(const std::vector<ArenaMap>& maps);
// Draws it from `top` on, between `left` and `right`. `when`: the moment, in words.
void draw_map(Svg& svg, double left, double right, double top, const std::vector<ArenaMap>& maps,
              const std::string& when);

}  // namespace weir::tool
