// Purpose: making a limited allocator do what a test is about: pushing pages out, and waiting until weir's threads are
//          done with what they do.
// Thread safety: one thread, while no other one of the program works with the allocator.
#pragma once

#include <sched.h>
#include <unistd.h>

#include "os/file.h"
#include "os/uffd.h"
#include "os/vm.h"
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

// Whether pages are moved out (UFFDIO_MOVE, Linux 6.8), or only lifted.
inline bool moves_pages(LimitedAllocator& a) {
  static const bool kernel_does = [] {
    os::UffdFeatures features;
    const int fd = os::uffd_open(-1, features);
    if (fd >= 0) os::close_descriptor(fd);
    return fd >= 0 && features.move;
  }();
  return kernel_does && a.options().uffd_move;
}

// The last pages that each processor faulted in (15, or 31 since Linux 6.12) are not on the kernel's lists yet, and
// cannot be lifted before they are: asking for memory back puts those of this processor there.
inline void list_all_pages() {
  cpu_set_t before;
  if (sched_getaffinity(0, sizeof before, &before) != 0) return;
  auto* const page = static_cast<char*>(os::vm_map(kPageSize));
  for (int cpu = 0; page != nullptr && cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) == 0) os::vm_page_out(page, kPageSize);
  }
  if (page != nullptr) os::vm_unmap(page, kPageSize);
  sched_setaffinity(0, sizeof before, &before);
}

// Lowers the limit to `managed` until `done()`, then puts it back; afterwards pages stay where they are until they are
// touched. False when it does not come to that.
template <class Done>
[[nodiscard]] bool squeeze(LimitedAllocator& a, Pages managed, Done done) {
  Zone& zone = a.zone();
  const Pages before = zone.managed();
  zone.set_managed(managed);
  const bool reached = wait_until([&] {
    if (!moves_pages(a)) list_all_pages();
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
