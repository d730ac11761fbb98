// Purpose: where kswapd unmaps pages. Taking pages out of the page tables interrupts every other processor that runs
//          the program, once for each run of neighbours: with one thread that faults, on another processor, that costs
//          more than all the rest of reclaim (17 to 24 us in a virtual machine, 1 on the same processor). So kswapd
//          goes to the thread's processor to unmap some hundred pages, and away from it to compress and write them,
//          unless the runs are long.
// Thread safety: note() from any handler; enter() and leave() by one kswapd.
#pragma once

#include <atomic>

#include "os/service_thread.h"

namespace weir {

// The processor of the only thread that has faulted lately.
class BusyCpu {
 public:
  static constexpr int kNone = -1;
  // `cpu`: kNone when there are several threads. Costs a store only when it changes.
  void note(int cpu) {
    if (cpu_.load(std::memory_order_relaxed) != cpu) cpu_.store(cpu, std::memory_order_relaxed);
  }
  int get() const { return cpu_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int> cpu_{kNone};
};

class UnmapPlace {
 public:
  UnmapPlace() = default;
  explicit UnmapPlace(const BusyCpu& busy) : busy_(&busy) {}
  // Before pages are unmapped: goes to where that interrupts nobody, if there is such a place.
  void enter();
  // Goes where the thread is not in the way; what it may run on is what it could at first.
  void leave();
  // Which pages of a cluster were unmapped.
  void note(uint64_t unmapped);

 private:
  const BusyCpu* busy_ = nullptr;
  os::CpuMask all_;
  int cpu_ = BusyCpu::kNone;       // where it is now
  bool known_ = false;             // all_ is
  uint64_t pages_ = 0, runs_ = 0;  // that were unmapped lately
};

}  // namespace weir
