#include "malloc/own_caches.h"

namespace weir {
namespace {

// Of one class on one node. Objects of transfer caches are taken for the part of a page that they are.
uint64_t unused_bytes(Allocator& allocator, NodeId node, unsigned size_class) {
  NodeDepots& depots = allocator.depots(node);
  // A class that was never used costs a look at a few words.
  if (depots.free_objects_estimate(size_class) == 0) return 0;
  const DepotStats stats = depots.stats(size_class);
  const SizeClass& info = kSizeClasses[size_class];
  return stats.transfer_objects * info.size + stats.empty_slabs * bytes_of(pages_of(Order(info.slab_order)));
}

}  // namespace

Pages count_own_caches(Allocator& allocator) {
  uint64_t bytes = 0;
  for (unsigned n = 0; n < allocator.nr_nodes(); ++n) {
    const NodeId node(static_cast<uint16_t>(n));
    for (unsigned c = 1; allocator.has_zone(node) && c < kNrSizeClasses; ++c) bytes += unused_bytes(allocator, node, c);
  }
  return Pages(bytes >> kPageShift);
}

Pages shrink_own_caches(Allocator& allocator, Pages wanted, unsigned& next, BadPointer& bad) {
  uint64_t bytes = 0;
  for (unsigned seen = 1; seen < kNrSizeClasses && bytes < bytes_of(wanted); ++seen) {
    const unsigned c = next % (kNrSizeClasses - 1) + 1;
    next = c;
    for (unsigned n = 0; n < allocator.nr_nodes(); ++n) {
      const NodeId node(static_cast<uint16_t>(n));
      const uint64_t unused = allocator.has_zone(node) ? unused_bytes(allocator, node, c) : 0;
      if (unused == 0) continue;
      const BadFree found = allocator.depots(node).release(c);
      if (found.object != nullptr) bad = allocator.diagnose(found.object, found.verdict);
      if (found.object != nullptr) return Pages(bytes >> kPageShift);
      bytes += unused;
    }
  }
  return Pages(bytes >> kPageShift);
}

}  // namespace weir
