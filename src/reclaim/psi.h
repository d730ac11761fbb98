// Purpose: pressure stall information of one process: how much of its time at least one thread (some) and all of them
//          (full) were stalled on memory; and triggers, which tell when that was much within a window.
// Thread safety: none; the owner locks. Times are nanoseconds of one clock, given by the caller.
// Invariants: full <= some <= the time that has passed.
//
// Source: Linux 6.12 kernel/sched/psi.c. A process is one group without processors: who is stalled is known, where the
// others run is not.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/print.h"

namespace weir {

class Psi {
 public:
  enum Kind : unsigned { kSome, kFull, kNrKinds };
  static constexpr unsigned kNrAverages = 3;  // over 10, 60 and 300 s

  // From here on; everything is 0.
  void start(uint64_t now);
  // Another thread is stalled, or is no more, of `threads` that could be.
  void begin_stall(uint64_t now, uint64_t threads) { change(now, nr_stalled_ + 1, threads); }
  void end_stall(uint64_t now, uint64_t threads) { change(now, nr_stalled_ != 0 ? nr_stalled_ - 1 : 0, threads); }
  // Counts what has passed so far, and brings the averages up to date when it is time (psi_avgs_work).
  void update(uint64_t now, uint64_t threads);

  // As of the last call of any of the above.
  uint64_t total_ns(Kind kind) const { return total_[kind]; }
  // In percent, as the kernel writes it: whole and hundredths.
  struct Percent {
    uint64_t whole, hundredths;
  };
  Percent average(Kind kind, unsigned which) const;
  uint64_t nr_stalled() const { return nr_stalled_; }

  // Appends the two lines of /proc/pressure/memory.
  void format(Line& line) const;

 private:
  void change(uint64_t now, uint64_t stalled, uint64_t threads);
  void record(uint64_t now);
  void update_averages(uint64_t now);

  uint64_t nr_stalled_ = 0;
  bool some_ = false, full_ = false;  // the state since `state_start_`
  uint64_t state_start_ = 0;
  uint64_t total_[kNrKinds] = {};
  uint64_t averaged_[kNrKinds] = {};  // of the total, what the averages have seen
  uint64_t average_[kNrKinds][kNrAverages] = {};
  uint64_t last_update_ = 0, next_update_ = 0;
};

// Tells when a total has grown by a threshold within a window, at most once a window (psi_trigger, window_update).
class PsiTrigger {
 public:
  // The range of windows, and how often update() should be called (WINDOW_MIN_US, WINDOW_MAX_US, UPDATES_PER_WINDOW).
  static constexpr uint64_t kLeastWindowNs = 500'000'000, kMostWindowNs = 10'000'000'000;
  static constexpr uint64_t kUpdatesPerWindow = 10;

  void start(uint64_t now, uint64_t total, uint64_t threshold, uint64_t window);
  // True: an event.
  [[nodiscard]] bool update(uint64_t now, uint64_t total);

 private:
  uint64_t growth(uint64_t now, uint64_t total);

  uint64_t threshold_ = 0, window_ = 0;
  uint64_t window_start_ = 0, value_at_start_ = 0, growth_before_ = 0;
  uint64_t last_total_ = 0, last_event_ = 0;
  bool pending_ = false, fired_ = false;
};

}  // namespace weir
