// Purpose: making a limited allocator do what a test is about: pushing pages out, and waiting until weir's threads are
//          done with what they do.
// Thread safety: one thread, while no other one of the program works with the allocator.
#pragma once

#include <unistd.h>

#include "support/settled.h"

namespace weir {

// Waits until `done()` is true; false when it does not become so within a minute.
template <class Done>
[[nodiscard]] bool wait_until(Done done) {
  constexpr int kTries = 60000;
  for (int i = 0; i < kTries; ++i) {
    if (done()) return true;
    usleep(1000);
  }
  return false;
}

// Until nothing is under way any more: faults are counted after the thread that waited for them goes on.
inline void settle(LimitedAllocator& a) {
  const StandStill still(a.reclaimer());
}

inline ReclaimStats settled_stats(LimitedAllocator& a) {
  settle(a);
  return a.reclaimer().stats();
}

// Lowers the limit to `managed` until `done()`, then puts it back; afterwards pages stay where they are until they are
// touched. False when it does not come to that.
template <class Done>
[[nodiscard]] bool squeeze(LimitedAllocator& a, Pages managed, Done done) {
  Zone& zone = a.zone();
  const Pages before = zone.managed();
  zone.set_managed(managed);
  const bool reached = wait_until([&] {
    a.reclaimer().wake_kswapd(zone.node());
    return done();
  });
  zone.set_managed(before);
  settle(a);
  return reached;
}

// Null, or what is wrong with the allocator, its state of pages, or what the kernel has.
inline const char* find_fault(LimitedAllocator& a) {
  if (const char* wrong = a.allocator().verify()) return wrong;
  return compare_with_kernel(a);
}

}  // namespace weir
