// Purpose: which pages of a stretch of addresses are mapped in this process at the moment, and whether they are a
//          file's: all that can be known of mappings whose faults the kernel resolves by itself.
// Thread safety: any thread. Invariants: errno is never touched; nothing that is looked at is touched or brought in.
#pragma once

#include <cstdint>

#include "base/units.h"

namespace weir::os {

// Pages side by side that are mapped, and all a file's, or none.
struct MappedRun {
  char* begin;
  char* end;
  bool of_file;  // not yet copied for being written to, nor anonymous
};

// Of at most 64 pages, a bit each.
struct PageMasks {
  uint64_t present = 0;  // mapped, and memory (the page of zeros is not, from Linux 6.7 on)
  uint64_t swapped = 0;  // the system has swapped them out, or is about to move them
  uint64_t shared = 0;   // present, but maybe not this process's alone
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
// The same without the page of zeros, which what was only read is mapped to: before Linux 6.7 that cannot be told.
[[nodiscard]] long populated_runs(int pagemap, char*& begin, char* end, MappedRun* runs, unsigned most);
// How `pages` pages from `begin` on are, at most 64; false: it cannot be told.
[[nodiscard]] bool find_page_masks(int pagemap, const char* begin, unsigned pages, PageMasks& masks);
// Whether the system swaps pages out when it is asked to (MADV_PAGEOUT, Linux 5.4): it may have no swap, or this
// process's cgroup may not use it. Tries it with a page.
[[nodiscard]] bool system_takes_pages(int pagemap);

}  // namespace weir::os
