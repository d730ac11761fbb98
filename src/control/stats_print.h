// Purpose: what weir knows of its memory, as text.
// Thread safety: any thread; each zone and depot is locked for the moment its numbers are taken.
#pragma once

namespace weir {

// Writes a report to be read by people: what memory is given out, free and for bookkeeping; what a limit is spent on;
// nodes and their free blocks; size classes; heaps; counters that are not 0. Its layout may change: programs read the
// statistics page.
void print_stats(int fd);

}  // namespace weir
