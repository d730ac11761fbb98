// Purpose: a whole allocator: arenas of all nodes, depots, large runs, thread caches. A process has one (process.h);
//          tests make their own.
// Thread safety: every method from any thread once init() returned true; a ThreadCache belongs to one thread.
// Invariants: errno is never touched. No method calls malloc. Objects are written only where their content moves or
//             must be zeroed, and then with no lock held.
#pragma once

#include <cstdint>

#include "config/options.h"
#include "malloc/address_map.h"
#include "malloc/heap_hooks.h"
#include "malloc/node_depots.h"
#include "malloc/stats_page.h"
#include "malloc/thread_cache.h"
#include "mm/page_source.h"
#include "topology/topology.h"

namespace weir {

// What a pointer is, as far as weir can tell.
enum class PointerKind : uint8_t {
  kForeign,     // outside all arenas
  kSmall,       // in a slab
  kLarge,       // the start of a large run
  kNotGivenOut  // inside an arena, but no object starts there
};

// How memory is to be had: where arenas lie and whether they are bound to the kernel's nodes.
struct AllocatorSetup {
  const Options* options = nullptr;
  const Topology* topology = nullptr;
  bool bare = true;                  // try unmapped space first (see ArenaPlace)
  uint64_t random = 0;               // picks the place
  Pages capacity{};                  // per node; 0: from the options and RLIMIT_AS
  FaultStory fault_story;            // kFaultStory; empty: a limit of the options is not kept
  const StatsPage* stats = nullptr;  // where everything is shown to other processes; null: nowhere
};

// The pages of a large object; `zone` is null when there are none.
struct RunView {
  Zone* zone = nullptr;
  Pfn head = kNoPfn;
};

class Allocator {
 public:
  constexpr Allocator() : threads_mutex_(LockRank::kThreads) {}
  [[nodiscard]] bool init(const AllocatorSetup& setup);
  // Unmaps the arenas; for tests. Every object and cache is gone.
  void destroy();

  const AddressMap& map() const { return map_; }
  // For the slabs of heaps.
  AddressMap& owned_map() { return map_; }
  // Whether there is memory at an address inside the arenas.
  bool is_accessible(const void* p) const;
  const Options& options() const { return *options_; }
  // Takes over what may be changed of the options while threads allocate, by one thread at a time: watermarks of all
  // zones, how is reclaimed, and with Budget::kAlso the limit. False: there would be none any more, and nothing
  // changes.
  [[nodiscard]] bool options_changed(Reclaimer::Budget budget);

  // -- thread caches
  // Makes a cache for the calling thread; null when there is no memory for it.
  [[nodiscard]] ThreadCache* attach();
  // Gives a cache and all that it holds back.
  [[nodiscard]] BadPointer detach(ThreadCache* cache);

  // -- objects; `cache` may be null (the thread has none): then everything goes to the slabs directly
  // An object of a class when its bin is empty. Null: no memory.
  [[nodiscard]] void* alloc_slow(ThreadCache* cache, size_t size_class);
  // Frees an object that cache_push did not take, and objects of every other kind.
  [[nodiscard]] BadPointer free_slow(ThreadCache* cache, void* object);
  // `size` bytes at `alignment` (a power of two) as a run of pages; `zero`: cleared.
  [[nodiscard]] void* alloc_large(ThreadCache* cache, size_t size, size_t alignment, bool zero);
  // Resizes a large run in place or by moving its pages; null when neither can be done (the caller copies).
  [[nodiscard]] void* resize_large(void* object, size_t size);

  // -- memory that the program maps (malloc/anon_calls.h)
  // Pages that read as zeros, as a mapped run; null: no memory, for whose reclaim is waited if it `may_wait`.
  [[nodiscard]] char* map_pages(Pages count, bool may_wait = true);
  // Has pages that may hold old data read as zeros.
  void clear_pages(Zone& zone, Pfn first, Pages count) { clear_run(zone, first, count); }
  // In whose accessible part an address lies; null: in none.
  Zone* zone_at(const void* p) const {
    Zone* const zone = pages_.zone_of(p);
    return zone != nullptr && zone->pfn_of(p) < zone->accessible_estimate().v ? zone : nullptr;
  }

