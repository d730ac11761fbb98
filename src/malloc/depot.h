// Purpose: slabs of one size class on one node, and a transfer cache that hands whole batches of objects from threads
//          that free to threads that allocate. One lane of NodeDepots.
// Thread safety: all public methods from any thread; one lock (LockRank::kDepot), taken once a batch. The zone's lock
//                is taken inside it.
// Invariants: every slab with a free object is on the list, every other is not. Objects in the transfer cache and in
//             thread caches count as allocated in their slab's bitmap. Objects are never read or written. What comes
//             to the slabs is of this depot's slabs; the transfer cache also has objects of other lanes.
//             A depot with an owner (depot_owned.cc) is no lane and has no transfer cache; it also has a list of its
//             slabs without a free object, so that it can give up all of them.
#pragma once

#include <cstdint>
#include <optional>

#include "base/lock.h"
#include "base/publish.h"
#include "malloc/address_map.h"
#include "malloc/page_owner.h"
#include "malloc/slab.h"
#include "mm/page_source.h"
#include "weir/stats_page.h"

namespace weir {

// The first object of a batch that could not be given back, and why.
struct BadFree {
  void* object = nullptr;
  FreeVerdict verdict = FreeVerdict::kOk;
};

// Memory of slabs without objects that the depots of one lane keep: what a thread frees and allocates again in waves
// comes back to its processor's cache. In a cache line of its own.
struct alignas(64) KeptSlabs {
  std::atomic<uint64_t> bytes{0};
  std::atomic<uint64_t> most{0};  // beyond it, slabs go to the zone, but one of each depot
};

struct DepotStats {
  uint64_t slabs = 0;
  uint64_t free_objects = 0;  // in slabs
  uint64_t transfer_objects = 0;
  uint64_t empty_slabs = 0;
};

// In cache lines of its own: neighbours are used by other threads.
class alignas(128) Depot {
 public:
  // Four batches: two threads can hand over in turns without touching slabs.
  static constexpr unsigned kTransferBatches = 4;
  static constexpr unsigned kTransferSlots = kTransferBatches * size_class_detail::kMostSlots / 2;

  Depot() : mutex_(LockRank::kDepot) {}
  // `transfer`: room for kTransferSlots pointers, outside this class so that depots nobody uses cost no page each.
  // `published`: where its numbers are shown to other processes; null: nowhere.
  void init(PageSource& source, AddressMap& map, NodeId node, size_t size_class, void** transfer,
            weir_stats_slab* published, uint8_t lane, KeptSlabs* kept);
  // The same for slabs of an owner, who pays for them.
  void init_owned(PageSource& source, AddressMap& map, NodeId node, size_t size_class, PageOwner& owner);

  // Takes 1..want objects, stored so that the lowest address comes last (is popped first); 0: there are none, or no
  // memory on this node. `grow`: whether a slab may be made, only while the node stays above low, or else, and whether
  // reclaim may be waited for. `apart`: from a stretch where nobody else has objects, where that is to be had.
  enum class Grow : uint8_t { kNo, kAboveLow, kAtOnce, kOrWait };
  [[nodiscard]] unsigned refill(void** out, unsigned want, Grow grow, bool apart = false);
  // Takes objects of any lane of this class and node into the transfer cache, as many as there is room for; how many.
  unsigned keep(void* const* objects, unsigned count);
  // Takes objects of any lane of this class and node back into their slabs, up to the first that is not of this one;
  // `count`: how many there are, and then how many were taken. `use`: whether the program is using them now; otherwise
  // the slabs' age stays.
  enum class Use : uint8_t { kNow, kBefore };
  [[nodiscard]] BadFree give(void* const* objects, unsigned& count, Use use);
  // What give would say of `object`; nothing changes.
  FreeVerdict check(const void* object);
  // The lane of the depot that an object which is given out belongs to.
  unsigned lane_of(const void* object) const { return view_of(object).desc.lane; }

  // -- with an owner
  enum class Take : uint8_t { kTaken, kStale, kOverLimit, kNoMemory };
  // Takes 1..count objects for the owner of that generation, stored as refill does; kStale: there is another now, or
  // none. `due`: so many calls have passed that decay should look at the clock.
  [[nodiscard]] Take take_owned(uint64_t generation, void** out, unsigned& count, bool& due);
  // Takes an object back. Null: it lies in no slab of this depot (any more).
  [[nodiscard]] std::optional<FreeVerdict> give_owned(void* object, bool& due);
  // Takes back objects that a thread had kept, unless their owner is gone, and they with it.
  [[nodiscard]] BadFree give_kept(uint64_t generation, void* const* objects, unsigned count);
  // What give_owned would say; nothing changes.
  [[nodiscard]] std::optional<FreeVerdict> check_owned(const void* object);
  // Gives up all slabs with all that is in them, for an owner that is gone; `clear`: their content is dropped first.
  Pages release_owned(bool clear);
  // Drops what is in all slabs, of an owner that is gone; touching it is an error until it is free.
  Pages retire_owned();
  // From now on slabs are taken on that node. There are none now.
  void move_to(NodeId node);

