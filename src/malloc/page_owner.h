// Purpose: who slabs and runs are charged to when they belong to a heap (heap/), and where their pages say so.
// Thread safety: the counts are atomic. Pages are tagged by whoever took them, before anybody else knows of them; tags
//                are read without a lock by whoever has a pointer there, which may be a wrong one.
// Invariants: the tag of a slab stands in `prev` of the first page of each of its 16 KiB units, where the address map
//             says kHeapClass; that of a run in `prev` of its head, whose `next` then has kOwnedRun. `next` and `prev`
//             of a run's second page are its neighbours in its owner's list. Nobody else uses these fields of pages
//             that are given out.
#pragma once

#include <atomic>
#include <cstdint>

#include "malloc/size_class.h"
#include "page/zone.h"

namespace weir {

// Among a run's flags (malloc/large.cc).
inline constexpr Pfn kOwnedRun = 4;
// A run of an owner is no shorter, because the second page has its links.
inline constexpr Pages kLeastOwnedRun{2};

inline constexpr unsigned kPagesPerSlabUnit = kSlabUnitSize / kPageSize;

// An owner's index (0: pages are nobody's), and the class of a slab (0: a run).
struct OwnerTag {
  uint32_t bits = 0;
  static constexpr OwnerTag of(uint32_t owner, size_t size_class) {
    return {owner | static_cast<uint32_t>(size_class) << 16};
  }
  uint32_t owner() const { return bits & 0xffff; }
  // Of a stale or wild pointer it may be no class at all.
  size_t size_class() const { return bits >> 16; }
  explicit operator bool() const { return bits != 0; }
};

inline Pfn first_of_slab_unit(Pfn pfn) {
  return pfn & ~Pfn{kPagesPerSlabUnit - 1};
}

inline void tag_slab(Zone& zone, Pfn head, unsigned units, OwnerTag tag) {
  for (unsigned i = 0; i < units; ++i)
    __atomic_store_n(&zone.desc(head + i * kPagesPerSlabUnit).prev, tag.bits, __ATOMIC_RELAXED);
}
inline OwnerTag slab_tag(const Zone& zone, const void* p) {
  return {__atomic_load_n(&zone.desc(first_of_slab_unit(zone.pfn_of(p))).prev, __ATOMIC_RELAXED)};
}

inline void tag_run(PageDesc& head, OwnerTag tag) {
  head.prev = tag.bits;
  head.next |= kOwnedRun;
}
inline OwnerTag run_tag(const PageDesc& head) {
  return (head.next & kOwnedRun) != 0 ? OwnerTag{head.prev} : OwnerTag{};
}

class PageOwner {
 public:
  static constexpr uint64_t kNoLimit = ~uint64_t{0};

  void init(uint32_t index) { index_ = index; }
  uint32_t index() const { return index_; }

  // Counts pages that are about to be taken; false: the limit does not allow it, and nothing changed.
  [[nodiscard]] bool charge(Pages count) {
    uint64_t now = charged_.load(std::memory_order_relaxed);
    do {
      const uint64_t limit = limit_.load(std::memory_order_relaxed);
      if (count.v > limit || now > limit - count.v) return false;
    } while (!charged_.compare_exchange_weak(now, now + count.v, std::memory_order_relaxed));
    note_peak(now + count.v);
    return true;
  }
  // Pages were given back.
  void uncharge(Pages count) { charged_.fetch_sub(count.v, std::memory_order_relaxed); }

  Pages charged() const { return Pages(charged_.load(std::memory_order_relaxed)); }
  Pages peak() const { return Pages(peak_.load(std::memory_order_relaxed)); }
  // Most pages; kNoLimit.
  uint64_t limit() const { return limit_.load(std::memory_order_relaxed); }
  void set_limit(uint64_t pages) { limit_.store(pages, std::memory_order_relaxed); }
  // Whether `count` pages more would be within the limit.
  bool has_room(Pages count) const { return count.v <= limit() && charged().v <= limit() - count.v; }

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
  }

 private:
  void note_peak(uint64_t now) {
    uint64_t before = peak_.load(std::memory_order_relaxed);
    while (before < now && !peak_.compare_exchange_weak(before, now, std::memory_order_relaxed)) {
    }
  }

  std::atomic<uint64_t> generation_{0};
  std::atomic<uint64_t> charged_{0};
  std::atomic<uint64_t> limit_{kNoLimit};
  std::atomic<uint64_t> peak_{0};
  uint32_t index_ = 0;
  std::atomic<bool> noswap_{false};
};

}  // namespace weir
