// Purpose: the size classes and, per class, everything that is constant about its slabs and caches.
// Thread safety: compile-time constants.
// Invariants: sizes are multiples of 16 up to 128 bytes, then eight steps per doubling: a slab object wastes at most
//             12.5 % beyond the rounding to 16. Slabs are powers of two, aligned to their size, with objects from
//             offset 0, so that an object is aligned to every power of two that divides its class size.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "page/arena.h"

namespace weir {

inline constexpr size_t kMinAlignment = 16;
// Above this, objects are runs of whole pages: slabs of larger objects hold pages that were touched and are free but
// fit no other class (measured: 1.8 times jemalloc's memory where many buffers of 16 to 64 KiB grow).
inline constexpr size_t kMaxSmallSize = size_t{16} << 10;
inline constexpr unsigned kNrSizeClasses = 65;  // class 0 means "no slab"
// What the address map says of slabs that belong to a heap. It is no class of objects: its bin in every thread cache is
// empty and full, so that the fast path of free takes no notice of heaps.
inline constexpr size_t kHeapClass = kNrSizeClasses;

// The smallest slab, and what the address map has a byte for. Small slabs empty soon and then serve any class; 16 KiB
// hold at least 16 objects of the sizes that programs have many of.
inline constexpr unsigned kSlabUnitShift = 14;
inline constexpr size_t kSlabUnitSize = size_t{1} << kSlabUnitShift;

struct SizeClass {
  uint32_t size = 0;         // bytes of an object
  uint32_t slab_mask = 0;    // slab bytes - 1
  uint32_t reciprocal = 0;   // ceil(2^32 / size): offset * reciprocal >> 32 = object index for offsets of objects
  uint16_t objects = 0;      // per slab
  uint8_t slab_units = 0;    // of kSlabUnitSize
  uint8_t slab_order = 0;    // of pages
  uint16_t cache_slots = 0;  // most objects in a thread cache at the default tcache_bytes
  uint16_t batch = 0;        // objects moved between thread cache and depot at once
  uint32_t slot_offset = 0;  // index of the class's first slot in a thread cache
};

namespace size_class_detail {

// Objects of one class that a thread may keep: small ones by number (a batch then costs 1 ns an object), large ones by
// bytes, and never fewer than 4, so that a loop over a few large buffers stays inside the cache.
inline constexpr size_t kCacheBytes = size_t{64} << 10;
inline constexpr size_t kMostSlots = 256;
inline constexpr size_t kLeastSlots = 4;

// The smallest power of two that loses at most an eighth behind its last object.
constexpr uint8_t slab_units(size_t size) {
  uint8_t units = 1;
  while (units * kSlabUnitSize % size > units * kSlabUnitSize / 8) units = static_cast<uint8_t>(units * 2);
  return units;
}

constexpr SizeClass make(size_t size, uint32_t slot_offset) {
  SizeClass c;
  c.size = static_cast<uint32_t>(size);
  c.slab_units = slab_units(size);
  c.slab_order = static_cast<uint8_t>(kSlabUnitShift - kPageShift + static_cast<unsigned>(__builtin_ctz(c.slab_units)));
  c.slab_mask = static_cast<uint32_t>(c.slab_units * kSlabUnitSize - 1);
  c.reciprocal = static_cast<uint32_t>(((uint64_t{1} << 32) + size - 1) / size);
  c.objects = static_cast<uint16_t>(c.slab_units * kSlabUnitSize / size);
  const size_t slots = kCacheBytes / size;
  c.cache_slots = static_cast<uint16_t>(slots > kMostSlots ? kMostSlots : slots < kLeastSlots ? kLeastSlots : slots);
  c.batch = static_cast<uint16_t>(c.cache_slots / 2);
  c.slot_offset = slot_offset;
  return c;
}

constexpr std::array<SizeClass, kNrSizeClasses> make_all() {
  std::array<SizeClass, kNrSizeClasses> all{};
  uint32_t slot = 0;
  size_t size = 0, step = 16;
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    size += step;
    // One more slot than objects: the first stays null and marks the bottom.
    all[c] = make(size, slot);
    slot += all[c].cache_slots + 1u;
    if (size >= 128 && (size & (size - 1)) == 0) step = size / 8;
  }
  return all;
}

constexpr std::array<uint8_t, kMaxSmallSize / kMinAlignment + 1> make_lookup(
    const std::array<SizeClass, kNrSizeClasses>& classes) {
  std::array<uint8_t, kMaxSmallSize / kMinAlignment + 1> table{};
  unsigned c = 1;
  for (size_t i = 0; i < table.size(); ++i) {
    while (classes[c].size < i * kMinAlignment) ++c;
    table[i] = static_cast<uint8_t>(c);
  }
  return table;
}

}  // namespace size_class_detail

inline constexpr std::array<SizeClass, kNrSizeClasses> kSizeClasses = size_class_detail::make_all();
inline constexpr auto kSizeToClass = size_class_detail::make_lookup(kSizeClasses);
inline constexpr size_t kCacheSlots =
    kSizeClasses[kNrSizeClasses - 1].slot_offset + kSizeClasses[kNrSizeClasses - 1].cache_slots + 1u;
static_assert(kSizeClasses[kNrSizeClasses - 1].size == kMaxSmallSize);

// The class of an object of `size` bytes; size <= kMaxSmallSize.
constexpr size_t class_of_size(size_t size) {
  return kSizeToClass[(size + kMinAlignment - 1) / kMinAlignment];
}

// The same table with the classes as offsets of their bins in a thread cache, one instruction less in every malloc.
inline constexpr size_t kBinBytes = 32;
inline constexpr auto kSizeToBin = [] {
  std::array<uint16_t, kSizeToClass.size()> table{};
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<uint16_t>(kSizeToClass[i] * kBinBytes);
  return table;
}();

// The smallest class that holds `size` bytes at `alignment` (a power of two), or 0 when only a run of pages does.
constexpr size_t class_of_aligned(size_t size, size_t alignment) {
  const size_t least = size > alignment ? size : alignment;
  if (least > kMaxSmallSize) return 0;
  for (size_t c = class_of_size(least); c < kNrSizeClasses; ++c)
    if (kSizeClasses[c].size % alignment == 0) return c;
  return 0;
}

}  // namespace weir
