// Purpose: what weir itself keeps for later (transfer caches, empty slabs) as a cache that can be shrunk like any
// other;
//          its objects are pages.
// Thread safety: any thread, with no lock held. Invariants: nothing is allocated, and no arena memory is touched.
#pragma once

#include "malloc/allocator.h"

namespace weir {

// Pages in transfer caches and empty slabs.
[[nodiscard]] Pages count_own_caches(Allocator& allocator);
// Gives back about `wanted` of them, the classes in turn from `next` (which moves on), and what idle pages are found in
// these classes' other slabs on the way. Returns how many; `bad`: a mistake of the program that came to light.
[[nodiscard]] Pages shrink_own_caches(Allocator& allocator, Pages wanted, unsigned& next, BadPointer& bad);

}  // namespace weir