  // Takes up to `most` objects out of the transfer cache, those that lay there longest first: of all, or of those that
  // were not used since the last tick.
  enum class Transfer : uint8_t { kAll, kUnused };
  [[nodiscard]] unsigned take_oldest(void** out, unsigned most, Transfer which);
  // Ends a decay tick: pages of idle slabs that hold no object go back to the system, an empty slab to the zone.
  // `released` grows by the pages of slabs that went to the zone: they have been unused for long enough already.
  void end_tick(Pages& released);
  // All of that at once, regardless of age.
  void release_slabs() { purge_slabs(0); }
  // An estimate without the lock.
  bool transfer_is_full() const { return transfer_is_full_.load(std::memory_order_relaxed); }

  // Free bytes in slabs and transfer cache; an estimate without the lock.
  uint64_t free_objects_estimate() const { return free_objects_.load(std::memory_order_relaxed); }
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
  bool add_slab(Mark lowest = Mark::kMin) WEIR_REQUIRES(mutex_);
  PageRequest slab_request(Mark lowest = Mark::kMin) const;
  bool wait_for_slab() WEIR_REQUIRES(mutex_);
  void release_slab(SlabView slab) WEIR_REQUIRES(mutex_);
  void insert(UnitIndex& list, SlabView slab) WEIR_REQUIRES(mutex_);
  void remove(UnitIndex& list, SlabView slab) WEIR_REQUIRES(mutex_);
  void link(SlabView slab) WEIR_REQUIRES(mutex_);
  void unlink(SlabView slab) WEIR_REQUIRES(mutex_);
  void count_empty(int change) WEIR_REQUIRES(mutex_);
  bool keeps_empty() const WEIR_REQUIRES(mutex_) {
    return nr_empty_ <= 1 || (kept_ != nullptr && kept_->bytes.load(std::memory_order_relaxed) <=
                                                      kept_->most.load(std::memory_order_relaxed));
  }
  unsigned take_from_slabs(void** out, unsigned want, bool apart) WEIR_REQUIRES(mutex_);
  unsigned take_transfer(void** out, unsigned want) WEIR_REQUIRES(mutex_);
  unsigned transfer_room() const { return kTransferBatches * kSizeClasses[size_class_].batch; }
  void set_transfer(unsigned count) WEIR_REQUIRES(mutex_) {
    nr_transfer_ = static_cast<uint16_t>(count);
    transfer_is_full_.store(count == transfer_room(), std::memory_order_relaxed);
  }
  OwnerTag tag() const { return OwnerTag::of(owner_->index(), size_class_); }
  bool owns(const void* object) const;
  Take add_owned_slab() WEIR_REQUIRES(mutex_);
  bool is_due() WEIR_REQUIRES(mutex_);
  const char* verify_list(UnitIndex list, bool with_free, uint64_t& free, uint32_t& slabs) const WEIR_REQUIRES(mutex_);
  void note_given(SlabView slab, Use use) WEIR_REQUIRES(mutex_);
  void purge_idle_pages(SlabView slab) WEIR_REQUIRES(mutex_);
  Pages purge_slabs(unsigned min_idle_ticks);
  void count_free(int64_t change) WEIR_REQUIRES(mutex_) {
    const uint64_t now = free_objects_.load(std::memory_order_relaxed) + static_cast<uint64_t>(change);
    free_objects_.store(now, std::memory_order_relaxed);
    if (published_ != nullptr) publish(published_->free_objects, now);
  }
  void publish_slabs() WEIR_REQUIRES(mutex_);

  PageSource* source_ = nullptr;
  AddressMap* map_ = nullptr;
  KeptSlabs* kept_ = nullptr;
  NodeId node_{};
  uint8_t size_class_ = 0;
  uint8_t lane_ = 0;
  uint8_t ops_ WEIR_GUARDED_BY(mutex_) = 0;  // with an owner: calls since decay looked at the clock
  weir_stats_slab* published_ = nullptr;
  PageOwner* owner_ = nullptr;
  Mutex mutex_;
  UnitIndex first_ WEIR_GUARDED_BY(mutex_) = kNoUnit;
  UnitIndex full_ WEIR_GUARDED_BY(mutex_) = kNoUnit;    // with an owner: slabs without a free object
  UnitIndex cursor_ WEIR_GUARDED_BY(mutex_) = kNoUnit;  // the next slab that purge_slabs looks at
  uint32_t nr_slabs_ WEIR_GUARDED_BY(mutex_) = 0;
  uint32_t nr_empty_ WEIR_GUARDED_BY(mutex_) = 0;
  uint16_t tick_ WEIR_GUARDED_BY(mutex_) = 0;
  uint16_t nr_transfer_ WEIR_GUARDED_BY(mutex_) = 0;
  uint16_t least_transfer_ WEIR_GUARDED_BY(mutex_) = 0;  // since the last tick
  std::atomic<bool> transfer_is_full_{false};            // written under the lock
  std::atomic<uint64_t> free_objects_{0};                // in slabs and transfer cache; written under the lock
  void** transfer_ WEIR_TSA(pt_guarded_by(mutex_)) = nullptr;
};

}  // namespace weir
