// Purpose: looking at a limited allocator while no thread of the program works with it: a comparison of what is counted
//          with what the kernel says.
// Thread safety: one thread, while all others stand still.
#pragma once

#include "os/vm.h"
#include "support/private_allocator.h"

namespace weir {

// Keeps evictions and faults out as long as it lives.
class StandStill {
 public:
  explicit StandStill(Reclaimer& reclaimer) : reclaimer_(reclaimer) {
    reclaimer_.stop_evictions();
    while (!reclaimer_.stop_faults()) {
    }
  }
  ~StandStill() { reclaimer_.go_on(); }
  StandStill(const StandStill&) = delete;
  StandStill& operator=(const StandStill&) = delete;

 private:
  Reclaimer& reclaimer_;
};

// Null, or what differs: memory that is not counted (the limit is not kept), or content that is nowhere.
inline const char* compare_with_kernel(LimitedAllocator& a) {
  const StandStill still(a.reclaimer());
  NodeReclaim& node = a.node();
  const ClusterId end = static_cast<ClusterId>(node.zone().accessible_estimate().v / kClusterPages);
  for (ClusterId c = 0; c < end; ++c) {
    const Pfn first = c * kClusterPages;
    const Cluster& m = node.cluster(c);
    // In this order: kswapd may give free pages back, of which it says so afterwards.
    const uint64_t counted = node.zone().resident_mask(c);
    const uint64_t there = os::vm_resident_mask(node.zone().address(first), kClusterPages);
    if ((there & ~counted) != 0) return "a page has memory and is not counted";
    if ((there & (m.standby.load() | m.swapped.load())) != 0) return "a page is at its address and away";
    if (!node.is_armed(c / kClustersPerPageblock)) continue;
    const uint64_t staged = os::vm_resident_mask(node.staging_address(first), kClusterPages);
    if ((staged & ~(m.standby.load() | m.garbage.load())) != 0) return "staging memory is not counted";
    if ((m.standby.load() & ~staged) != 0) return "a standby page has no memory";
  }
  return nullptr;
}

}  // namespace weir
