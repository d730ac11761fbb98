// What is done when a heap is at its limit, before its allocations fail (the part of HeapRegistry that does it).
#include "heap/heap_registry.h"

namespace weir {
namespace {

// Waking kswapd costs as much as some pages do: it takes a little more than is wanted, but no large part of the heap.
Pages batch_of(const PageOwner& owner, Pages wanted) {
  constexpr uint64_t kMost = 512, kShare = 32;
  const uint64_t part = owner.limit() / kShare;
  return wanted + Pages(part < kMost ? part : kMost);
}

}  // namespace

// What is done when a heap is at its limit, before its allocations fail: what it holds and does not use goes back; then
// reclaim within it. Whether so many pages can be charged now.
bool HeapRegistry::make_room(Heap& heap, Pages pages) {
  heap.trim();
  return heap.owner().has_room(pages) || reclaim_within(heap, pages);
}

// Its cold pages leave memory, and its shrinkers are asked, the more urgently the less came of it (kernel: mm/vmscan.c,
// do_try_to_free_pages for a memory cgroup).
bool HeapRegistry::reclaim_within(Heap& heap, Pages pages) {
  PageOwner& owner = heap.owner();
  const uint64_t id = HeapId::of(owner.index(), heap.generation()).bits;
  const bool has_shrinkers = shrinkers_ != nullptr && shrinkers_->has_heap(id);
  unsigned priority = Shrinkers::kFirstPriority;
  Reclaimer* reclaimer = allocator_->reclaimer();
  if (pages.v > owner.limit() || owner.is_capped()) return false;
  for (unsigned tries = 0; tries < kMostTries; ++tries) {
    const Pages freed =
        reclaimer != nullptr ? reclaimer->reclaim_owner(heap.node(), owner, batch_of(owner, pages)) : Pages(0);
    if (owner.has_room(pages)) return true;
    if (freed.v == 0 && !has_shrinkers) break;
    if (!has_shrinkers) continue;
    shrinkers_->shrink_heap(id, priority);
    heap.trim();
    if (owner.has_room(pages)) return true;
    if (freed.v == 0 && priority-- == 0) break;
  }
  return false;
}

}  // namespace weir
