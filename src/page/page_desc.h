// Purpose: the descriptor of a page, the state it is in, and the kinds of pageblocks.
// Thread safety: a descriptor is guarded by its zone's lock while its block is free or isolated. While it is allocated,
//                `next` and `prev` belong to the block's owner; the others change with the lock held, so that who holds
//                it may walk from head to head.
// Invariants: all zero bytes are a body page, so that memory nobody touched needs no descriptors. Only the first page
// of a block or run (its head) has a state other than kBody and kFreeTail, and every page
//             belongs to exactly one head, so that walking from head to head covers the arena without gaps. The last
//             page of a free block of order 1 to kMaxOrder - 1 is kFreeTail with the block's order, so that one can
//             walk back as well. Blocks of the largest order have none: a huge object that is hardly touched would
//             touch twice as much metadata.
#pragma once

#include <cstdint>

#include "base/units.h"

namespace weir {

inline constexpr Pfn kNoPfn = ~Pfn{0};

enum class PageState : uint8_t {
  kBody = 0,      // not a head; becomes any other state when its block is split or given out
  kFree = 1,      // head of a free block on a buddy list            -> kBlock, kRun, kIsolated, kBody (merged)
  kBlock = 2,     // head of an allocated block of 2^order pages     -> kFree
  kRun = 3,       // head of an allocated run of `count` pages       -> kFree
  kIsolated = 4,  // head of a block taken off its list to be purged -> kFree
  kFreeTail = 5,  // last page of a free block                       -> kBody
};

// What may be done to the pages of a pageblock, as in the kernel: pages of one kind are kept together so that those
// that can be moved or reclaimed do not end up scattered between those that cannot.
enum class MigrateType : uint8_t { kUnmovable = 0, kMovable = 1, kReclaimable = 2 };
inline constexpr unsigned kNrMigrateTypes = 3;

struct PageDesc {
  Pfn next;               // kFree: neighbours in the list. kRun: next holds the owner's flags
  Pfn prev;               //
  uint32_t count;         // kFree: resident pages of the block. kRun: pages of the run
  PageState state;        //
  uint8_t order;          // kFree, kBlock, kIsolated: log2 of the block's pages
  MigrateType list_type;  // kFree: the list it is on
  uint8_t movable;        // kRun: 1 when it may be moved to other pages; `prev` then says whose it is (zone_movable.cc)
};
static_assert(sizeof(PageDesc) == 16, "four descriptors a cache line; 0.4 % of the memory they describe");

}  // namespace weir
