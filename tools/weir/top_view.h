// Purpose: the screens of weir top: the list, the view of one process, the help, or that there is no room for them.
// Thread safety: one thread. Invariants: a frame has exactly as many lines as the screen, or one when that is too
// small.
#pragma once

#include "frame.h"
#include "top_app.h"

namespace weir::tool {

constexpr size_t kLeastWidth = 80, kLeastHeight = 24;

[[nodiscard]] Frame draw_top(TopApp& app, const Screen& screen);

}  // namespace weir::tool
