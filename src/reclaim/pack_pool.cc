// How the compressed pool is compacted (the part of NodeReclaim that does it; kernel: zs_compact). The pool does not
// know whose its entries are, so all clusters are gone through, a few at a time: of those that are compressed, entries
// in slabs that are partly empty go to fuller ones.
//
// Thread safety: weir's own threads, several at a time, while evictions are allowed (never across a fork).
// Invariants: an entry is moved by who has its page claimed, so that nobody loads or drops it meanwhile.
#include <bit>

#include "reclaim/node.h"

namespace weir {
namespace {

// Clusters that are looked at before others have their turn: 16 MiB of pages, at most 4 ms of copying.
constexpr unsigned kClusters = 64;

}  // namespace

// Moves the entries of one cluster; returns how many were.
unsigned NodeReclaim::pack_cluster(ClusterId c) {
  Cluster& cluster = map_[c];
  const uint64_t mine = claim(c, cluster.swapped.load() & cluster.allocated.load());
  const uint64_t swapped = mine & cluster.swapped.load();
  uint64_t handles[kClusterPages] = {};
  for (uint64_t left = swapped; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    const SwapEntry entry = map_.entry(c * kClusterPages + i);
    if (entry.kind() == SwapEntry::Kind::kZswap) handles[i] = entry.handle();
  }
  const unsigned moved = swapped != 0 ? pool_.pack(handles, kClusterPages) : 0;
  for (uint64_t left = moved != 0 ? swapped : 0; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    if (handles[i] != 0) map_.entry(c * kClusterPages + i) = SwapEntry(SwapEntry::Kind::kZswap, handles[i]);
  }
  release(c, mine);
  return moved;
}

// Returns the pages that the pool gave back.
Pages NodeReclaim::pack_pool() {
  const auto end = static_cast<ClusterId>(zone_->accessible_estimate().v / kClusterPages);
  if (end == 0) return Pages(0);
  unsigned moved = 0;
  for (unsigned i = 0; i < kClusters; ++i) {
    // Several threads may be at it: each takes another cluster.
    const ClusterId c = pack_next_.fetch_add(1, std::memory_order_relaxed) % end;
    if (map_[c].swapped.load(std::memory_order_relaxed) != 0) moved += pack_cluster(c);
  }
  count(counters_->zswap_moved, moved);
  return moved != 0 ? trim_pool() : Pages(0);
}

}  // namespace weir
