// Purpose: a thread's own stock of free small objects of one heap, that which the thread has allocated in several times
//          in a row: a lock is then taken for some objects at a time.
// Thread safety: one thread, the owner of the ThreadCache that it hangs on. Invariants: entries are objects that count
//                as given out in their slabs; they are of the heap `id` names, and worth nothing when that is gone.
#pragma once

#include <cstdint>

#include "heap/heap_id.h"
#include "malloc/size_class.h"

namespace weir {

class Heap;

struct HeapCache {
  // Larger ones are rarer, and a few of them would be as much as many small ones.
  static constexpr size_t kLargest = 1024;
  static constexpr size_t kClasses = class_of_size(kLargest) + 1;
  // Of one class at most so many objects or bytes, so that a thread holds on to a few hundred KiB at the very most.
  static constexpr unsigned kSlots = 32;
  static constexpr size_t kBytes = size_t{8} << 10;
  // A thread that changes between heaps all the time is better off without: every change empties all bins.
  static constexpr unsigned kCallsInARow = 8;

  static constexpr unsigned slots_of(size_t size_class) {
    const size_t fit = kBytes / kSizeClasses[size_class].size;
    return fit < kSlots ? static_cast<unsigned>(fit) : kSlots;
  }

  HeapId id;             // whose objects; none: there are none
  Heap* heap = nullptr;  // of that id
  HeapId last;           // where the thread allocated last without finding it here
  unsigned in_a_row = 0;
  uint8_t count[kClasses] = {};
  uint8_t fill[kClasses] = {};  // objects to ask for at the next refill
  void* slots[kClasses][kSlots] = {};

  // Notes an allocation in a heap that is not this one; true when it should become this one.
  bool note(HeapId where) {
    in_a_row = where == last ? in_a_row + 1 : 1;
    last = where;
    return in_a_row >= kCallsInARow;
  }
  // Forgets all objects.
  void reset(HeapId new_id, Heap* new_heap) {
    id = new_id;
    heap = new_heap;
    in_a_row = 0;
    for (size_t c = 0; c < kClasses; ++c) {
      count[c] = 0;
      fill[c] = 1;
    }
  }
};

}  // namespace weir
