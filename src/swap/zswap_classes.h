// Purpose: the sizes of the slots that compressed pages lie in.
// Thread safety: constants.
// Invariants: sizes rise and are multiples of 16; slabs of all classes are equally long, so one that was emptied suits
//             any class.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.h"
#include "swap/zswap_handle.h"

namespace weir::zswap {

// 16 pages: the sizes that leave nothing over at the end are 3 to 5% apart where entries are large, with 8 pages twice
// as far. With 32 more memory would lie in slabs that are partly empty.
inline constexpr size_t kSlabBytes = 16 * kPageSize;

// A slab has 18 slots of the largest class: with the checksum, pages that compress to 88% and less are kept. One worth
// keeping saves more of the faults of other pages than it costs itself: with a the time of a fault from the pool and b
// of one from the file, keeping pays below a size of 1 - a / b of a page, 90% for 10 us and 100 us. Without a file
// everything below 100% pays. Heaps hardly care (0.1% of python's, sqlite's and gcc's pages lie between 75% and 100%),
// but pages in which every other half word is random come to 81%.
inline constexpr size_t kMinSlots = 18;

// The smallest slot. Few pages compress to less, and smaller ones would take more bits in each slab.
inline constexpr size_t kMinSlot = 128;
inline constexpr size_t kMaxSlots = kSlabBytes / kMinSlot;
// Between them: sizes that divide a slab evenly, none closer than this to the one before it, which would save less than
// the class's half-empty slab takes. That makes 23 bytes of waste for an entry below 2 KiB, 30 with steps of 48.
inline constexpr size_t kLeastStep = 32;

inline constexpr size_t kMaxClasses = 72;  // room for what these make

struct Classes {
  unsigned count = 0;
  uint16_t size[kMaxClasses] = {};
  uint16_t slots[kMaxClasses] = {};
  constexpr void add(size_t bytes, size_t n) {
    size[count] = static_cast<uint16_t>(bytes);
    slots[count++] = static_cast<uint16_t>(n);
  }
};

constexpr Classes make_classes() {
  Classes c;
  c.add(kMinSlot, kMaxSlots);
  for (size_t n = kMaxSlots; n >= kMinSlots; --n) {
    const size_t bytes = align_down(kSlabBytes / n, size_t{1} << kPlaceShift);
    if (bytes >= c.size[c.count - 1] + kLeastStep || n == kMinSlots) c.add(bytes, kSlabBytes / bytes);
  }
  return c;
}

inline constexpr Classes kClasses = make_classes();
inline constexpr size_t kMaxSlot = kClasses.size[kClasses.count - 1];

// The smallest class for each length, counted in units of 16 bytes.
struct ClassOf {
  uint8_t at[(kMaxSlot >> kPlaceShift) + 1] = {};
};
constexpr ClassOf make_class_of() {
  ClassOf table;
  unsigned c = 0;
  for (size_t unit = 0; unit <= kMaxSlot >> kPlaceShift; ++unit) {
    while (kClasses.size[c] < unit << kPlaceShift) ++c;
    table.at[unit] = static_cast<uint8_t>(c);
  }
  return table;
}
inline constexpr ClassOf kClassOf = make_class_of();

// `bytes` is 1..kMaxSlot.
constexpr unsigned class_of(size_t bytes) {
  return kClassOf.at[(bytes + (size_t{1} << kPlaceShift) - 1) >> kPlaceShift];
}

}  // namespace weir::zswap
