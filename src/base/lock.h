// Purpose: weir's only mutex, its lock order, and data that can be reached only under its lock.
// Thread safety: any thread; a Mutex is never taken in a signal handler.
// Invariants: locks are taken in rising LockRank. Debug builds trap a violation; Clang checks GUARDED_BY at compile
//             time. Fork takes them all in this order, so the order is also what fork relies on.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__clang__)
#define WEIR_TSA(x) __attribute__((x))
#else
#define WEIR_TSA(x)
#endif
#define WEIR_CAPABILITY WEIR_TSA(capability("mutex"))
#define WEIR_SCOPED_CAPABILITY WEIR_TSA(scoped_lockable)
#define WEIR_GUARDED_BY(m) WEIR_TSA(guarded_by(m))
#define WEIR_REQUIRES(m) WEIR_TSA(requires_capability(m))
#define WEIR_ACQUIRE(...) WEIR_TSA(acquire_capability(__VA_ARGS__))
#define WEIR_TRY_ACQUIRE(...) WEIR_TSA(try_acquire_capability(__VA_ARGS__))
#define WEIR_RELEASE(...) WEIR_TSA(release_capability(__VA_ARGS__))
#define WEIR_NO_TSA WEIR_TSA(no_thread_safety_analysis)

namespace weir {

// The one statement of the lock order. A thread that holds a lock may take only locks of a higher rank.
enum class LockRank : uint8_t {
  kDecay = 0,    // malloc/decay: state of the background thread
  kThreads = 1,  // malloc/: list of thread caches
  kHeaps = 2,    // heap/: names and places of heaps
  kHeap = 3,     // heap/: large objects of one heap
  kDepot = 4,    // malloc/depot: slabs of one size class on one node, or in one heap
  kEvict = 5,    // reclaim/: one evictor at a time on a node
  kCompact = 6,  // compact/: places of handles, and moves under way
  kZone = 7,     // page/zone: buddy lists and counters of one node
  kLru = 8,      // reclaim/: lists of clusters
  kSwap = 9,     // swap/: compressed pool, slot map, file
  kCount = 10,
};

// How many locks the calling thread holds, or is about to; but for those of a fork. A handler of a signal that finds it
// other than 0 may have come between the two halves of a critical section, and must not want a lock.
extern constinit thread_local uint32_t locks_held;

// A futex mutex after Drepper ("Futexes are tricky", 2011, mutex2): 0 free, 1 held, 2 held with sleepers.
class WEIR_CAPABILITY Mutex {
 public:
  constexpr explicit Mutex(LockRank rank) : rank_(rank) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() WEIR_ACQUIRE() {
    note_acquire();
    count_held(1);
    uint32_t expected = 0;
    if (!word_.compare_exchange_strong(expected, 1, std::memory_order_acquire)) lock_slow();
  }
  bool try_lock() WEIR_TRY_ACQUIRE(true) {
    count_held(1);
    uint32_t expected = 0;
    if (!word_.compare_exchange_strong(expected, 1, std::memory_order_acquire)) {
      count_held(~0u);
      return false;
    }
    note_acquire();
    return true;
  }
  void unlock() WEIR_RELEASE() {
    note_release();
    if (word_.exchange(0, std::memory_order_release) == 2) unlock_slow();
    count_held(~0u);
  }

  // For fork only, which holds all locks of one rank at once and is the only one to do so.
  void lock_for_fork() WEIR_NO_TSA;
  void unlock_for_fork() WEIR_NO_TSA;

 private:
  // Not moved by the compiler to where a handler would see another number.
  static void count_held(uint32_t by) {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    locks_held = locks_held + by;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  void lock_slow();
  void unlock_slow();
#ifdef WEIR_DEBUG
  void note_acquire();
  void note_release();
#else
  void note_acquire() {}
  void note_release() {}
#endif

  std::atomic<uint32_t> word_{0};
  const LockRank rank_;
};

class WEIR_SCOPED_CAPABILITY LockGuard {
 public:
  explicit LockGuard(Mutex& m) WEIR_ACQUIRE(m) : mutex_(m) { mutex_.lock(); }
  ~LockGuard() WEIR_RELEASE() { mutex_.unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace weir
