// Purpose: what is wrong with a pointer, and what an allocator asks of the heaps (heap/), which lie above it: its own
//          objects need none of this.
// Thread safety: as each hook says; all of them from any thread. Invariants: constant once they are set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "malloc/page_owner.h"
#include "malloc/thread_cache.h"
#include "oom/ask.h"

namespace weir {

// Why an object cannot be freed or resized.
enum class Misuse : uint8_t { kNone, kForeign, kNotGivenOut, kInsideObject, kDoubleFree };

struct BadPointer {
  Misuse misuse = Misuse::kNone;
  const void* pointer = nullptr;
  uint32_t class_size = 0;     // 0: not in a slab
  const char* heap = nullptr;  // whose it is; null: no registered heap's
};

struct HeapHooks {
  void* self = nullptr;
  // Frees an object of a slab with this tag. `thread`: the calling thread's cache, or null. `due`: decay should look at
  // the clock, which is not worth it every time.
  BadPointer (*free_object)(void* self, OwnerTag tag, void* object, ThreadCache* thread, bool& due) = nullptr;
  // Frees the run with this tag that the object lies in.
  BadPointer (*free_run)(void* self, OwnerTag tag, void* object) = nullptr;
  // Resizes an object, which stays in its heap. Null: no memory, the object is as it was, or `bad` says what is wrong.
  void* (*resize)(void* self, void* object, size_t size, BadPointer& bad) = nullptr;
  // The name of an owner; null: there is none of that index.
  const char* (*name)(void* self, uint32_t owner) = nullptr;
  // Ends a decay tick in the heaps of a node; `released` grows by the pages of empty slabs.
  void (*decay_tick)(void* self, NodeId node, Pages& released) = nullptr;
  // Gives everything unused back to the zones, with what is kept for the calling thread (`thread` may be null).
  BadPointer (*trim)(void* self, ThreadCache* thread) = nullptr;
  // A thread ends: what is kept for it goes back.
  BadPointer (*detach)(void* self, ThreadCache* thread) = nullptr;
  // How many there are.
  uint32_t (*number)(void* self) = nullptr;
  // Free bytes in slabs; an estimate that may be some milliseconds old.
  size_t (*free_bytes)(void* self) = nullptr;
  // Adds the free objects in slabs on a node, by size class.
  void (*add_free_objects)(void* self, NodeId node, uint64_t* by_class) = nullptr;
  // Nothing could be reclaimed for an allocation: somebody is chosen to lose memory. With no lock held.
  OomVerdict (*out_of_memory)(void* self, OomAsk& ask) = nullptr;
  // Takes and gives back all locks, before those of depots and zones; with them held:
  void (*lock)(void* self) = nullptr;
  void (*unlock)(void* self) = nullptr;
  //   null when all counts of the heaps of a node agree; `slab_pages` grows by the pages of their slabs
  const char* (*verify)(void* self, NodeId node, Pages& slab_pages) = nullptr;
  //   shows everything, in the child of a fork whose page is a new one
  void (*publish_all)(void* self) = nullptr;
  //   what threads were doing that the child of a fork does not have
  void (*after_fork_in_child)(void* self) = nullptr;
};

}  // namespace weir
