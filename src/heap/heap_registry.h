// Purpose: all registered heaps of an allocator: their places, names and handles, and what happens when one of them is
//          at its limit.
// Thread safety: any thread, with no lock held; set-up (init, destroy) by one thread. One lock (LockRank::kHeaps)
// guards
//                names and places; objects are allocated and freed without it.
// Invariants: nothing lies in the arenas. Places are mapped by chunks and never unmapped; one without a heap costs
//             address space, one with a heap that is empty about 300 bytes. A handle names a place and a generation, so
//             that one of a heap that is gone is known for what it is.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "base/lock.h"
#include "heap/heap.h"
#include "heap/heap_cache.h"
#include "heap/heap_id.h"
#include "heap/oom_killer.h"

namespace weir {

// What a call of a program's has, and what it is told besides its result.
struct HeapCall {
  ThreadCache* thread = nullptr;  // the calling thread's; null: it has none
  int error = 0;                  // EINVAL (no such heap) or ENOMEM
  bool no_memory = false;         // with ENOMEM: the process has none; the heap's own limit would allow it
  bool due = false;               // see HeapHooks
  BadPointer bad;                 // a mistake that has come to light
};

class HeapRegistry {
 public:
  static constexpr uint32_t kMostHeaps = (1u << HeapId::kIndexBits) - 1;

  HeapRegistry() : mutex_(LockRank::kHeaps), oom_(*this) {}
  // From now on the allocator knows the heaps. It must not go away before them.
  void init(Allocator& allocator);
  // Unmaps everything; for tests, whose allocator is gone already.
  void destroy();

  // Makes a heap. `name`: 1 to Heap::kNameBytes - 1 bytes without control characters, that no other heap has; or null,
  // for a name made up. 0, or an error of errno.h: EINVAL (name or settings), EEXIST (name), ENOSPC (kMostHeaps),
  // ENOMEM.
  [[nodiscard]] int create(const char* name, const HeapSettings& settings, HeapId& id);
  // Gives everything in a heap back, at once; `released`: the pages that were charged to it. 0 or EINVAL.
  [[nodiscard]] int destroy_heap(HeapId id, Pages& released);

  // -- objects
  [[nodiscard]] void* alloc(HeapId id, size_t size, size_t alignment, bool zero, HeapCall& call);
  // Resizes an object of a heap, which stays in it. Null: no memory, or `bad` says what is wrong with it.
  [[nodiscard]] void* resize(void* object, size_t size, BadPointer& bad);
  // The heap that an object lies in; none when it lies in no heap, or is no object.
  HeapId heap_of(const void* object);

  // -- looking and changing; false or EINVAL when there is no such heap
  HeapId find(std::string_view name);
  // The heap in the next place after that of `previous` (which may be gone; 0: from the start); 0 at the end.
  HeapId next(HeapId previous);
  [[nodiscard]] bool stats(HeapId id, HeapStats& stats);
  [[nodiscard]] bool name(HeapId id, char (&name)[Heap::kNameBytes]);
  [[nodiscard]] int set_limit(HeapId id, uint64_t bytes);
  [[nodiscard]] int set_soft_limit(HeapId id, uint64_t bytes);
  [[nodiscard]] int set_oom_score_adj(HeapId id, int64_t adj);
  uint32_t nr_heaps();

  static constexpr int kLeastAdj = -1000, kMostAdj = 1000;  // as in the kernel (OOM_SCORE_ADJ_MIN, _MAX)

  // -- when memory runs out (heap_oom.cc)
  OomVerdict out_of_memory(OomAsk& ask) { return oom_.out_of_memory(ask); }
  // Calls visit(candidate) for each of the heaps that there are, in no order, with the registry's lock.
  template <class Visit>
  void for_candidates(Visit visit);
  // Rows for the other members of a pool: of the heaps with most points, and of the exempt one that has grown most. The
  // first row is the process's, of which what the heaps hold is taken off.
  uint32_t pool_rows(weir_pool_row* rows, uint32_t most, Pages total);
  // Does to a heap of this process what another member of the pool has decided.
  weir_pool_order_result carry_out(const weir_pool_order& order, const uint64_t& state);
  Reclaimer* reclaimer() const { return allocator_->reclaimer(); }
  uint32_t nr_places() const { return nr_places_.load(std::memory_order_acquire); }
  // What the owner of a heap says to its being emptied.
  enum class Answer : uint8_t { kMayGo, kStays, kFreed };
  Answer ask_owner(HeapId id, Pages wanted);
  // Drops all that is in a heap; what is left of it is for destroy_heap. Returns the pages.
  Pages empty_heap(HeapId id);
  // It gets no more than that until it has given an eighth of it back.
  void cap(HeapId id, Pages most);
  void note_kill(HeapId id, Pages held);
  // The same for all heaps, by what they hold now; adds that up.
  void note_kill_of_all(Pages& held);
  // Of the heaps on a node the one that is furthest above its soft limit (of thousands, one of those that were some
  // milliseconds ago), and by how much; null: none is. By the node's kswapd.
  PageOwner* most_over_soft_limit(NodeId node, Pages& excess);
  // Whose callbacks never wait for memory; null: nobody knows.
  void set_shrinkers(Shrinkers& shrinkers) { shrinkers_ = &shrinkers; }

