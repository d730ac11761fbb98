// Purpose: how many free resident pages were not needed for a whole decay time: the least that was free at any moment
//          of the last kTicks ticks. A program that uses and frees the same memory again and again keeps it; what
//          nobody wanted for the decay time is surplus.
// Thread safety: none; the zone locks.
#pragma once

#include <cstdint>

namespace weir {

class UnusedWindow {
 public:
  // The window is eight tenths of the decay time, and the ticks come every twentieth: surplus is then found and given
  // back before the decay time is over, even when a tick comes late.
  static constexpr unsigned kTicks = 16;
  static constexpr unsigned kTicksPerDecay = 20;

  // Called whenever pages are taken, with what is left.
  void note(uint64_t free) {
    if (free < current_min_) current_min_ = free;
  }

  // Ends a tick; returns the pages that were free throughout the window.
  uint64_t tick(uint64_t free_now) {
    ring_[next_] = current_min_ < free_now ? current_min_ : free_now;
    next_ = (next_ + 1) % kTicks;
    current_min_ = free_now;
    uint64_t least = free_now;
    for (uint64_t m : ring_)
      if (m < least) least = m;
    return least;
  }

  // After `pages` were given back they are missing from every entry.
  void forget(uint64_t pages) {
    for (uint64_t& m : ring_) m = m > pages ? m - pages : 0;
    current_min_ = current_min_ > pages ? current_min_ - pages : 0;
  }

 private:
  uint64_t ring_[kTicks] = {};
  uint64_t current_min_ = 0;
  unsigned next_ = 0;
};

}  // namespace weir
