// Purpose: the last ones whom the OOM policy chose, for who asks (weir_victims in include/weir/events.h).
// Thread safety: any thread.
#pragma once

#include <cstdint>
#include <new>

#include "base/lock.h"
#include "weir/events.h"

namespace weir {

class VictimLog {
 public:
  static constexpr unsigned kKept = 16;

  VictimLog() : mutex_(LockRank::kLru) {}
  // Its number is given here. One that is the same as the last one takes its place.
  void add(const weir_victim& victim);
  // Copies those with a number above `after`, the earliest first; returns how many.
  unsigned copy(uint64_t after, weir_victim* to, unsigned most);
  // Of the parent's, the child of a fork keeps what there is; nobody holds the lock.
  void after_fork_in_child() { new (&mutex_) Mutex(LockRank::kLru); }

 private:
  Mutex mutex_;
  uint64_t last_number_ WEIR_GUARDED_BY(mutex_) = 0;
  unsigned nr_kept_ WEIR_GUARDED_BY(mutex_) = 0;
  weir_victim kept_[kKept] WEIR_GUARDED_BY(mutex_) = {};
};

}  // namespace weir
