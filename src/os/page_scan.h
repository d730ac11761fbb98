// Purpose: which pages of a stretch of addresses are mapped in this process at the moment, and whether they are a
//          file's: all that can be known of mappings whose faults the kernel resolves by itself.
// Thread safety: any thread. Invariants: errno is never touched; nothing is touched or brought in.
#pragma once

#include "base/units.h"

namespace weir::os {

// Pages side by side that are mapped, and all a file's, or none.
struct MappedRun {
  char* begin;
  char* end;
  bool of_file;  // not yet copied for being written to, nor anonymous
};

// Opens what mapped_runs reads; `proc`: an open /proc. A child of a fork needs its own. Negative: -errno.
[[nodiscard]] int open_pagemap(int proc);
// Finds mapped pages from `begin` on, up to `end` (both page-aligned); moves `begin` behind what was looked at, which
// is `end` unless `runs` is full. Returns how many runs there are, in rising order, or -errno. By PAGEMAP_SCAN
// (Linux 6.7: 1 us for a MiB that is mapped, next to nothing for what is not), before that from /proc/PID/pagemap (5 to
// 15 us a MiB).
[[nodiscard]] long mapped_runs(int pagemap, char*& begin, char* end, MappedRun* runs, unsigned most);
// The latter way alone.
[[nodiscard]] long mapped_runs_from_entries(int pagemap, char*& begin, char* end, MappedRun* runs, unsigned most);

}  // namespace weir::os
