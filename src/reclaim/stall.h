// Purpose: that a thread of the program is stalled for want of memory, told from the thread of weir's own that serves
// it. Thread safety: a Workbench's thread. Invariants: what began as a stall ends as one, or is left to somebody else
// to end.
#pragma once

#include "reclaim/reclaimer.h"

namespace weir {

// As long as it lives, the thread that the bench's owner serves is stalled; within another one it changes nothing.
class Stall {
 public:
  Stall(Reclaimer& reclaimer, Workbench& bench)
      : reclaimer_(reclaimer), bench_(bench), nested_(bench.stalls), outer_(nested_) {
    if (nested_) return;
    bench_.stalls = true;
    reclaimer_.begin_stall();
  }
  ~Stall() {
    bench_.stalls = nested_;
    if (!outer_) reclaimer_.end_stall();
  }
  Stall(const Stall&) = delete;
  Stall& operator=(const Stall&) = delete;
  // The thread stays stalled; somebody else ends it.
  void leave_open() { outer_ = true; }

 private:
  Reclaimer& reclaimer_;
  Workbench& bench_;
  const bool nested_;
  bool outer_;
};

}  // namespace weir
