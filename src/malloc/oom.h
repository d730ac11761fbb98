// Purpose: what happens when an allocation of the program failed though its limit would allow for it: somebody is
// chosen
//          to lose memory, which is counted, told to who wants to hear of it, and reported; nobody can, and it ends the
//          program if that is wished.
// Thread safety: any thread of the program, with no weir lock held. Invariants: errno is not kept.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir {

// `size`: the bytes that were asked for; `heap`: the index of the heap that they were asked of, 0: none. True: there
// may be memory now. False without a limit, or when it is the size that could not be had.
[[nodiscard]] bool oom_allocation_failed(size_t size, uint32_t heap = 0);

// Attempts of an allocation: another thread may take each time what a victim gave back.
inline constexpr unsigned kMostOomTries = 16;

}  // namespace weir
