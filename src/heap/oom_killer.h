// Purpose: what is done when memory runs out and there are heaps, or other members of a pool: who is chosen
//          (oom/victim.h decides) loses it as the heap's or process's policy says.
// Thread safety: any thread, with no lock held. One decides at a time, as in the kernel (oom_lock), in a pool one of
// all
//                its members; the others wait for what comes of it and are told to try again.
// Invariants: nothing is allocated in the arenas. Callbacks of the program run with no lock of weir's held.
#pragma once

#include <atomic>

#include "base/live.h"
#include "base/units.h"
#include "oom/ask.h"

namespace weir {

class HeapRegistry;
class OomTable;
class PoolDecision;

class OomKiller {
 public:
  explicit OomKiller(HeapRegistry& heaps) : heaps_(heaps) {}
  OomVerdict out_of_memory(OomAsk& ask);
  // Whoever was deciding is not there.
  void after_fork_in_child() { busy_.store(0, std::memory_order_relaxed); }

  // -- of decisions of other members of the pool
  // What the process held in no heap when somebody was chosen last.
  Pages rest_at_last_kill() const { return rest_at_last_kill_; }
  // Somebody was chosen, when this process held so much. By kswapd.
  void note_kill_of_other(Pages held);

 private:
  enum class Done : uint8_t { kTryAgain, kFail, kAbort, kNextVictim };
  OomVerdict decide(OomAsk& ask);
  OomVerdict choose(OomTable& table, OomAsk& ask, PoolDecision* others);
  void cap_leaking(OomTable& table, size_t leaking, PoolDecision* others);
  Done carry_out(OomTable& table, const OomDecision& decision, OomAsk& ask);
  Done carry_out_elsewhere(OomTable& table, const OomDecision& decision, OomAsk& ask, PoolDecision& others);
  Done release(OomTable& table, const OomDecision& decision, OomAsk& ask);
  void remember(OomTable& table, size_t victim);

  HeapRegistry& heaps_;
  std::atomic<uint32_t> busy_{0};
  // By who decides, and kswapd.
  Live<bool> killed_before_;
  Live<Pages> rest_at_last_kill_;
};

}  // namespace weir
