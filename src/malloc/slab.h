// Purpose: a slab: a block of pages cut into objects of one class, with its bitmap outside the block.
// Thread safety: none; the depot that owns the slab locks.
// Invariants: a set bit is a free object; nr_free counts them. The objects themselves are never read or written.
#pragma once

#include <cstdint>

#include "malloc/size_class.h"

namespace weir {

using UnitIndex = uint32_t;  // of kSlabUnitSize within a zone's arena
inline constexpr UnitIndex kNoUnit = ~UnitIndex{0};

// 16-byte objects need 1024 bits a unit.
inline constexpr size_t kBitmapBytesPerUnit = kSlabUnitSize / kMinAlignment / 8;

struct SlabDesc {
  UnitIndex next;       // neighbours among the class's slabs that have free objects
  UnitIndex prev;       //
  uint16_t nr_free;     //
  uint8_t hint;         // bitmap words below it are zero; a slab has 64 at most
  uint8_t lane;         // of the depot that owns it; constant
  uint8_t size_class;   //
  bool on_list;         // linked through next/prev
  uint16_t idle_since;  // depot tick of the last take or give, for decay
  uint64_t touched;     // pages that may have memory
  uint64_t few_bits;    // the bitmap of a slab of at most 64 objects: one cache line less for these
};
static_assert(sizeof(SlabDesc) == 32, "two in a cache line");

// The state of an object that free() is asked to give back.
enum class FreeVerdict : uint8_t { kOk, kDoubleFree, kInsideObject };

struct SlabView {
  SlabDesc& desc;
  uint64_t* bits;
  char* memory;

  const SizeClass& size_class() const { return kSizeClasses[desc.size_class]; }

  void init(size_t size_class, uint8_t lane = 0);
  // Takes up to `want` free objects in address order and stores them downwards from `end`; returns how many. `apart`:
  // from a stretch of 64 objects of which none is taken, if there is one.
  unsigned take(void** end, unsigned want, bool apart = false);
  [[nodiscard]] FreeVerdict give(void* object);
  // The same of the first objects of several, up to one that lies in another slab or cannot be given back, of which
  // `verdict` tells then; returns how many.
  [[nodiscard]] unsigned give_many(void* const* objects, unsigned count, FreeVerdict& verdict);
  // What give() would say; nothing changes.
  FreeVerdict check(const void* object) const;
  // Pages that were touched and now hold no part of an allocated object, one bit each.
  uint64_t idle_pages() const;
  size_t first_word(bool apart) const;
  // Free objects, recounted.
  unsigned count_free() const;
};

}  // namespace weir
