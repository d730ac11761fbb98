// Purpose: a table as lines of a screen.
// Thread safety: one thread. Invariants: exactly `height` lines of `width` columns are added to the frame, the first
// one
//                the heading; the selected row is among them.
#pragma once

#include "frame.h"
#include "table.h"

namespace weir::tool {

void draw_table(Frame& frame, Table& table, size_t width, size_t height);
// The same, with the columns to choose from on the left; `choice` is the one that is selected.
void draw_table_with_choice(Frame& frame, Table& table, size_t width, size_t height, size_t choice);

}  // namespace weir::tool
