// Purpose: address -> size class, the one look-up that free() needs: a byte per 16 KiB of all arenas.
// Thread safety: look-ups from any thread, without a lock; entries are written by whoever owns the unit, before its
//                first object is given out and after its last came back.
// Invariants: an entry is the class of the slab that covers the unit, or 0 (free, a large run, not yet used). The whole
//             map is readable at all times, so any pointer may be looked up.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "malloc/size_class.h"

namespace weir {

class AddressMap {
 public:
  // Covers `bytes` of address space from `base`; `grain`: stretches that grow separately (one per node).
  [[nodiscard]] bool init(char* base, size_t bytes);

  void destroy();

  // Bytes from the start of the arenas; at or above covered() for foreign pointers.
  size_t offset_of(const void* p) const { return static_cast<size_t>(static_cast<const char*>(p) - base_); }
  size_t covered() const { return covered_; }
  size_t class_at(size_t offset) const {
    return __atomic_load_n(&classes_[offset >> kSlabUnitShift], __ATOMIC_RELAXED);
  }

  // Sets the class of `units` units from the one at `slab`; false when the map cannot be made writable there.
  [[nodiscard]] bool set(const void* slab, unsigned units, size_t size_class);

 private:
  char* base_ = nullptr;
  size_t covered_ = 0;
  uint8_t* classes_ = nullptr;
  // One bit per page of the map that is writable already; null for maps of a single page.
  std::atomic<uint64_t>* writable_ = nullptr;
};

}  // namespace weir
