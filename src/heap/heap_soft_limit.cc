// Which heap loses pages first when its node is short of them (the part of HeapRegistry that finds it).
#include <algorithm>

#include "heap/heap_registry.h"
#include "os/proc.h"

namespace weir {
namespace {

// So many heaps are looked at each time: some microseconds, where freeing a batch of pages takes hundreds.
constexpr uint32_t kFewPlaces = 256;
// With more, the order is one of some time ago: looking at 10,000 heaps takes 0.3 ms, and kswapd frees pages faster
// than that. In this time it frees some thousand pages, which those that were ranked have to give.
constexpr uint64_t kRankedForMs = 20;

}  // namespace

void HeapRegistry::rank_by_soft_excess(NodeId node) {
  struct Entry {
    Pages excess;
    uint16_t index;
    bool operator<(const Entry& other) const { return excess > other.excess; }
  };
  // The least one on top, as long as it is being filled.
  Entry entries[Ranked::kMost];
  uint32_t count = 0;
  for_places([&](Heap& heap) {
    if (!heap.is_open() || heap.node() != node) return;
    const Entry entry{heap.soft_excess(), static_cast<uint16_t>(heap.owner().index())};
    if (entry.excess.v == 0 || (count == Ranked::kMost && !(entry < entries[0]))) return;
    if (count == Ranked::kMost) std::pop_heap(entries, entries + count--);
    entries[count++] = entry;
    std::push_heap(entries, entries + count);
  });
  Ranked& ranked = ranked_[node.v];
  ranked.count = count;
  ranked.ranked_at_ms = os::now_ms();
  for (uint32_t i = 0; i < count; ++i) ranked.heaps[i] = entries[i].index;
}

PageOwner* HeapRegistry::most_over_soft_limit(NodeId node, Pages& excess) {
  PageOwner* most = nullptr;
  if (!has_soft_limits_.load(std::memory_order_relaxed)) return most;
  excess = Pages(0);
  const auto look_at = [&](Heap& heap) {
    if (!heap.is_open() || heap.node() != node || heap.soft_excess() <= excess) return;
    excess = heap.soft_excess();
    most = &heap.owner();
  };
  if (nr_places() <= kFewPlaces) {
    for_places(look_at);
    return most;
  }
  Ranked& ranked = ranked_[node.v];
  const auto look_at_ranked = [&] {
    for (uint32_t i = 0; i < ranked.count; ++i) look_at(*at(ranked.heaps[i]));
  };
  const bool is_old = os::now_ms() - ranked.ranked_at_ms >= kRankedForMs;
  if (!is_old) look_at_ranked();
  // All that were ranked have given what they had, and there were more.
  if (!is_old && (most != nullptr || ranked.count < Ranked::kMost)) return most;
  rank_by_soft_excess(node);
  look_at_ranked();
  return most;
}

}  // namespace weir
