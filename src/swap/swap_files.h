// Purpose: the swap files of one process: the one it writes, and those of the processes it was forked from, which it
//          may only read. So each side of a fork writes to a file of its own.
// Thread safety: set-up and fork while nobody else uses it; the files themselves from any thread.
// Invariants: only the last file is written.
#pragma once

#include "swap/swap_entry.h"
#include "swap/swap_file.h"

namespace weir {

struct SwapFiles {
  // A program that forks from a forked child over and over, each with pages swapped out, is out of the ordinary; the
  // eighth in such a line has compressed memory only.
  static constexpr unsigned kMost = 8;

  SwapFile files[kMost];
  unsigned count = 0;  // open ones, the oldest first

  // Null when nothing can be written.
  SwapFile* writer() { return count != 0 && !files[count - 1].read_only() ? &files[count - 1] : nullptr; }
  SwapFile& of(SwapEntry entry) { return files[entry.file()]; }
  SwapEntry entry(uint64_t slot) const { return SwapEntry::in_file(count - 1, slot); }
};

}  // namespace weir