  // -- heaps (heap/), which lie above
  // Before the first object of a heap exists.
  void set_heaps(const HeapHooks* hooks) { heaps_.store(hooks, std::memory_order_release); }
  // Null when there never was one.
  const HeapHooks* heaps() const { return heaps_.load(std::memory_order_acquire); }
  // Whose an object is: empty when it is nobody's, or no object.
  OwnerTag tag_of(const void* p);
  // Frees an object of a heap's slab, as free_slow does; `due`: see HeapHooks.
  [[nodiscard]] BadPointer free_in_heap(ThreadCache* cache, void* object, bool& due);
  // The pages that alloc_owned_run takes for an object; it may give some of them back at once.
  Pages owned_run_pages(size_t size, size_t alignment) const;
  // A run for an object of at most PTRDIFF_MAX - 4 pages, on that node only, which is no owner's yet.
  [[nodiscard]] RunView alloc_owned_run(NodeId node, size_t size, size_t alignment, bool zero);
  // The run that starts with this object; none when there is no such run.
  RunView find_run(const void* object);
  void* object_of(const RunView& run) { return run.zone->address(run.head) + guard_bytes(); }
  // Gives a run back to its zone.
  [[nodiscard]] BadPointer release_run(const RunView& run, void* object);
  // Makes a run longer in place; false when what lies behind it is not free.
  [[nodiscard]] bool extend_owned_run(const RunView& run, Pages wanted);
  // Whether a run should be made shorter for an object that needs less, and that (which may be refused).
  bool shrinks_to(const RunView& run, Pages wanted) const;
  void shrink_run(const RunView& run, Pages wanted);
  // Whether a run is worth moving, and may be: page tables move, bytes do not.
  bool can_move_run(const RunView& run) const;
  // Moves a run's pages to a new one of `count` pages on the same node, and frees it. None: it is as it was.
  [[nodiscard]] RunView move_run(const RunView& run, Pages count);
  // The length that a run which has to move should have for an object of so many pages.
  static Pages with_room(Pages wanted);
  // Whether runs are laid out in a way that they can be resized.
  bool can_resize_runs() const { return !options_->guard; }

  PointerKind kind_of(const void* p);
  // Bytes that may be used at an object; 0 for what is not one.
  size_t usable_size(const void* p);
  // The class and the exact fault of a pointer that was refused.
  BadPointer diagnose(const void* p, FreeVerdict verdict);

  // -- memory back to the system
  // Ends a tick of a tenth of the decay time everywhere; a mistake of the program may only come to light here.
  [[nodiscard]] BadPointer decay_tick();
  // What the calling thread's cache (may be null) and the depots keep goes to the zones.
  [[nodiscard]] BadPointer release_caches(ThreadCache* own);
  // The first half of that.
  [[nodiscard]] BadPointer drain(ThreadCache& own);
  // Everything unused, now, with what the calling thread's cache (may be null) holds; `bytes` tells how much it was.
  [[nodiscard]] BadPointer trim(ThreadCache* own, size_t& bytes);
  // Bytes that are unused but still hold memory; an estimate, without locks.
  size_t decayable_bytes();

  // The node whose memory the calling thread should have.
  NodeId home_node() const;

  // -- objects that can be moved (compact/), which cost nothing before there is the first
  // Null when there never was one.
  Compactor* compactor() { return pages_.compactor(); }
  // An object of `size` bytes, not 0, which read as zeros; none: there is no memory.
  [[nodiscard]] MovableId alloc_movable(size_t size);
  [[nodiscard]] MovableCall free_movable(MovableId id);

  // -- looking
  unsigned nr_nodes() const { return nr_nodes_; }
  bool has_zone(NodeId node) const { return nodes_[node.v] != nullptr; }
  // How much of the arenas is given out, whatever is in it.
  Pages taken();
  PageSource& pages() { return pages_; }
  // What keeps the limit; null: there is none.
  Reclaimer* reclaimer() { return reclaimer_; }
  NodeDepots& depots(NodeId node) { return nodes_[node.v]->depots; }
  // Where everything is shown to other processes; null: nowhere.
  const StatsPage* stats_page() const { return stats_; }
  // Null when every count agrees, else what does not.
  const char* verify();
  uint64_t nr_caches() const { return nr_caches_.load(std::memory_order_relaxed); }

