// Purpose: the caches that give memory back when they are asked: the program's (include/weir/shrinker.h) and weir's
//          own. Who may call which of them, and a mailbox by which kswapd, which must not run code of the program, asks
//          a thread that may.
// Thread safety: any thread. The lock is never held while a callback runs.
// Invariants: the callbacks of one shrinker are run by one thread at a time, and not at all once remove() has returned.
//             A thread that runs callbacks of the program never waits for reclaim (kernel: PF_MEMALLOC).
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "base/lock.h"
#include "reclaim/bell.h"
#include "reclaim/counters.h"
#include "reclaim/shrink_slab.h"

namespace weir {

class Shrinkers {
 public:
  enum class Kind : uint8_t {
    kOwn,      // weir's: neither allocates nor touches arena memory, so that anybody may run it
    kProgram,  // only on a thread that nobody waits for without end
    kDirect,   // also within an allocation of any thread
  };
  enum class Caller : uint8_t {
    kKswapd,  // runs kOwn
    kWaiter,  // a thread that waits for memory: kOwn and kDirect
    kThread,  // the thread for the others: kProgram and kDirect
    kTrim,    // who asked for it: kProgram and kDirect
  };
  // The kernel's range: DEF_PRIORITY is the least need, 0 asks for everything.
  static constexpr unsigned kFirstPriority = 12;
  static constexpr size_t kNameBytes = 32;

  constexpr Shrinkers() : mutex_(LockRank::kDecay) {}
  Shrinkers(const Shrinkers&) = delete;
  Shrinkers& operator=(const Shrinkers&) = delete;

  // `key`: an address by which it is removed; nothing is read there. The name is copied.
  enum class Added : uint8_t { kAdded, kExists, kNoMemory };
  // `heap`: whose limit asks it, too; 0: none's.
  [[nodiscard]] Added add(const void* key, const ShrinkOps& ops, std::string_view name, Kind kind, uint64_t heap = 0);
  // Waits until its callbacks have returned, unless it is called by one of them. False: there is none.
  [[nodiscard]] bool remove(const void* key);

  // One round at each that the caller may run and nobody else is running; returns the objects that were freed. With no
  // lock held.
  // `heap`: only those of that heap; 0: all. `skipped`: whether somebody else was running one of them, and not for so
  // long already that it stands still.
  uint64_t shrink(Caller caller, unsigned priority, uint64_t heap = 0, bool* skipped = nullptr);
  // The same for who is at a heap's limit: kDirect on the calling thread, the others on theirs, which is waited for as
  // long as it gets on.
  uint64_t shrink_heap(uint64_t heap, unsigned priority);
  bool has_heap(uint64_t heap);
  // Whether the calling thread is running callbacks of the program, or is there for nothing else.
  bool is_inside() const;
  // The calling thread runs code of the program's that is to free memory: it is inside from here on. False: it was
  // before, or there is no room for it; then there is nothing to end.
  [[nodiscard]] bool begin_inside();
  void end_inside();
  // Of the program's.
  bool has_any() const { return nr_program_.load(std::memory_order_relaxed) != 0; }

  // -- the thread
  // Has it make a round at this priority; a round that it has not begun yet is made at the lower one.
  void ask(unsigned priority);
  // By the thread, when it begins.
  void thread_begins();
  // By the thread: the priority that was asked for; kNothing: none was.
  static constexpr unsigned kNothing = ~0u;
  [[nodiscard]] unsigned begin_round();
  // By the thread: the heap that waits for a round, and at which priority; 0: none does. Ended by end_heap_round.
  [[nodiscard]] uint64_t begin_heap_round(unsigned& priority);
  void end_heap_round(uint64_t freed);
  void end_round() { at_work_.store(false, std::memory_order_release); }
  // Whether somebody asked who has no answer yet, though there is a thread.
  bool is_busy() const;
  // There is no thread and something for it to do.
  bool wants_thread() const { return wants_thread_.load(std::memory_order_relaxed); }
  // One was started, and will begin.
  void expect_thread() { expects_thread_.store(true, std::memory_order_relaxed); }
  void expect_none() { expects_thread_.store(false, std::memory_order_relaxed); }
  void want_thread() { wants_thread_.store(true, std::memory_order_relaxed); }
  bool has_thread() const { return thread_.load(std::memory_order_acquire) != 0; }
  Bell& bell() { return bell_; }
  // Changes whenever a callback has returned on the thread.
  uint32_t beat() const { return beat_.load(std::memory_order_relaxed); }

