// Purpose: who pays for pages that belong to a heap (heap/): how many it was given, how many of them are in memory,
//          its limit, and what reclaim within it needs to know.
// Thread safety: everything is atomic. `charged` changes under the locks of whoever owns the pages.
// Invariants: swapped and standby pages are among the charged ones: they are counted from after their page was charged
//             until before it is uncharged. At quiet moments charged - swapped <= limit, unless faults brought pages
//             back that nothing could make room for.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/publish.h"
#include "base/units.h"
#include "weir/stats_page.h"

namespace weir {

class PageOwner {
 public:
  static constexpr uint64_t kNoLimit = ~uint64_t{0};

  // `row`: where its numbers are shown to other processes; null: nowhere.
  void init(uint32_t index, weir_stats_heap* row) {
    index_ = index;
    row_ = row;
  }
  weir_stats_heap* row() const { return row_; }
  // Shows all of it: of a heap that is new here, or in the child of a fork.
  void show_all() {
    if (row_ == nullptr) return;
    publish(row_->charged, charged().v);
    publish(row_->swapped, swapped().v);
    publish(row_->peak, peak().v);
    publish(row_->noswap, uint32_t{noswap()});
    set_limit(limit());
    set_cap(Pages(cap_.load(std::memory_order_relaxed)));
  }
  uint32_t index() const { return index_; }

  // Counts pages that are about to be taken; false: the limit does not allow it, and nothing changed.
  [[nodiscard]] bool charge(Pages count) {
    uint64_t now = charged_.load(std::memory_order_relaxed);
    if (cap_.load(std::memory_order_relaxed) != kNoLimit && !is_capped_at(now)) set_cap(Pages(kNoLimit));
    do {
      if (!allows(now, count)) return false;
    } while (!charged_.compare_exchange_weak(now, now + count.v, std::memory_order_relaxed));
    note_peak(now + count.v);
    show(&weir_stats_heap::charged, static_cast<int64_t>(count.v));
    return true;
  }
  // Pages were given back.
  void uncharge(Pages count) {
    charged_.fetch_sub(count.v, std::memory_order_relaxed);
    show(&weir_stats_heap::charged, -static_cast<int64_t>(count.v));
  }

  Pages charged() const { return Pages(charged_.load(std::memory_order_relaxed)); }
  Pages peak() const { return Pages(peak_.load(std::memory_order_relaxed)); }
  // Most pages in memory; kNoLimit.
  uint64_t limit() const { return limit_.load(std::memory_order_relaxed); }
  void set_limit(uint64_t pages) {
    limit_.store(pages, std::memory_order_relaxed);
    if (row_ != nullptr) publish(row_->limit, pages == kNoLimit ? 0 : pages);
  }
  // Whether `count` pages more would be within the limit.
  bool has_room(Pages count) const { return allows(charged().v, count); }

  // -- in memory, and not: what the limit counts are the pages that were given out, touched or not, but those that lie
  // in compressed memory or a file
  Pages swapped() const { return Pages(swapped_.load(std::memory_order_relaxed)); }
  Pages resident() const { return Pages(resident_of(charged().v)); }
  // Unmapped, but in memory.
  Pages standby() const { return Pages(standby_.load(std::memory_order_relaxed)); }
  // By reclaim, whose page states these are.
  void add_swapped(int64_t pages) {
    swapped_.fetch_add(static_cast<uint64_t>(pages), std::memory_order_relaxed);
    show(&weir_stats_heap::swapped, pages);
  }
  void add_standby(int64_t pages) { standby_.fetch_add(static_cast<uint64_t>(pages), std::memory_order_relaxed); }
  void forget_away() {
    swapped_.store(0, std::memory_order_relaxed);
    standby_.store(0, std::memory_order_relaxed);
    if (row_ != nullptr) publish(row_->swapped, uint64_t{0});
  }

  // -- the cap of the OOM policy: what it may be given, swapped or not, until it has given back an eighth of that
  void set_cap(Pages most) {
    cap_.store(most.v, std::memory_order_relaxed);
    if (row_ != nullptr) publish(row_->cap, most.v == kNoLimit ? 0 : most.v);
  }
  bool is_capped() const { return is_capped_at(charged().v); }

