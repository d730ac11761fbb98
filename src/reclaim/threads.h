// Purpose: what each of weir's threads works with, and what threads of the program wait for or ask of them.
// Thread safety: a thread's own, but for what is atomic, and for lists, which Reclaimer's request_mutex_ guards.
// Invariants: requests and waiters are on the stack of who waits until they are done.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "file/flusher.h"
#include "os/service_thread.h"
#include "reclaim/budget_pool.h"
#include "reclaim/node.h"
#include "reclaim/shrinkers.h"
#include "reclaim/waker.h"
#include "reclaim/workbench.h"

namespace weir {

class Reclaimer;

// One a userfaultfd.
struct Handler {
  Reclaimer* reclaimer = nullptr;
  unsigned shard = 0;
  int cpu = -1;  // that it is bound to
  std::atomic<bool> at_work{false};
  uint32_t last_thread = 0;  // whose fault was served last
  unsigned in_a_row = 0;     // and how many more before it were the same thread's
  unsigned moves = 0;        // to another processor, with one fault after the other of one thread
  unsigned most_moves = 0;   // after which the waker is to help
  unsigned least_moves = 0;  // that this can be
  unsigned with_waker = 0;   // faults since it does
  Waker waker;
  os::ServiceStack stack;
  Workbench bench;
};

// A thread that waits for pages.
struct Waiter {
  Pages count;
  Waiter* next = nullptr;
  // Besides, in vain: its cache was emptied; and at last, all caches were asked for all they have.
  bool drained = false;
  bool asked_all = false;
};

// One a node.
struct Kswapd {
  Reclaimer* reclaimer = nullptr;
  NodeReclaim* node = nullptr;
  os::ServiceStack stack;
  Workbench bench;
  std::atomic<uint32_t> thread{0};  // its number, once it works
  std::atomic<bool> asleep{false};
  std::atomic<uint32_t> word{0};             // changes when there is something to do
  std::atomic<uint32_t> progress{0};         // changes when pages were freed, or it gave up
  std::atomic<uint32_t> waiting{0};          // threads that wait for pages
  std::atomic<uint64_t> waiting_pages{0};    // and for how many
  std::atomic<uint64_t> waiting_most{0};     // and the one that wants most
  Waiter* waiters = nullptr;                 // all of them; guarded by request_mutex_
  std::atomic<uint32_t> fruitless{0};        // rounds in a row that freed nothing
  std::atomic<uint32_t> direct_failures{0};  // in a row, of faults that found no room
  std::atomic<uint32_t> purges{0};           // changes when it has given back what free pages hold too much
  std::atomic<uint32_t> waiting_faults{0};   // handlers that wait for that
  std::atomic<uint64_t> unpurgeable{0};      // pages of which nothing went, the last time (they are locked)
  uint64_t stolen_before = 0;
  uint64_t empty_again_ns = 0;                         // when old swap files are gone through again
  Pages part_before{};                                 // of the pool
  Pages others_before{};                               // what others in the process held when it slept last
  uint64_t pause_ms = 1;                               // and for how long it did
  uint64_t owed_since_ns = 0;                          // 0: not
  std::atomic<uint32_t> owed_pause{0};                 // never changes
  std::atomic<bool> local{false};                      // somebody has the node reclaimed before others are taken from
  std::atomic<uint32_t> local_pages{0};                // and waits until it has so many; 0: nobody waits
  std::atomic<uint32_t> local_failures{0};             // attempts in a row that were in vain, or not made for that
  unsigned slab_priority = Shrinkers::kFirstPriority;  // that the program's caches were asked at last
  bool slab_asked = false;                             // they were, since there was enough
  uint64_t objects_freed = 0;                          // by caches, when they were asked last
  uint64_t pages_wanted = 0;                           // how many will have been freed on the node when that was enough
  // Where faults are not seen (look_for_unseen.cc): when it looked last, how long that took, what it did not know of
  // then, and whether it found much.
  uint64_t look_began_ns = 0, look_took_ns = 0;
  int64_t uncounted = 0;
  bool finds_much = false;
  uint32_t beat = 0;     // of the shrinkers, at the last look
  uint64_t beat_ms = 0;  // since when it is that, or they were asked
};

struct FlusherThread {
  Reclaimer* reclaimer = nullptr;
  os::ServiceStack stack;
  Flusher flusher;
  std::atomic<uint32_t> word{0};  // changes when it is to look again
  uint64_t gone_before = 0;       // FilePages::writable_gone when kswapd looked last
};

// What a thread of the program has a kswapd do.
struct Request {
  NodeReclaim* node = nullptr;
  Pfn first = 0;
  Pages count{};        // 0: adopt the child's lifeline, or a descriptor
  int descriptor = -1;  // of the program; then of weir's threads
  void (*with_pool)(BudgetPool&, void*) = nullptr;
  void* argument = nullptr;
  std::string_view pool;          // to be joined
  bool swap_file = false;         // to be replaced
  const char* problem = nullptr;  // with that
  BudgetPool::Join joined = BudgetPool::Join::kBusy;
  std::atomic<uint32_t> done{0};  // 1 yes, 2 no
  Request* next = nullptr;
};

// What it has a node's kswapd free of an owner's pages.
struct OwnerRequest {
  NodeReclaim* node = nullptr;
  PageOwner* owner = nullptr;
  Pages count{};
  Pages reclaimed{};
  std::atomic<uint32_t> done{0};
  OwnerRequest* next = nullptr;
};

}  // namespace weir
