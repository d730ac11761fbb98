// Purpose: who wants to hear of memory pressure (include/weir/events.h), and the telling: kswapd finds out and signals
//          descriptors, of which it has copies that no program can close; a thread that may run code of the program
//          calls the callbacks.
// Thread safety: any thread, but poll() only by one of weir's own, and run_callbacks() by one at a time.
//                The lock is never held while a callback runs.
// Invariants: of each kind, a listener is told once a window; nothing that happened is lost, it is told later. No
//             callback runs after remove_callback() has returned.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/lock.h"
#include "reclaim/bell.h"
#include "reclaim/psi.h"

namespace weir {

class Events {
 public:
  using Callback = void (*)(uint32_t events, void* arg);
  struct Filter {
    uint32_t events = 0;  // of enum weir_event
    uint64_t stall_ns = 0;
    uint64_t window_ns = 0;
  };
  static constexpr unsigned kMost = 256;

  constexpr Events() : mutex_(LockRank::kDecay) {}
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  enum class Added : uint8_t { kAdded, kExists, kNoRoom };
  // Nothing happens to a descriptor until it has a copy in the table of weir's threads, `own`, which is closed there.
  [[nodiscard]] Added add_descriptor(const Filter& filter, int fd);
  void adopted(int fd, int own);
  [[nodiscard]] Added add_callback(const Filter& filter, Callback callback, void* arg);
  // What has happened since the last call; negative: `fd` is not one of them.
  [[nodiscard]] int read(int fd);
  // The descriptor itself is the caller's to close.
  [[nodiscard]] bool remove_descriptor(int fd);
  // Waits until the callback has returned, unless it is called by that.
  [[nodiscard]] bool remove_callback(Callback callback, void* arg);

  // Something of these kinds has happened; told at the next poll. Any thread, whatever it holds.
  void note(uint32_t events) {
    if (nr_listeners_.load(std::memory_order_relaxed) != 0) noted_.fetch_or(events, std::memory_order_relaxed);
  }
  // Looks who is to be told, ten times in the shortest window or more often. True: callbacks are to be run.
  [[nodiscard]] bool poll(uint64_t now, const Psi& psi);
  void run_callbacks();
  // Whether anybody wants to hear of these kinds, or has.
  [[nodiscard]] bool has_listeners(uint32_t events) const {
    return (wanted_.load(std::memory_order_relaxed) & events) != 0;
  }
  bool has_callbacks() const { return nr_callbacks_.load(std::memory_order_relaxed) != 0; }

  // -- fork: callbacks are the child's too, descriptors are not
  void lock_for_fork() WEIR_NO_TSA;
  void unlock_for_fork() WEIR_NO_TSA { mutex_.unlock_for_fork(); }
  // With the lock held.
  void after_fork_in_child() WEIR_NO_TSA;

 private:
  // kLeft: removed; the copy of its descriptor is still to be closed.
  enum class State : uint8_t { kFree, kDescriptor, kCallback, kLeft };
  static constexpr unsigned kNrKinds = 6;

  struct Listener {
    State state;
    bool started;  // the triggers are
    bool leaving, removed_inside;
    Filter filter;
    PsiTrigger triggers[Psi::kNrKinds];
    uint64_t told[kNrKinds];  // when the kind was told last
    uint32_t ever;            // kinds that were told before
    uint32_t due;             // kinds that have happened and are to be told
    uint32_t pending;         // told, and not yet taken
    int fd, own;
    Callback callback;
    void* arg;
    std::atomic<uint32_t> runner;  // the thread that runs the callback; 0: none does
  };

  Listener* make(const Filter& filter, State state) WEIR_REQUIRES(mutex_);
  Listener* find_descriptor(int fd) WEIR_REQUIRES(mutex_);
  Listener* find_callback(Callback callback, void* arg) WEIR_REQUIRES(mutex_);
  void free_listener(Listener& listener) WEIR_REQUIRES(mutex_);
  Listener* take_pending(uint32_t& events);
  void give_back(Listener& listener);
  static uint32_t find_due(Listener& listener, uint32_t noted, uint64_t now, const Psi& psi);

  Mutex mutex_;
  Listener* listeners_ WEIR_GUARDED_BY(mutex_) = nullptr;
  uint32_t forking_thread_ = 0;
  std::atomic<uint32_t> nr_listeners_{0};
  std::atomic<uint32_t> nr_callbacks_{0};
  std::atomic<uint32_t> nr_left_{0};
  std::atomic<uint32_t> noted_{0};
  // All kinds that anybody ever wanted to hear of.
  std::atomic<uint32_t> wanted_{0};
};

}  // namespace weir
