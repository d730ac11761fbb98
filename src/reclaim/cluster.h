// Purpose: the state of pages under a limit, by clusters: 64 pages that are aged, unmapped and written out together, so
//          that the state of all of them is a few words of bits.
// Thread safety: the masks are atomic. A page's bits other than `allocated` and `active` are changed only by who set
//                its `busy` bit; links are guarded by the lock of the node's lists.
// Invariants (for a page whose busy bit is clear):
//   resident (the zone's map)  counted as memory: it may be at its address, or it is at its staging address (standby)
//   standby                    at its staging address and not at its own; resident
//   swapped                    its entry says where it is; neither resident nor standby
//   clean                      at its address, write-protected, and its entry says where a copy of it is; resident
//   none of them               never touched, or dropped: reads as zeros
//   garbage                    its staging address holds memory that nobody needs; counted as outside the arena
//   unevictable                not unmapped, and not written when it was in Standby already; changed without busy
//   rejected                   was found not to compress, and is where it was: only a file can take it
//   A page of an allocated block that is not resident lies in an armed pageblock, so that its touch is seen; or no
//   touches are, and it is looked for (page_out.cc).
// Transitions, each by the holder of busy: resident -> standby (unmapped by kswapd) -> swapped (written) -> resident
// (touched); standby -> resident (touched); resident -> swapped (lifted). Touched by reading: resident and clean ->
// swapped (its memory dropped), or resident only (written).
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "base/bitmap.h"
#include "base/units.h"
#include "reclaim/rounds.h"
#include "swap/swap_entry.h"

namespace weir {

inline constexpr unsigned kClusterShift = 6;
inline constexpr unsigned kClusterPages = 1u << kClusterShift;
inline constexpr size_t kClusterBytes = kClusterPages * kPageSize;
inline constexpr unsigned kClustersPerPageblock = kPageblockPages / kClusterPages;

using ClusterId = uint32_t;
inline constexpr ClusterId kNoCluster = ~ClusterId{0};

constexpr ClusterId cluster_of(Pfn pfn) {
  return pfn >> kClusterShift;
}
constexpr uint64_t page_bit(Pfn pfn) {
  return uint64_t{1} << (pfn % kClusterPages);
}

// One cache line, so that a fault looks at one.
struct alignas(64) Cluster {
  std::atomic<uint64_t> allocated;  // belong to a block or run that was given out
  std::atomic<uint64_t> busy;       // in transition, owned by one actor
  std::atomic<uint64_t> standby;
  std::atomic<uint64_t> swapped;
  std::atomic<uint64_t> active;   // stay when their turn comes, for as long as ClusterMore::rounds says
  std::atomic<uint64_t> garbage;  //
  std::atomic<uint64_t> wanted;   // touched while busy: the owner wakes who waits
  std::atomic<bool> owned;        // an evictor works on it
  std::atomic<bool> listed;       // on the list of clusters with present pages
  std::atomic<bool> on_standby;   // on the list of clusters with standby pages
  bool on_zswap;                  // on the list of clusters with compressed pages, in the order of writing
};
static_assert(sizeof(Cluster) == 64);

// What a touch of a present page never needs, and so not part of the line above. What a fault needs comes first: one
// line.
struct alignas(64) ClusterMore {
  std::atomic<uint64_t> clean;
  Rounds rounds;
  std::atomic<uint64_t> rejected;
  std::atomic<uint64_t> rejected_ms;  // when one of them was the last time
  std::atomic<uint64_t> unevictable;  // stay in memory as long as they are allocated
  std::atomic<uint64_t> retired;      // of an owner that was emptied: touching them is an error
  std::atomic<uint64_t> foreign;      // the program has mapped something else there: they are nobody's here any more
  std::atomic<uint64_t> executable;   // their staging addresses are: pages move only between those of equal rights
};

// Pages [first, end) of a cluster.
struct BitRun {
  unsigned first, end;
};

// The first run of set bits at or after `from`; both ends kClusterPages when there is none.
constexpr BitRun next_run(uint64_t mask, unsigned from) {
  if (from >= kClusterPages || mask >> from == 0) return {kClusterPages, kClusterPages};
  const unsigned first = from + static_cast<unsigned>(std::countr_zero(mask >> from));
  const uint64_t inverted = ~mask >> first;
  return {first, inverted == 0 ? kClusterPages : first + static_cast<unsigned>(std::countr_zero(inverted))};
}

constexpr uint64_t run_mask(BitRun run) {
  const unsigned length = run.end - run.first;
  return (length == kClusterPages ? ~uint64_t{0} : (uint64_t{1} << length) - 1) << run.first;
}

// Calls visit(cluster, mask) for each cluster that the pages [first, first + count) touch.
template <class Visit>
void for_clusters(Pfn first, Pages count, Visit visit) {
  uint64_t left = count.v;
  while (left != 0) {
    const unsigned shift = first % kClusterPages;
    const uint64_t here = left < kClusterPages - shift ? left : kClusterPages - shift;
    visit(cluster_of(first), bitmap::low_mask(here) << shift);
    first += static_cast<Pfn>(here);
    left -= here;
  }
}

// Of pages that belong to nobody (page/page_owner.h).
inline constexpr uint16_t kNoOwner = 0;

struct ClusterLinks {
  ClusterId next[3];
  ClusterId prev[3];
};

// The clusters of one arena and the swap entries of its pages; memory appears as it is used.
class ClusterMap {
 public:
  // Address space for an arena of that many pages; false when there is none.
  [[nodiscard]] bool init(Pages capacity);
  void destroy();
  // Makes the state of the first `accessible` pages usable.
  [[nodiscard]] bool cover(Pages accessible);

