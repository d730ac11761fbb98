// Purpose: one registered heap: slabs and runs of its own, an exact count of the pages they are, and a limit on it.
// Thread safety: any thread. Small objects are guarded by the lock of their class's depot, large ones by the heap's
//                (LockRank::kHeap); open, close and the making of depots by the registry's. No lock is held while pages
//                are waited for or objects are written.
// Invariants: charged = pages of slabs + pages of runs + pages on the way, whenever all locks are free. A place for a
//             heap is never unmapped, so that a stale handle finds a generation that is not its own.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/lock.h"
#include "heap/heap_cache.h"
#include "malloc/allocator.h"
#include "malloc/depot.h"
#include "malloc/page_owner.h"
#include "oom/victim.h"
#include "weir/heap.h"

namespace weir {

// What a heap is made with. Sizes in bytes; 0: none.
struct HeapSettings {
  uint64_t soft_limit = 0;
  uint64_t limit = 0;
  int32_t node = -1;  // -1: that of the thread that makes the heap
  int32_t oom_score_adj = 0;
  bool noswap = false;
  uint32_t flags = 0;
  OomKill oom_policy = OomKill::kFail;  // kFail, kRelease or kAbort
  decltype(weir_heap_options::on_oom) on_oom = nullptr;
  void* oom_arg = nullptr;
};

// What a heap holds. The pages are counted exactly; the rest is right when nobody allocates or frees meanwhile.
struct HeapStats {
  Pages charged{}, peak{};
  Pages swapped{};     // of charged: in compressed memory or a file; the limit is on the others
  uint64_t limit = 0;  // pages; PageOwner::kNoLimit
  uint64_t soft_limit = 0;
  NodeId node{};
  int32_t oom_score_adj = 0;
  bool noswap = false;
  uint32_t flags = 0;
  Pages slabs{}, runs{};
  uint64_t objects = 0, object_bytes = 0;  // in use, with what their classes and pages add
  uint64_t limit_hits = 0;                 // allocations that the limit did not allow at once
  uint64_t limit_failures = 0;             // of these, those that failed
  OomKill oom_policy = OomKill::kFail;
  bool capped = false;
};

// As in weir/heap.h.
constexpr uint32_t number_of_policy(OomKill policy) {
  return policy == OomKill::kRelease ? WEIR_HEAP_OOM_RELEASE
         : policy == OomKill::kAbort ? WEIR_HEAP_OOM_ABORT
                                     : WEIR_HEAP_OOM_FAIL;
}

// What the OOM policy knows of a heap.
struct HeapCandidate {
  HeapId id;
  uint64_t serial = 0;  // in the order of creation
  Pages pages{}, swapped{};
  int32_t oom_score_adj = 0;
  OomKill kill = OomKill::kFail;
  bool capped = false;
  Pages held_at_last_kill{};
  char name[WEIR_HEAP_NAME] = {};
};

class Heap {
 public:
  static constexpr size_t kNameBytes = 64;  // with the NUL
  static constexpr unsigned kDepots = kNrSizeClasses - 1;

  enum class Refusal : uint8_t { kNone, kStale, kOverLimit, kNoMemory };
  struct Got {
    void* object = nullptr;
    Refusal refusal = Refusal::kNone;
    Pages wanted{};    // that the limit did not allow
    bool due = false;  // decay should look at the clock
  };

  Heap() : mutex_(LockRank::kHeap) {}
  // Once for each place. `depots`: zeroed room for kDepots of them.
  void init(Allocator& allocator, Depot* depots, uint32_t index);

  // -- with the registry's lock
  void open(const HeapSettings& settings, NodeId node, const char* name, size_t length, uint64_t serial);
  // From here on nobody gets anything of it any more; release_all then gives up what it holds, without that lock.
  void close();
  void set_limit(uint64_t bytes);
  void set_soft_limit(uint64_t bytes);
  void set_oom_score_adj(int32_t adj);
  // Makes the depot of a class unless it is there.
  void make_depot(size_t size_class);

  // -- objects
  bool has_depot(size_t size_class) const {
    return (made_.load(std::memory_order_acquire) >> (size_class - 1) & 1) != 0;
  }
  // `size_class`: of the object, its depot has been made. For the heap of that generation and no other.
  [[nodiscard]] Got alloc_small(uint64_t generation, size_t size_class);
  // The same through a thread's cache of this heap.
  [[nodiscard]] Got alloc_cached(HeapCache& cache, size_t size_class);
  // Frees an object into it.
  [[nodiscard]] BadPointer free_cached(HeapCache& cache, void* object, size_t size_class, bool& due);
  // Gives everything in it back.
  [[nodiscard]] BadPointer flush(HeapCache& cache);
  [[nodiscard]] Got alloc_run(uint64_t generation, size_t size, size_t alignment, bool zero);
  [[nodiscard]] BadPointer free_small(void* object, size_t size_class, bool& due);
  [[nodiscard]] BadPointer free_run(void* object);
  // Makes a run longer or shorter, in place or by moving its pages to `run`; the object stays as it was when that
  // cannot be done.
  [[nodiscard]] Refusal resize_run(RunView& run, size_t size);