  // -- fork: nothing is taken out of memory from here on until resume_reclaim
  void pause_reclaim();
  // Takes (and gives back) all locks in the order of their ranks, reclaim's last.
  void lock_all() WEIR_NO_TSA;
  void unlock_all() WEIR_NO_TSA;
  // After the locks are given back: reclaim goes on, in a child with threads of its own, and there the moves of objects
  // that were under way come to their end. False: memory that was away is lost, and the child must not go on.
  [[nodiscard]] bool resume_reclaim(bool in_child);
  // Between the two in the child, where only the forking thread lives on.
  void after_fork_in_child() WEIR_NO_TSA;
  // There too, when the page is a new one: shows everything in it.
  void publish_all() WEIR_NO_TSA;

 private:
  struct NodeHeap {
    Zone zone;
    NodeDepots depots;
  };
  bool init_at(Pages capacity, bool bare, uint64_t random);
  bool init_zones(const Topology& topology, const ArenaPlace* places);
  void forget_arenas();
  bool init_zone(NodeId node, const Topology& topology, const ArenaPlace& place, MetadataStrides strides);
  Pages share_of_limits() const;
  Watermarks watermarks_for(Pages managed) const;
  unsigned refill(NodeId node, size_t size_class, void** out, unsigned want, unsigned lane, bool apart);
  unsigned refill_without_waiting(NodeId node, size_t size_class, void** out, unsigned want, unsigned lane, bool apart);
  BadFree flush(size_t size_class, void* const* objects, unsigned count, unsigned lane);
  BadPointer free_to_slab(size_t size_class, void* object);
  BadPointer flush_oldest(ThreadCache* cache, size_t size_class, unsigned count);
  BadPointer make_room(ThreadCache* cache, size_t size_class);
  unsigned cache_slots(size_t size_class) const;
  BadPointer scan_bins(ThreadCache* cache);
  BadPointer free_large(ThreadCache* cache, void* object);
  void* pop_run(ThreadCache* cache, Pages count);
  bool push_run(ThreadCache* cache, const RunView& run, void* object);
  void flush_runs(RunBin& bin, unsigned count);
  PageRequest run_request(size_t size, size_t alignment) const;
  RunView take_run(const PageRequest& request, size_t size, size_t alignment, bool zero);
  size_t class_of_object(const void* p, size_t in_map) const;
  const char* heap_name(const void* p);
  // All but reclaim's.
  void take_locks() WEIR_NO_TSA;
  void take_locks_once() WEIR_NO_TSA;
  void give_up_locks() WEIR_NO_TSA;
  const char* verify_all();
  const char* verify_reclaim();
  const char* verify_node(NodeId node) WEIR_NO_TSA;
  Zone& zone(unsigned node) { return nodes_[node]->zone; }
  size_t guard_bytes() const { return options_->guard ? kPageSize : 0; }
  void clear_run(Zone& zone, Pfn first, Pages count);
  void protect_guards(Zone& zone, Pfn head, Pages count);
  Pfn align_guarded(Zone& zone, Pfn head, Pages taken, size_t alignment, Pages wanted);

  Compactor* make_compactor();
  [[nodiscard]] bool init_reclaim(NodeId node, ZoneConfig& config, Pages total);

  const Options* options_ = nullptr;
  const Topology* topology_ = nullptr;
  const StatsPage* stats_ = nullptr;
  Reclaimer* reclaimer_ = nullptr;
  Pages total_managed_{};  // of all nodes together, without a limit
  AddressMap map_;
  ArenaPlace first_place_;
  unsigned nr_nodes_ = 0;
  Mutex threads_mutex_;
  ThreadCache* live_ WEIR_GUARDED_BY(threads_mutex_) = nullptr;
  ThreadCache* spare_ WEIR_GUARDED_BY(threads_mutex_) = nullptr;
  uint8_t next_lane_ WEIR_GUARDED_BY(threads_mutex_) = 0;
  std::atomic<uint64_t> nr_caches_{0};
  std::atomic<uint32_t> nr_moved_runs_{0};
  std::atomic<const HeapHooks*> heaps_{nullptr};
  // As they were when all locks were taken: the first heap may be made meanwhile.
  const HeapHooks* locked_heaps_ WEIR_GUARDED_BY(threads_mutex_) = nullptr;
  // Last, what is written of it for the first node first: the start of a program touches few pages.
  NodeHeap* nodes_[kMaxNodes] = {};
  PageSource pages_;
};

}  // namespace weir
