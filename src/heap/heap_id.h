// Purpose: what a program has of a heap: a value that names a place and the heap that was made there.
// Thread safety: values. Invariants: no two heaps of a process ever have the same.
#pragma once

#include <cstdint>

namespace weir {

// 0: none.
struct HeapId {
  uint64_t bits = 0;
  static constexpr unsigned kIndexBits = 16;
  static constexpr HeapId of(uint32_t index, uint64_t generation) { return {generation << kIndexBits | index}; }
  uint32_t index() const { return bits & ((1u << kIndexBits) - 1); }
  uint64_t generation() const { return bits >> kIndexBits; }
  bool operator==(const HeapId&) const = default;
  explicit operator bool() const { return bits != 0; }
};

}  // namespace weir
