// Purpose: an array with one element for each slot of a swap file that may be very large: address space for all of it,
//          memory as it is used.
// Thread safety: growing by one thread at a time; elements below size() are the owner's matter.
// Invariants: elements start as zeros and never move. Nothing here counts towards limits before `grow`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/vm.h"

namespace weir {

template <class T>
class SwapArray {
 public:
  constexpr SwapArray() = default;
  SwapArray(const SwapArray&) = delete;
  SwapArray& operator=(const SwapArray&) = delete;

  [[nodiscard]] bool reserve(uint64_t capacity) {
    bytes_ = align_up(capacity * sizeof(T), kPageSize);
    data_ = static_cast<T*>(os::vm_reserve(bytes_));
    if (data_ == nullptr) bytes_ = 0;
    return data_ != nullptr;
  }
  // Makes the elements below `size` usable; false when the system refuses the memory.
  [[nodiscard]] bool grow(uint64_t size) {
    const size_t wanted = align_up(size * sizeof(T), kPageSize);
    if (wanted <= usable_) return true;
    if (wanted > bytes_) return false;
    if (!os::vm_commit(reinterpret_cast<char*>(data_) + usable_, wanted - usable_)) return false;
    usable_ = wanted;
    return true;
  }
  void release() {
    if (data_ != nullptr) os::vm_unmap(data_, bytes_);
    data_ = nullptr;
    bytes_ = usable_ = 0;
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](uint64_t i) { return data_[i]; }
  const T& operator[](uint64_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  size_t bytes_ = 0;   // reserved
  size_t usable_ = 0;  // of these, committed
};

}  // namespace weir
