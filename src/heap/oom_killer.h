// Purpose: what is done when memory runs out and there are heaps: who is chosen (oom/victim.h decides) loses it as its
//          heap's policy says.
// Thread safety: any thread, with no lock held. One decides at a time, as in the kernel (oom_lock); the others are told
//                to try again.
// Invariants: nothing is allocated in the arenas. Callbacks of the program run with no lock of weir's held.
#pragma once

#include <atomic>

#include "base/units.h"
#include "oom/ask.h"

namespace weir {

class HeapRegistry;
class OomTable;

class OomKiller {
 public:
  explicit OomKiller(HeapRegistry& heaps) : heaps_(heaps) {}
  OomVerdict out_of_memory(OomAsk& ask);
  // Whoever was deciding is not there.
  void after_fork_in_child() { busy_.store(0, std::memory_order_relaxed); }

 private:
  enum class Done : uint8_t { kTryAgain, kFail, kAbort, kNextVictim };
  OomVerdict choose(OomTable& table, OomAsk& ask);
  Done carry_out(OomTable& table, const OomDecision& decision, OomAsk& ask);
  Done release(OomTable& table, const OomDecision& decision, OomAsk& ask);
  void remember(OomTable& table, size_t victim);

  HeapRegistry& heaps_;
  std::atomic<uint32_t> busy_{0};
  // By who decides.
  bool killed_before_ = false;
  Pages rest_at_last_kill_{};
};

}  // namespace weir
