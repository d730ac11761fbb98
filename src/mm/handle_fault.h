// Purpose: STORY 2: what happens when a thread touches a page that is not at its address.
// Thread safety: called by weir's fault handlers; two may meet on one page, one of them then leaves it to the other.
// Invariants: until the page is filled, no lock is taken that may be held while the process forks.
#pragma once

#include "reclaim/reclaimer.h"

namespace weir {

void handle_fault(Reclaimer& reclaimer, NodeReclaim& node, Pfn pfn, Touch touch, Workbench& bench);
// Goes on with the faults whose pages have been read from a file meanwhile.
void finish_reads(Reclaimer& reclaimer, Workbench& bench);

inline constexpr FaultStory kFaultStory = {handle_fault, finish_reads};

}  // namespace weir
