// Purpose: one victim list over all members of a pool (include/weir/pool.h): what this process tells of itself and the
//          orders it is given; and, when its own memory runs out, the calls and orders of the one that decides. Who is
//          chosen is not decided here (heap/oom_killer.h).
// Thread safety: PoolMember: serve() by the first kswapd, carry_out() by the thread that may run callbacks of the
//                program. PoolDecision: one at a time, by a thread of the program with no lock held.
// Invariants: a member may die, stop or not react at any moment: nobody waits for it longer than the constants of
//             pool_oom.cc say, and the lock that who decides holds is the kernel's to take back.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/units.h"
#include "reclaim/budget_pool.h"

namespace weir {

class Reclaimer;

class PoolMember {
 public:
  struct Held {
    Pages used{}, swapped{};
  };
  // The registered heaps, which lie above.
  struct Hooks {
    void* self = nullptr;
    // Writes up to `most` rows, the process's own first, which the caller has begun; returns how many. `total`: as for
    // oom_badness.
    uint32_t (*rows)(void* self, weir_pool_row* rows, uint32_t most, Pages total) = nullptr;
    // Somebody was chosen: growth is measured from now on. `rest`: what the process holds.
    void (*note_kill)(void* self, Pages held) = nullptr;
    // Does to a heap what its policy says (it may not come back). As soon as `state` is not order.state any more, who
    // gave the order does not want it any more.
    weir_pool_order_result (*carry_out)(void* self, const weir_pool_order& order, const uint64_t& state) = nullptr;
  };
  enum class Wish : uint8_t { kNothing, kCallbacks, kEnd };

  void set_hooks(const Hooks& hooks) { hooks_.store(&hooks, std::memory_order_release); }
  // Answers a call of who decides, and looks whether there is an order: for the thread that may run callbacks
  // (kCallbacks; `has_thread`: there is one), or for the process to end (kEnd).
  [[nodiscard]] Wish serve(const BudgetPool& pool, Held held, bool has_thread);
  // Whether serve() will answer a call.
  static bool is_called(const BudgetPool& pool);
  bool has_order() const { return has_order_.load(std::memory_order_acquire); }
  // Carries out the order that serve() took for heaps.
  void carry_out(const BudgetPool& pool);
  // The child of a fork has no order and has told nothing yet.
  void forget();

 private:
  void answer(const BudgetPool& pool, Held held, uint64_t call);
  bool take(weir_pool_order& order);
  void finish(weir_pool_member& self, weir_pool_order_result result);

  std::atomic<const Hooks*> hooks_{nullptr};
  uint64_t kills_seen_ = 0;
  // A copy: who gave it may take it back, and another may give the next one.
  weir_pool_order order_ = {};
  std::atomic<bool> has_order_{false};
};

// As long as it lives, this process decides for the pool.
class PoolDecision {
 public:
  enum class State : uint8_t {
    kOpen,   // it does; everybody was called
    kAlone,  // there is nobody else to choose from
    kBusy,   // another member decides
  };
  enum class Answer : uint8_t { kDone, kFreed, kStays, kNone };
  struct Victim {
    unsigned member = 0;
    uint64_t joined = 0;  // which of the entry's owners is meant
    weir_pool_kill kill = WEIR_POOL_KILL_FAIL;
    uint64_t heap = 0;
    uint64_t wanted = 0;  // pages, see weir_pool_order
    int64_t points = 0;
  };

  explicit PoolDecision(Reclaimer& reclaimer);
  ~PoolDecision();
  PoolDecision(const PoolDecision&) = delete;
  PoolDecision& operator=(const PoolDecision&) = delete;

  State state() const { return state_; }
  const weir_pool& pool() const { return *pool_; }
  // Whether so many pages are there after all, now that nobody keeps any ahead of need.
  [[nodiscard]] bool has_room(Pages count);
  // The entries of live members but this one.
  bool is_other(unsigned member) const;
  // Its rows, when it answered the call; else null.
  const weir_pool_row* rows(unsigned member, uint32_t& count) const;
  // Has a victim of another member lose what it has; returns when that is so, or it does not react.
  [[nodiscard]] Answer kill(const Victim& victim);
  // Waits for a process that is on its way to its end already.
  void wait_for_end(unsigned member);
  // Somebody was chosen: everybody notes what it holds.
  void note_kill();
  // Waits until what the victim gave back has come to this process, as far as it may have it.
  void take_over(unsigned member);

 private:
  bool begin();
  void keep_tight();
  void call_all();
  bool is_same(const Victim& victim) const;
  bool give(const Victim& victim, uint64_t ticket);
  bool end_stopped(const Victim& victim);
  Answer await(const Victim& victim, uint64_t ticket);
  Answer await_end(const Victim& victim);

  Reclaimer& reclaimer_;
  weir_pool* pool_ = nullptr;
  unsigned index_ = 0;
  uint64_t call_ = 0;
  State state_ = State::kAlone;
};

}  // namespace weir
