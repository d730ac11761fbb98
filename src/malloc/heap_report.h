// Purpose: what the heap holds, as mallinfo2, malloc_stats and malloc_info say it: one count, and the layouts of glibc.
// Thread safety: any thread. Each node is counted under its zone's lock, but objects in slabs without one: while other
//                threads allocate, a number may be off by what they do meanwhile.
// Invariants: accessible = in use + free, and free is the sum of all free chunks, of each node and of all. Objects in
//             the caches of threads count as in use. No lock is held while text is written, and nothing allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace weir {

class Allocator;

struct HeapTotals {
  size_t accessible_bytes = 0;     // of arenas; they never become smaller
  size_t free_bytes = 0;           // free blocks of pages, and free objects in slabs
  size_t free_resident_bytes = 0;  // free pages with memory behind them
  uint64_t free_chunks = 0;        // blocks and objects
  size_t in_use_bytes() const { return accessible_bytes - free_bytes; }
};

// Of all nodes.
HeapTotals heap_totals(Allocator& allocator);

// Takes text piece by piece.
struct TextSink {
  void (*write)(void* context, std::string_view text);
  void* context;
};

// As glibc's malloc_stats, a node being an arena.
void write_heap_stats(Allocator& allocator, TextSink to);
// As glibc's malloc_info, a node being a heap: XML with every size of which something is free.
void write_heap_info(Allocator& allocator, TextSink to);

}  // namespace weir