  Cluster& operator[](ClusterId c) const { return clusters_[c]; }
  ClusterLinks& links(ClusterId c) const { return links_[c]; }
  SwapEntry& entry(Pfn pfn) const { return entries_[pfn]; }
  ClusterMore& more(ClusterId c) const { return more_[c]; }
  // Has the processor fetch what a fault on this page looks at, which nobody has lately: some four lines.
  void prefetch(Pfn pfn) const {
    __builtin_prefetch(&clusters_[cluster_of(pfn)], 1);
    __builtin_prefetch(&more_[cluster_of(pfn)]);
    __builtin_prefetch(&entries_[pfn], 1);
    __builtin_prefetch(&evicted_[pfn]);
  }
  // Low bits of the node's count of evicted pages, in units of 2^kEvictedShift, when this page was the last time.
  static constexpr unsigned kEvictedShift = 8;
  std::atomic<uint16_t>& evicted_at(Pfn pfn) const { return evicted_[pfn]; }
  // Index of the owner of an allocated page; kNoOwner.
  std::atomic<uint16_t>& owner(Pfn pfn) const { return owners_[pfn]; }
  Pages covered() const { return covered_; }

 private:
  char* memory_ = nullptr;
  size_t bytes_ = 0;
  Cluster* clusters_ = nullptr;
  ClusterLinks* links_ = nullptr;
  ClusterMore* more_ = nullptr;
  std::atomic<uint16_t>* evicted_ = nullptr;
  std::atomic<uint16_t>* owners_ = nullptr;
  SwapEntry* entries_ = nullptr;
  Pages covered_{};
};

// Lists of clusters, first in, first out. The lock of the owner guards them.
class ClusterList {
 public:
  enum Kind : uint8_t { kPresent = 0, kStandby = 1, kZswap = 2 };
  constexpr explicit ClusterList(Kind kind) : kind_(kind) {}
  void push(const ClusterMap& map, ClusterId c);
  void remove(const ClusterMap& map, ClusterId c);
  ClusterId oldest() const { return oldest_; }
  uint32_t size() const { return size_; }

 private:
  Kind kind_;
  ClusterId newest_ = kNoCluster;
  ClusterId oldest_ = kNoCluster;
  uint32_t size_ = 0;
};

}  // namespace weir
