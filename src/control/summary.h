// Purpose: what `weir run --summary` shows when a program ends: its limit and what was done to keep it, one labelled
//          number a line, in the manner of time -v.
// Thread safety: any thread; no malloc, no stdio. Invariants: the text is written in one piece, so that processes that
//                end at once do not mix their lines; every line is there in every mode.
#pragma once

#include <cstdint>

#include "reclaim/counters.h"

namespace weir {

void print_summary(int fd, const ReclaimStats& stats, uint64_t elapsed_ns, uint64_t pid);

}  // namespace weir
