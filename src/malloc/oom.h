// Purpose: what happens when an allocation of the program failed though its limit would allow for it: it is counted,
//          told to who wants to hear of it, reported, and ends the program if that is wished.
// Thread safety: any thread of the program, with no weir lock held. Invariants: errno is not kept.
#pragma once

#include <cstddef>

namespace weir {

// `size`: the bytes that were asked for. Nothing without a limit, or when it is the size that could not be had.
void oom_allocation_failed(size_t size);

}  // namespace weir
