// Purpose: the view of one process: its limit, the water level of each node, what reclaim does, and its slabs.
// Thread safety: one thread. Invariants: `draw_watch` adds exactly screen.height - 2 lines, what is between the title
//                and the keys; a screen has at least 80 columns and 24 lines.
#pragma once

#include "frame.h"
#include "watch.h"

namespace weir::tool {

// `choice` is the column that is pointed at while one is chosen for the order.
void draw_watch(Frame& frame, Watch& watch, const Screen& screen, std::optional<size_t> choice);
// A graph of the newest values, `height` lines of `width` columns, each as high as its share of `most`.
[[nodiscard]] std::vector<std::string> graph(const std::vector<double>& values, double most, size_t width,
                                             size_t height, bool unicode);

}  // namespace weir::tool
