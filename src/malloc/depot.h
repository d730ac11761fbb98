// Purpose: the slabs of one size class on one node, and a transfer cache that hands whole batches of objects from
// threads
//          that free to threads that allocate.
// Thread safety: all public methods from any thread; one lock (LockRank::kDepot), taken once a batch. The zone's lock
//                is taken inside it.
// Invariants: every slab with a free object is on the list, every other is not. Objects in the transfer cache and in
//             thread caches count as allocated in their slab's bitmap. Objects are never read or written.
#pragma once

#include <cstdint>

#include "base/lock.h"
#include "base/publish.h"
#include "malloc/address_map.h"
#include "malloc/slab.h"
#include "mm/page_source.h"
#include "weir/stats_page.h"

namespace weir {

// The first object of a batch that could not be given back, and why.
struct BadFree {
  void* object = nullptr;
  FreeVerdict verdict = FreeVerdict::kOk;
};

struct DepotStats {
  uint64_t slabs = 0;
  uint64_t free_objects = 0;  // in slabs
  uint64_t transfer_objects = 0;
  uint64_t empty_slabs = 0;
};

class Depot {
 public:
  // Four batches: two threads can hand over in turns without touching slabs.
  static constexpr unsigned kTransferBatches = 4;
  static constexpr unsigned kTransferSlots = kTransferBatches * size_class_detail::kMostSlots / 2;

  Depot() : mutex_(LockRank::kDepot) {}
  // `transfer`: room for kTransferSlots pointers, outside this class so that depots nobody uses cost no page each.
  // `published`: where its numbers are shown to other processes; null: nowhere.
  void init(PageSource& source, AddressMap& map, NodeId node, size_t size_class, void** transfer,
            weir_stats_slab* published = nullptr);

  // Takes 1..want objects, stored so that the lowest address comes last (is popped first); 0 = no memory on this node.
  // `apart`: from a stretch where nobody else has objects, where that is to be had.
  [[nodiscard]] unsigned refill(void** out, unsigned want, bool apart = false);
  // Takes `count` objects of this class and node back.
  [[nodiscard]] BadFree flush(void* const* objects, unsigned count);
  // As flush, but straight into the slabs, so that every mistake is found at once.
  [[nodiscard]] BadFree flush_checked(void* const* objects, unsigned count);
  // What flush_checked would say of `object`; nothing changes.
  FreeVerdict check(const void* object);

  // Ends a decay tick: what lay unused in the transfer cache goes to the slabs, pages of idle slabs that hold no object
  // go back to the system, an empty slab to the zone. A mistake of the program may only come to light here.
  // `released` grows by the pages of slabs that went to the zone: they have been unused for long enough already.
  [[nodiscard]] BadFree decay_tick(Pages& released);
  // All of that at once, regardless of age.
  [[nodiscard]] BadFree release_all();

  // Free bytes in slabs and transfer cache; an estimate without the lock.
  uint64_t free_objects_estimate() const { return free_objects_.load(std::memory_order_relaxed); }
  size_t free_bytes_estimate() const { return free_objects_estimate() * size_t{kSizeClasses[size_class_].size}; }
  DepotStats stats();
  // Null when all agrees, else what does not; `pages` grows by the pages of all slabs. The caller holds the lock.
  const char* verify_locked(Pages& pages) const WEIR_REQUIRES(mutex_);
  Mutex& mutex() { return mutex_; }
  // Shows everything, in the child of a fork. The caller holds the lock.
  void publish_all() WEIR_REQUIRES(mutex_) {
    if (nr_slabs_ != 0) publish_slabs();
  }

 private:
  Zone& zone() const { return source_->zone(node_); }
  SlabView view(UnitIndex unit) const;
  SlabView view_of(const void* object) const;
  UnitIndex unit_of(const SlabView& slab) const;
  bool add_slab() WEIR_REQUIRES(mutex_);
  PageRequest slab_request() const;
  bool wait_for_slab() WEIR_REQUIRES(mutex_);
  void release_slab(SlabView slab) WEIR_REQUIRES(mutex_);
  void link(SlabView slab) WEIR_REQUIRES(mutex_);
  void unlink(SlabView slab) WEIR_REQUIRES(mutex_);
  // `in_use`: the program is using the slabs now; otherwise their age stays.
  BadFree give_to_slabs(void* const* objects, unsigned count, bool in_use) WEIR_REQUIRES(mutex_);
  void purge_idle_pages(SlabView slab) WEIR_REQUIRES(mutex_);
  Pages purge_slabs(unsigned min_idle_ticks);
  [[nodiscard]] BadFree age_transfer();
  void count_free(int64_t change) WEIR_REQUIRES(mutex_) {
    const uint64_t now = free_objects_.load(std::memory_order_relaxed) + static_cast<uint64_t>(change);
    free_objects_.store(now, std::memory_order_relaxed);
    if (published_ != nullptr) publish(published_->free_objects, now);
  }
  void publish_slabs() WEIR_REQUIRES(mutex_);

  PageSource* source_ = nullptr;
  AddressMap* map_ = nullptr;
  NodeId node_{};
  size_t size_class_ = 0;
  weir_stats_slab* published_ = nullptr;
  Mutex mutex_;
  UnitIndex first_ WEIR_GUARDED_BY(mutex_) = kNoUnit;
  UnitIndex cursor_ WEIR_GUARDED_BY(mutex_) = kNoUnit;  // the next slab that purge_slabs looks at
  uint32_t nr_slabs_ WEIR_GUARDED_BY(mutex_) = 0;
  uint32_t nr_empty_ WEIR_GUARDED_BY(mutex_) = 0;
  uint16_t tick_ WEIR_GUARDED_BY(mutex_) = 0;
  uint16_t nr_transfer_ WEIR_GUARDED_BY(mutex_) = 0;
  uint16_t least_transfer_ WEIR_GUARDED_BY(mutex_) = 0;  // since the last tick
  std::atomic<uint64_t> free_objects_{0};                // in slabs and transfer cache; written under the lock
  void** transfer_ WEIR_TSA(pt_guarded_by(mutex_)) = nullptr;
};

}  // namespace weir