  // Odd while there is a heap here; each heap has its own. Whoever changes it takes every lock of the heap once before
  // anything of another heap is there, so that who looks with such a lock held acts for the heap that was meant.
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
  void next_generation() { generation_.fetch_add(1, std::memory_order_release); }
  bool is(uint64_t generation) const { return generation_.load(std::memory_order_acquire) == generation; }

  // Whether its pages stay in memory whatever the process's limit says. Constant while pages are charged.
  bool noswap() const { return noswap_.load(std::memory_order_relaxed); }
  // Of a new heap in this place.
  void reset(uint64_t limit_pages, bool noswap) {
    set_limit(limit_pages);
    noswap_.store(noswap, std::memory_order_relaxed);
    peak_.store(0, std::memory_order_relaxed);
    cap_.store(kNoLimit, std::memory_order_relaxed);
    first_page_.store(~uint32_t{0}, std::memory_order_relaxed);
    end_page_.store(0, std::memory_order_relaxed);
    fruitless_.store(0, std::memory_order_relaxed);
  }

  // -- reclaim within it: where its pages lie, [first, end), and where two hands of a clock stand
  void note_place(Pfn first, Pages count) {
    const Pfn end = first + static_cast<Pfn>(count.v);
    for (Pfn now = first_page_.load(); first < now && !first_page_.compare_exchange_weak(now, first);) {
    }
    for (Pfn now = end_page_.load(); end > now && !end_page_.compare_exchange_weak(now, end);) {
    }
  }
  Pfn first_page() const { return first_page_.load(std::memory_order_relaxed); }
  Pfn end_page() const { return end_page_.load(std::memory_order_relaxed); }
  enum Hand : uint8_t { kUnmap, kWrite };
  std::atomic<uint32_t>& hand(Hand which) { return hands_[which]; }
  // Attempts in a row that freed nothing.
  std::atomic<uint32_t>& fruitless() { return fruitless_; }

 private:
  uint64_t resident_of(uint64_t charged) const {
    const uint64_t away = swapped_.load(std::memory_order_relaxed);
    return charged > away ? charged - away : 0;
  }
  bool is_capped_at(uint64_t charged) const {
    const uint64_t cap = cap_.load(std::memory_order_relaxed);
    return cap != kNoLimit && charged >= cap - cap / 8;
  }
  bool allows(uint64_t charged, Pages count) const {
    const uint64_t most = limit(), cap = cap_.load(std::memory_order_relaxed);
    if (most != kNoLimit && (count.v > most || resident_of(charged) > most - count.v)) return false;
    return !is_capped_at(charged) || (count.v <= cap && charged <= cap - count.v);
  }
  void note_peak(uint64_t now) {
    uint64_t before = peak_.load(std::memory_order_relaxed);
    while (before < now && !peak_.compare_exchange_weak(before, now, std::memory_order_relaxed)) {
    }
    if (before < now && row_ != nullptr) publish(row_->peak, now);
  }
  // Added, so that it does not matter who is first.
  void show(uint64_t weir_stats_heap::*field, int64_t change) {
    if (row_ != nullptr) __atomic_fetch_add(&(row_->*field), static_cast<uint64_t>(change), __ATOMIC_RELAXED);
  }

  std::atomic<uint64_t> generation_{0};
  std::atomic<uint64_t> charged_{0};
  std::atomic<uint64_t> swapped_{0};
  std::atomic<uint64_t> standby_{0};
  std::atomic<uint64_t> limit_{kNoLimit};
  std::atomic<uint64_t> cap_{kNoLimit};
  std::atomic<uint64_t> peak_{0};
  uint32_t index_ = 0;
  weir_stats_heap* row_ = nullptr;
  std::atomic<bool> noswap_{false};
  std::atomic<Pfn> first_page_{~uint32_t{0}}, end_page_{0};
  std::atomic<uint32_t> hands_[2] = {};
  std::atomic<uint32_t> fruitless_{0};
};

// How reclaim finds the owners of pages, which lie above it. No hook takes a lock or touches arena memory.
struct PageOwners {
  void* self = nullptr;
  // Of an index that a page was tagged with.
  PageOwner& (*find)(void* self, uint32_t index) = nullptr;
  // A NUL-terminated name.
  const char* (*name)(void* self, uint32_t index) = nullptr;
  // Of the owners on a node the one that is furthest above its soft limit, and by how many pages; null: none is.
  PageOwner* (*most_over_soft_limit)(void* self, NodeId node, Pages& excess) = nullptr;
};

}  // namespace weir