  // What the thread keeps of a heap goes back there. Null: nothing.
  BadPointer give_up_cache(ThreadCache* thread);

 private:
  static constexpr uint32_t kHeapsPerChunk = 64;
  static constexpr uint32_t kChunks = (kMostHeaps + 1) / kHeapsPerChunk;
  static constexpr uint32_t kBuckets = 1u << 14;
  // Attempts at making room for one allocation: another thread may take it each time.
  static constexpr unsigned kMostTries = 16;

  // Some of the heaps of a node that are furthest above their soft limits, as of some time ago.
  struct Ranked {
    static constexpr uint32_t kMost = 32;
    uint64_t ranked_at_ms = 0;
    uint32_t count = 0;
    uint16_t heaps[kMost] = {};
  };

  struct Chunk {
    Heap heaps[kHeapsPerChunk];
    alignas(Depot) char depots[kHeapsPerChunk][Heap::kDepots * sizeof(Depot)];
  };

  // Null when there is no place of that index yet.
  Heap* at(uint32_t index) const;
  Heap* find_open(HeapId id) const;
  void show_number() WEIR_NO_TSA;
  Heap* take_emptied(HeapId id) WEIR_REQUIRES(mutex_);
  Heap* add_place() WEIR_REQUIRES(mutex_);
  Heap* take_place() WEIR_REQUIRES(mutex_);
  HeapId find_locked(std::string_view name) const WEIR_REQUIRES(mutex_);
  size_t make_up_name(char* buffer) WEIR_REQUIRES(mutex_);
  void add_name(Heap& heap) WEIR_REQUIRES(mutex_);
  void remove_name(Heap& heap) WEIR_REQUIRES(mutex_);
  int choose_node(const HeapSettings& settings, NodeId& node) const;
  Heap::Got alloc_once(Heap& heap, HeapId id, size_t size, size_t alignment, bool zero, HeapCall& call);
  HeapCache* cache_for(Heap& heap, HeapId id, HeapCall& call);
  bool make_room(Heap& heap, Pages pages);
  BadPointer free_object(OwnerTag tag, void* object, ThreadCache* thread, bool& due);
  BadPointer trim(ThreadCache* thread);
  BadPointer free_run(OwnerTag tag, void* object);
  void* move_object(Heap& heap, void* object, size_t now, size_t size, BadPointer& bad);
  size_t free_bytes();
  void lock() WEIR_NO_TSA;
  void unlock() WEIR_NO_TSA;
  const char* verify(NodeId node, Pages& slab_pages) WEIR_NO_TSA;
  template <class Visit>
  void for_places(Visit visit) const;
  HeapHooks hooks();
  PageOwners owners();
  PoolMember::Hooks pool_hooks();
  void tell_of_choice(HeapId id, const weir_pool_order& order);
  void rank_by_soft_excess(NodeId node);
  bool reclaim_within(Heap& heap, Pages pages);

  Allocator* allocator_ = nullptr;
  Shrinkers* shrinkers_ = nullptr;
  HeapHooks hooks_;
  PageOwners owners_;
  PoolMember::Hooks pool_hooks_;
  Mutex mutex_;
  uint32_t first_free_ WEIR_GUARDED_BY(mutex_) = 0;
  uint32_t nr_heaps_ WEIR_GUARDED_BY(mutex_) = 0;
  uint64_t nr_made_up_ WEIR_GUARDED_BY(mutex_) = 0;
  uint64_t last_serial_ WEIR_GUARDED_BY(mutex_) = 0;
  OomKiller oom_;
  std::atomic<uint32_t> nr_places_{0};  // indexes 1 and on; grows only
  std::atomic<bool> has_soft_limits_{false};
  Ranked ranked_[kMaxNodes];
  // free_bytes as it was then.
  std::atomic<uint64_t> counted_at_ms_{0};
  std::atomic<size_t> counted_bytes_{0};
  std::atomic<Chunk*> chunks_[kChunks] = {};
  uint16_t buckets_[kBuckets] WEIR_GUARDED_BY(mutex_) = {};
};

template <class Visit>
void HeapRegistry::for_candidates(Visit visit) {
  LockGuard guard(mutex_);
  for_places([&](const Heap& heap) {
    if (heap.is_open()) visit(heap.candidate());
  });
}

template <class Visit>
void HeapRegistry::for_places(Visit visit) const {
  const uint32_t end = nr_places_.load(std::memory_order_acquire);
  for (uint32_t i = 1; i <= end; ++i) visit(*at(i));
}

}  // namespace weir
