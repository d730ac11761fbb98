// Purpose: the stretch of address space of one node: an accessible prefix that grows, and beside it arrays of metadata
//          that grow with it. Address -> page number -> metadata is arithmetic.
// Thread safety: none; the zone that owns the arena locks. What init() set never changes and may be read by anyone.
// Invariants: metadata covers at least the accessible prefix. All metadata lies outside the arena itself, because
//             memory that can be swapped must never be needed to swap it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.h"
#include "page/page_desc.h"

namespace weir {

// Metadata is counted per unit of 64 KiB.
inline constexpr unsigned kUnitShift = 16;
inline constexpr size_t kUnitSize = size_t{1} << kUnitShift;
inline constexpr size_t kUnitPages = kUnitSize / kPageSize;

// Where an arena lies. `bare` space is not mapped at all until it is used, so that it counts neither towards
// RLIMIT_AS nor towards overcommit nor mlockall; it must lie where the kernel puts nothing of its own accord.
struct ArenaPlace {
  char* memory = nullptr;    // first byte of the arena, aligned to 4 MiB
  char* metadata = nullptr;  // arena_metadata_span(capacity) bytes
  Pages capacity{};          // a multiple of kMaxOrderPages
  bool bare = false;         // grows by mapping; otherwise the space is reserved and grows by mprotect
};

// Metadata arrays that rooms above add to each arena; bytes per unit, 0 = none.
struct MetadataStrides {
  size_t first = 0;
  size_t second = 0;
};

// Address space that the metadata of an arena of `capacity` may take.
constexpr size_t arena_metadata_span(Pages capacity) {
  return align_up(bytes_of(capacity) / 64, kUnitSize) + 16 * kUnitSize;
}

// Finds address space for `nr_nodes` arenas of `capacity` pages side by side, behind their metadata. With `bare`
// the space is picked by `random` in the middle of the 47-bit address space and not mapped yet; otherwise it is
// reserved wherever the kernel likes. False when there is none.
[[nodiscard]] bool place_arenas(unsigned nr_nodes, Pages capacity, bool bare, uint64_t random, ArenaPlace* places);
// Gives reserved places back, with all that grew in them. Bare places are nobody's: Arena::unmap gives back what is
// ours.
void release_arenas(unsigned nr_nodes, const ArenaPlace& first);

class Arena {
 public:
  // `os_node` < 0: memory is not bound to a node. False when not even the fixed metadata can be had.
  [[nodiscard]] bool init(const ArenaPlace& place, MetadataStrides extra, int os_node);

  // Unmaps what was made accessible, and nothing else; the arena is of no use afterwards.
  void unmap();

  // Makes the first `pages` pages accessible; false (and the old extent) when the system refuses.
  [[nodiscard]] bool grow_to(Pages pages);

  char* memory() const { return place_.memory; }
  Pages capacity() const { return place_.capacity; }
  Pages accessible() const { return accessible_; }
  PageDesc* pages() const { return reinterpret_cast<PageDesc*>(arrays_[kDescriptors].base); }
  uint64_t* residency() const { return reinterpret_cast<uint64_t*>(arrays_[kResidency].base); }
  uint64_t* free_max_blocks() const { return free_max_blocks_; }
  MigrateType* pageblock_types() const { return pageblock_types_; }
  char* extra_metadata(unsigned which) const { return arrays_[kFirstExtra + which].base; }
  // Replaces the mapping of a range by fresh zero pages, bound as the rest.
  [[nodiscard]] bool renew(Pfn first, Pages count);
  // Gives the memory of the rooms' metadata for a free block of the largest order back; it reads as zeros afterwards.
  void drop_extra_metadata(Pfn max_block) const;
  size_t metadata_bytes() const;

 private:
  // The smallest first: its first page then shares a page table with what is accessible from the start.
  enum { kResidency, kDescriptors, kFirstExtra, kSecondExtra, kNrArrays };
  struct Array {
    char* base = nullptr;
    size_t bytes_per_unit = 0;
    size_t committed = 0;
  };

  bool make_accessible(char* from, size_t bytes);
  bool make_metadata_accessible(char* from, size_t bytes);

  ArenaPlace place_;
  int os_node_ = -1;
  Pages accessible_{};
  size_t fixed_bytes_ = 0;  // of metadata that was accessible from the start
  uint64_t* free_max_blocks_ = nullptr;
  MigrateType* pageblock_types_ = nullptr;
  Array arrays_[kNrArrays];
};

}  // namespace weir
