// Purpose: the depots of one node. Small classes have several each, the lanes, and threads are spread over these: an
//          object comes back to a processor that had it before, and threads share neither the lock nor the cache lines
//          of a depot while there is enough for everybody.
// Thread safety: any thread, unless a comment says otherwise. Two depots' locks are never held at once, but by fork.
// Invariants: a slab belongs to the lane that made it, and its bitmap knows all of its objects; transfer caches hold
//             objects of any lane.
#pragma once

#include <atomic>
#include <cstdint>

#include "malloc/depot.h"

namespace weir {

class StatsPage;

class NodeDepots {
 public:
  // As many as threads are likely to be busy at the same time and few enough for what each keeps from the others
  // (kSurplusSlabs). A power of two.
  static constexpr unsigned kLanes = 4;
  // Larger objects are cache lines of their own, and rarer.
  static constexpr size_t kLargestInLanes = 512;

  // The first lane only: most programs have one thread. `published`: may be null. `keep_bytes`: of slabs without
  // objects, for each lane when there are several.
  void init(PageSource& source, AddressMap& map, NodeId node, const StatsPage* published, size_t keep_bytes);
  // Before a thread uses this lane; by one thread at a time.
  void open_lane(unsigned lane);

  // As Depot::refill, for a thread of this lane: from the lane itself, from others that have plenty, from the node's
  // pages, from whoever has something left. `most`: how far that goes.
  [[nodiscard]] unsigned refill(size_t size_class, void** out, unsigned want, unsigned lane, bool apart,
                                Depot::Grow most = Depot::Grow::kOrWait);
  [[nodiscard]] BadFree flush(size_t size_class, void* const* objects, unsigned count, unsigned lane);
  // Straight into their slabs, so that every mistake is found at once.
  [[nodiscard]] BadFree flush_checked(size_t size_class, void* const* objects, unsigned count);
  FreeVerdict check(size_t size_class, void* object) { return owner(size_class, object).check(object); }

  // Ends a decay tick of all depots that have anything; `released` as of Depot::purge_slabs.
  [[nodiscard]] BadFree decay_tick(Pages& released);
  // Gives back everything that is free.
  [[nodiscard]] BadFree release_all();
  // The same of one class.
  [[nodiscard]] BadFree release(size_t size_class);
  // Gives the slabs without objects back; false: there were none.
  bool release_empty();

  // Estimates without locks.
  uint64_t free_objects_estimate(size_t size_class) const;
  size_t free_bytes_estimate() const;
  DepotStats stats(size_t size_class);

  void lock_for_fork() WEIR_NO_TSA;
  void unlock_for_fork() WEIR_NO_TSA;
  // With the locks held: null when all agrees; `pages` grows by the pages of all slabs.
  const char* verify_locked(Pages& pages) const WEIR_NO_TSA;
  void publish_all() WEIR_NO_TSA;

 private:
  unsigned lanes_of(size_t size_class) const {
    return kSizeClasses[size_class].size <= kLargestInLanes ? nr_lanes_.load(std::memory_order_acquire) : 1;
  }
  Depot& owner(size_t size_class, const void* object) {
    Depot& any = depots_[0][size_class];
    return lanes_of(size_class) == 1 ? any : depots_[any.lane_of(object)][size_class];
  }
  unsigned refill_from_others(size_t size_class, void** out, unsigned want, unsigned lane, bool plenty);
  BadFree give(size_t size_class, void* const* objects, unsigned count, Depot::Use use);
  BadFree empty_transfer(size_t size_class, Depot& depot, Depot::Transfer which);
  void init_lane(unsigned lane);
  template <class Each>
  void for_each(Each each) {
    for (unsigned lane = 0; lane < kLanes; ++lane)
      for (unsigned c = 1; c < kNrSizeClasses && lane < lanes_of(c); ++c) each(depots_[lane][c], c);
  }

  PageSource* source_ = nullptr;
  AddressMap* map_ = nullptr;
  const StatsPage* published_ = nullptr;
  NodeId node_{};
  size_t keep_bytes_ = 0;
  std::atomic<unsigned> nr_lanes_{1};
  KeptSlabs kept_[kLanes];
  Depot depots_[kLanes][kNrSizeClasses];
  // Touched where they are used.
  void* transfer_[kLanes][kNrSizeClasses][Depot::kTransferSlots];
};

}  // namespace weir
