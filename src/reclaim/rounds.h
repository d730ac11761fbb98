// Purpose: for how many more rounds of ageing each page of a cluster stays, which is all that stands for how often a
//          page is used: there are no accessed bits. A page that comes back soon after it left stays for a round, for
//          four when it did so the last time, too, and for eight from the third time on (a clock with counters: Nicola,
//          Dan, Dias, "Analysis of the generalized clock buffer replacement scheme", 1992). The longer hot pages stay,
//          the fewer cold ones lie between them, and the sooner those are found.
// Thread safety: any thread; each bit is changed by one atomic operation. Two changes of the same pages at a time may
//                mix, and leave some a few rounds more or less.
// Invariants: a page stays for `counter + 1` more rounds if it is active, and for none otherwise. Then its counter is
//             0, so that who makes it active by its bit alone gives it one round.
#pragma once

#include <atomic>
#include <cstdint>

namespace weir {

// Counters for 64 pages, bit by bit: ageing a cluster takes a few operations, however many pages it has. `active` is a
// mask of theirs that lies elsewhere, because every fault looks at it.
class Rounds {
 public:
  static constexpr unsigned kOnce = 1, kTwice = 4, kMost = 8;

  // A page came back soon, or was touched in Standby.
  void came_soon(std::atomic<uint64_t>& active, uint64_t page) {
    const bool once = (once_.fetch_or(page, std::memory_order_relaxed) & page) != 0;
    const bool twice = once && (twice_.fetch_or(page, std::memory_order_relaxed) & page) != 0;
    const unsigned counter = (twice ? kMost : once ? kTwice : kOnce) - 1;
    for (unsigned i = 0; i < kBits; ++i) {
      if ((counter >> i & 1) != 0)
        counter_[i].fetch_or(page, std::memory_order_relaxed);
      else
        clear(counter_[i], page);
    }
    active.fetch_or(page, std::memory_order_relaxed);
  }

  // It was not soon.
  void came_late(uint64_t pages) {
    clear(once_, pages);
    clear(twice_, pages);
  }

  void forget(std::atomic<uint64_t>& active, uint64_t pages) {
    clear(active, pages);
    for (std::atomic<uint64_t>& bits : counter_) clear(bits, pages);
    came_late(pages);
  }

  // A round is over for these pages. `haste`: how often their counters are halved, rather than lowered by one, because
  // nothing else was found. Returns those that are not active any more.
  uint64_t age(std::atomic<uint64_t>& active, uint64_t pages, unsigned haste) {
    uint64_t counted = 0;
    for (const std::atomic<uint64_t>& bits : counter_) counted |= bits.load(std::memory_order_relaxed);
    const uint64_t before = active.load(std::memory_order_relaxed) & pages;
    const uint64_t ended = before & ~counted;
    clear(active, ended);
    if (const uint64_t left = before & counted; left != 0) haste == 0 ? lower(left) : halve(left, haste);
    return ended;
  }

  // For how many more rounds the page stays whose bit this is, 0 to kMost.
  unsigned left(const std::atomic<uint64_t>& active, uint64_t page) const {
    if ((active.load(std::memory_order_relaxed) & page) == 0) return 0;
    unsigned counter = 0;
    for (unsigned i = 0; i < kBits; ++i)
      counter |= unsigned{(counter_[i].load(std::memory_order_relaxed) & page) != 0} << i;
    return counter + 1;
  }

 private:
  static constexpr unsigned kBits = 3;
  static_assert(kMost == 1u << kBits);

  // Most are clear already, and looking costs less than an atomic change.
  static void clear(std::atomic<uint64_t>& bits, uint64_t pages) {
    if ((bits.load(std::memory_order_relaxed) & pages) != 0) bits.fetch_and(~pages, std::memory_order_relaxed);
  }

  void lower(uint64_t pages) {
    uint64_t borrow = pages;
    for (unsigned i = 0; i < kBits && borrow != 0; ++i)
      borrow &= ~counter_[i].fetch_xor(borrow, std::memory_order_relaxed);
  }

  void halve(uint64_t pages, unsigned times) {
    for (unsigned i = 0; i < kBits; ++i) {
      const uint64_t higher = i + times < kBits ? counter_[i + times].load(std::memory_order_relaxed) : 0;
      const uint64_t change = (counter_[i].load(std::memory_order_relaxed) ^ higher) & pages;
      if (change != 0) counter_[i].fetch_xor(change, std::memory_order_relaxed);
    }
  }

  std::atomic<uint64_t> counter_[kBits];
  std::atomic<uint64_t> once_, twice_;  // came back soon the last time, and the time before, too
};

}  // namespace weir
