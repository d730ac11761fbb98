// Purpose: wakes the one thread that waits for work.
// Thread safety: ring() by any thread; look() and wait() by the one that waits.
// Invariants: what was rung for between look() and wait() is not slept through.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/port.h"
#include "os/service_thread.h"

namespace weir {

class Bell {
 public:
  void ring() {
    word_.fetch_add(1);
    if (asleep_.exchange(false)) port::futex_wake(word_, 1);
  }
  // Before looking for work; what it returns is for wait().
  uint32_t look() const { return word_.load(std::memory_order_acquire); }
  void wait(uint32_t seen, uint64_t ms) {
    asleep_.store(true);
    os::futex_wait_ms(word_, seen, ms);
    asleep_.store(false);
  }

 private:
  std::atomic<uint32_t> word_{0};
  std::atomic<bool> asleep_{false};
};

}  // namespace weir