  // -- memory
  // Gives empty slabs back. Returns the pages.
  Pages trim();
  void decay_tick(Pages& released);
  size_t free_bytes() const;
  void add_free_objects(uint64_t* by_class) const;
  // After close: gives up everything. Returns the pages that were charged.
  Pages release_all();
  // After close: drops all that is in it. Its addresses stay its own until they are freed, or release_all.
  Pages retire_all();

  // -- looking
  PageOwner& owner() { return owner_; }
  uint64_t generation() const { return owner_.generation(); }
  bool is_open() const { return generation() % 2 != 0; }
  NodeId node() const { return NodeId(node_.load(std::memory_order_relaxed)); }
  const char* name() const { return name_; }
  HeapStats stats();
  // Pages in memory above the soft limit; 0 without one.
  Pages soft_excess() const;
  HeapCandidate candidate() const;
  void note_limit_hit();
  void note_limit_failure();
  // Shows everything to other processes, in the row of its place.
  void show_all();
  // With all locks held.
  const char* verify(Pages& slab_pages) WEIR_NO_TSA;

  // -- fork; the caller holds the registry's lock
  void lock() { mutex_.lock_for_fork(); }
  void unlock() { mutex_.unlock_for_fork(); }
  void lock_depots() WEIR_NO_TSA;
  void unlock_depots() WEIR_NO_TSA;
  void after_fork_in_child() WEIR_NO_TSA;

  // -- of the OOM policy, with the registry's lock
  Pages held_at_last_kill{};
  uint64_t emptied_generation = 0;  // of the heap that was emptied here, and is to be destroyed; 0: none was
  std::atomic<bool> is_being_emptied{false};
  decltype(weir_heap_options::on_oom) on_oom = nullptr;
  void* oom_arg = nullptr;

  // -- links of the registry
  uint32_t next_named = 0;  // the next heap in the hash chain of the name
  uint32_t next_free = 0;   // the next place without a heap

 private:
  friend class HeapRegistryTest;
  // Calls visit(depot, size_class) for each depot that was made.
  template <class Visit>
  void for_depots(Visit visit) const {
    for (uint64_t left = made_.load(std::memory_order_acquire); left != 0; left &= left - 1) {
      const unsigned i = static_cast<unsigned>(__builtin_ctzll(left));
      visit(depots_[i], i + 1);
    }
  }
  Depot& depot(size_t size_class) const { return depots_[size_class - 1]; }
  bool clears() const { return allocator_->options().zero_on_free; }
  void link(const RunView& run) WEIR_REQUIRES(mutex_);
  void unlink(const RunView& run) WEIR_REQUIRES(mutex_);
  bool begin(Pages count);
  void end_taking(Pages count, Pages taken);
  Refusal grow_run(const RunView& run, Pages wanted);
  Refusal move_run(RunView& run, Pages count);
  void cut_run(const RunView& run, Pages wanted);
  Got taken(Depot::Take how, size_t size_class) const;
  BadPointer flush_oldest(HeapCache& cache, size_t size_class, unsigned count);
  BadPointer bad(Misuse misuse, const void* object, size_t size_class) const;
  const char* verify_runs() const WEIR_REQUIRES(mutex_);

  Allocator* allocator_ = nullptr;
  Depot* depots_ = nullptr;
  std::atomic<uint64_t> made_{0};  // one bit per depot
  PageOwner owner_;
  std::atomic<uint16_t> node_{0};
  std::atomic<int32_t> oom_score_adj_{0};
  std::atomic<uint64_t> soft_limit_{0};
  uint32_t flags_ = 0;
  OomKill oom_policy_ = OomKill::kFail;
  uint64_t serial_ = 0;
  Mutex mutex_;
  Pfn first_run_ WEIR_GUARDED_BY(mutex_) = kNoPfn;
  uint64_t nr_runs_ WEIR_GUARDED_BY(mutex_) = 0;
  uint64_t run_pages_ WEIR_GUARDED_BY(mutex_) = 0;
  uint64_t moving_pages_ WEIR_GUARDED_BY(mutex_) = 0;  // charged, and being taken from or given back to the zone
  std::atomic<uint64_t> limit_hits_{0};
  std::atomic<uint64_t> limit_failures_{0};
  char name_[kNameBytes] = {};
};

}  // namespace weir
