// Purpose: memory for pages on their way to the disk in another form than the program's: encrypted ones.
// Thread safety: any thread. Invariants: there are always buffers for kPooled transfers at once; more come from the
//                system for as long as they are used.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.h"
#include "os/vm.h"

namespace weir {

class SwapBounce {
 public:
  // Room for one run of slots.
  static constexpr size_t kBytes = 64 * kPageSize;
  // Writers are kswapd of some nodes and now and then a thread in direct reclaim.
  static constexpr unsigned kPooled = 4;

  constexpr SwapBounce() = default;
  // Only address space until it is used.
  [[nodiscard]] bool open() {
    pool_ = static_cast<char*>(os::vm_map(kPooled * kBytes));
    free_.store((1u << kPooled) - 1, std::memory_order_relaxed);
    return pool_ != nullptr;
  }
  void close() {
    if (pool_ != nullptr) os::vm_unmap(pool_, kPooled * kBytes);
    pool_ = nullptr;
  }

  // Null when the pool is taken and the system has no memory.
  [[nodiscard]] void* take() {
    uint32_t free = free_.load(std::memory_order_relaxed);
    while (free != 0) {
      const uint32_t lowest = free & (0 - free);
      if (free_.compare_exchange_weak(free, free & ~lowest, std::memory_order_acquire))
        return pool_ + static_cast<size_t>(__builtin_ctz(lowest)) * kBytes;
    }
    void* buffer = os::vm_map(kBytes);
    extra_.fetch_add(1, std::memory_order_acquire);
    return buffer;
  }
  void give(void* buffer) {
    const size_t offset = static_cast<size_t>(static_cast<char*>(buffer) - pool_);
    if (static_cast<char*>(buffer) >= pool_ && offset < kPooled * kBytes) {
      free_.fetch_or(1u << (offset / kBytes), std::memory_order_release);
      return;
    }
    extra_.fetch_sub(1, std::memory_order_release);
    os::vm_unmap(buffer, kBytes);
  }

 private:
  char* pool_ = nullptr;
  std::atomic<uint32_t> free_{0};
  // Buffers outside the pool. The next one may lie where the last one did; the system orders that, and this says so to
  // ThreadSanitizer, which does not see system calls.
  std::atomic<uint32_t> extra_{0};
};

}  // namespace weir
