// Purpose: the registered heaps of this process; there is nothing of them before the first one is made,
//          or a pool is joined.
// Thread safety: any thread, with no weir lock held.
#pragma once

#include "heap/heap_registry.h"

namespace weir {

// Null until then.
HeapRegistry* process_heaps();
// Makes it, and starts the allocator. Null: no memory.
HeapRegistry* process_make_heaps();

}  // namespace weir