  void count_in(ReclaimCounters& counters) { counters_ = &counters; }

  // -- fork: the child has the shrinkers, but of the threads only the one that forked
  void lock_for_fork() WEIR_NO_TSA;
  void unlock_for_fork() WEIR_NO_TSA { mutex_.unlock_for_fork(); }
  // With the lock held.
  void after_fork_in_child() WEIR_NO_TSA;

  // For tests: what was scanned and freed of one, and what is deferred.
  struct Stats {
    uint64_t scanned = 0, freed = 0, deferred = 0;
  };
  [[nodiscard]] bool stats(const void* key, Stats& stats);

 private:
  struct Entry {
    const void* key;  // null: free
    Kind kind;
    ShrinkOps ops;
    uint64_t deferred;
    Stats stats;
    std::atomic<uint32_t> runner;  // the thread that runs its callbacks; 0: none does
    uint64_t began_ms;             // since when
    std::atomic<bool> leaving;     // it is being removed
    uint64_t heap;                 // 0: none
    bool removed_inside;           // by one of its callbacks: who runs them frees the entry
    char name[kNameBytes];
  };
  // Entries never move, so that they can be used without the lock while they are run.
  static constexpr unsigned kEntriesPerChunk = 24;
  struct Chunk {
    Chunk* next;
    Entry entries[kEntriesPerChunk];
  };
  struct Place {
    Chunk* chunk = nullptr;
    unsigned next = 0;
    bool skipped = false;
  };
  // Threads that run callbacks within allocations at a time; others go without. The first place is the thread's.
  static constexpr unsigned kMostInside = 16;

  static bool may_run(Caller caller, Kind kind);
  Entry* find(const void* key) WEIR_REQUIRES(mutex_);
  Entry* find_free() WEIR_REQUIRES(mutex_);
  Entry* take_next(Place& place, Caller caller, uint32_t self, uint64_t heap);
  uint64_t shrink_on_thread(uint64_t heap, unsigned priority);
  void give_back(Entry& entry, const ShrinkResult& result, uint64_t deferred);
  void free_entry(Entry& entry) WEIR_REQUIRES(mutex_);
  unsigned enter(uint32_t self);

  Mutex mutex_;
  Chunk* first_ WEIR_GUARDED_BY(mutex_) = nullptr;
  uint32_t forking_thread_ = 0;
  std::atomic<uint32_t> nr_program_{0};
  std::atomic<uint32_t> nr_all_{0};
  std::atomic<uint32_t> inside_[kMostInside] = {};
  std::atomic<uint32_t> nr_inside_{0};
  std::atomic<uint32_t> beat_{0};
  std::atomic<uint32_t> wanted_{kNothing};
  std::atomic<bool> at_work_{false};
  // A heap whose shrinkers the thread should run, one at a time; the round changes when it did, or the place is free.
  std::atomic<uint64_t> wanted_heap_{0};
  std::atomic<uint32_t> wanted_heap_priority_{0};
  std::atomic<uint64_t> heap_freed_{0};
  std::atomic<uint32_t> heap_round_{0};
  std::atomic<bool> wants_thread_{false};
  std::atomic<bool> expects_thread_{false};
  std::atomic<uint32_t> thread_{0};
  Bell bell_;
  ReclaimCounters* counters_ = nullptr;
};

}  // namespace weir
