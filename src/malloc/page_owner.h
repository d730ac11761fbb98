// Purpose: where pages of slabs and runs say that they belong to a heap (heap/), and to which.
// Thread safety: pages are tagged by whoever took them, before anybody else knows of them; tags are read without a lock
//                by whoever has a pointer there, which may be a wrong one.
// Invariants: the tag of a slab stands in `prev` of the first page of each of its 16 KiB units, where the address map
//             says kHeapClass; that of a run in `prev` of its head, whose `next` then has kOwnedRun. `next` and `prev`
//             of a run's second page are its neighbours in its owner's list. Nobody else uses these fields of pages
//             that are given out.
#pragma once

#include <cstdint>

#include "malloc/size_class.h"
#include "page/page_owner.h"
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

}  // namespace weir
