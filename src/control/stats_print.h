// Purpose: what weir knows of its memory, as text.
// Thread safety: any thread; each zone and depot is locked for the moment its numbers are taken.
#pragma once

namespace weir {

// Writes pages and watermarks per node, free blocks per order and migratetype, slabs per size class and the counters.
void print_stats(int fd);

}  // namespace weir
