// Purpose: the free pages of a zone: buddy lists of orders 0 to 10 per migratetype, fallback and stealing between the
//          types as in the kernel (mm/page_alloc.c: __rmqueue_smallest, __rmqueue_fallback, __free_one_page), and
//          contiguous runs of any length made of neighbouring blocks.
// Thread safety: none; the zone locks.
// Invariants: free buddies of one order are always merged. nr_free and nr_free_resident equal what the lists hold.
//             Each order has two lists: blocks with at least one resident page (warm) and blocks without (cold). Warm
//             ones are given out first, because a page fault costs more than everything else here together.
#pragma once

#include <cstdint>

#include "base/units.h"
#include "page/page_desc.h"
#include "weir/stats_page.h"

namespace weir {

struct BuddyStats {
  uint64_t free_blocks[kNrMigrateTypes][kNrOrders] = {};
  uint64_t pageblocks[kNrMigrateTypes] = {};
};

class Buddy {
 public:
  // All arrays are zero, and become as long as what add_range adds.
  void init(PageDesc* pages, uint64_t* residency, uint64_t* free_max_blocks, MigrateType* pageblock_types);

  // From now on, blocks and pageblocks are also counted there; null: nowhere.
  void publish_in(weir_stats_node* node);

  // Adds [first, first + count) as free pages that have no memory yet; must start where the managed range ends.
  void add_range(Pfn first, Pages count);

  // A block of exactly 2^order pages, or kNoPfn. Its head is left in state kBlock.
  Pfn take_block(Order order, MigrateType type);
  // A run of `count` pages whose first page number is a multiple of `align` (a power of two, at most the largest
  // block), or kNoPfn. Its head is left in state kRun.
  Pfn take_run(Pages count, Pages align, MigrateType type);
  // Makes `head` the head of a run of pages that are off the lists already.
  Pfn become_run(Pfn head, Pages count);
  // Takes the `count` pages that follow [.., next) if all are free; their former heads become kBody.
  bool take_following(Pfn next, Pages count);
  // Takes [first, first + count) if all of it is free, wherever in blocks that is.
  bool take_range(Pfn first, Pages count);
  // Whether take_run would find `count` pages, if it need not align them.
  bool has_run(Pages count) const;
  // Free pages at `next`, counted up to `most`.
  Pages free_at(Pfn next, Pages most) const;
  // Free whole blocks of the largest order that end exactly at the managed range's end.
  Pages free_at_end() const;

  // Gives pages back; the residency bits must already say which of them are resident.
  void give_range(Pfn first, Pages count);

  // Takes the coldest warm block of at most order `largest` (largest first, longest unused within an order) off its
  // list, in state kIsolated; kNoPfn when there is none.
  Pfn isolate_warm(Order largest);
  // Puts an isolated block back.
  void putback(Pfn pfn);
  // Puts all of them back, looking at every block.
  void putback_all();

  Pages nr_free() const { return Pages(nr_free_); }
  Pages nr_free_resident() const { return Pages(nr_free_resident_); }
  Pages managed() const { return Pages(end_); }
  uint64_t nr_stolen_pageblocks() const { return nr_stolen_; }
  void collect(BuddyStats& stats) const { stats = counts_; }

  // Recounts everything; null when it agrees, else what does not. `block_pages` gets the pages in allocated blocks.
  const char* verify(Pages& block_pages) const;

 private:
  enum Warmth : uint8_t { kWarm = 0, kCold = 1 };
  struct List {
    Pfn first = kNoPfn;
    Pfn last = kNoPfn;
  };

  // Neighbouring free blocks that the buddy rule does not merge.
  struct Extent {
    Pfn first = kNoPfn;
    uint64_t pages = 0;
  };

  void insert(Pfn pfn, unsigned order, uint32_t resident, MigrateType type);
  void remove(Pfn pfn);
  Pfn find(unsigned order, MigrateType type) const;
  Pfn find_fallback(unsigned order, MigrateType type) const;
  bool steal(Pfn pfn, MigrateType type);
  Pfn split(Pfn pfn, unsigned from, unsigned to, MigrateType rest_type);
  void give_block(Pfn pfn, unsigned order);
  Pfn find_contiguous(Pages count) const;
  Pfn take_contiguous(Pages count);
  Pfn take_from_extent(Pages count, MigrateType type);
  Extent extent_around(Pfn pfn, uint64_t enough) const;
  uint32_t resident_in(Pfn pfn, unsigned order) const;
  MigrateType pageblock_type(Pfn pfn) const { return pageblock_types_[pfn / kPageblockPages]; }
  void set_pageblock_type(Pfn pfn, MigrateType type);
  void count_block(MigrateType type, unsigned order, int change);
  void count_pageblock(MigrateType type, int change);
  unsigned move_free_pages(Pfn pageblock, MigrateType type);
  const char* verify_free_block(Pfn pfn) const;
  const char* verify_counts() const;

  PageDesc* pages_ = nullptr;
  uint64_t* residency_ = nullptr;
  uint64_t* free_max_blocks_ = nullptr;
  MigrateType* pageblock_types_ = nullptr;
  Pfn end_ = 0;
  uint64_t nr_free_ = 0;
  uint64_t nr_free_resident_ = 0;
  uint64_t nr_stolen_ = 0;
  BuddyStats counts_;
  weir_stats_node* published_ = nullptr;
  List lists_[2][kNrMigrateTypes][kNrOrders];
  // Bit `order` is set when that list is not empty.
  uint16_t nonempty_[2][kNrMigrateTypes] = {};
};

}  // namespace weir
