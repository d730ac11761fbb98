// Purpose: a Buddy over descriptors and bitmaps of a test's own: pages that need no memory behind them.
// Thread safety: none.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "base/bitmap.h"
#include "page/buddy.h"

namespace weir {

struct BareBuddy {
  std::vector<PageDesc> pages;
  std::vector<uint64_t> residency;
  std::vector<uint64_t> max_blocks;
  std::vector<MigrateType> pageblock_types;
  Buddy buddy;

  // Room for `capacity` pages, of which the first `managed` are added.
  BareBuddy(uint64_t capacity, uint64_t managed)
      : pages(capacity),
        residency(capacity / bitmap::kWordBits + 1),
        max_blocks(capacity / kMaxOrderPages / bitmap::kWordBits + 1),
        pageblock_types(capacity / kPageblockPages + 1) {
    buddy.init(pages.data(), residency.data(), max_blocks.data(), pageblock_types.data());
    if (managed != 0) buddy.add_range(0, Pages(managed));
  }
  explicit BareBuddy(uint64_t managed) : BareBuddy(managed, managed) {}

  Buddy* operator->() { return &buddy; }

  // What the owner of allocated pages does by writing to them, and what the system does by dropping them.
  void touch(Pfn first, uint64_t count) { bitmap::set_range(residency.data(), first, count); }
  void drop(Pfn first, uint64_t count) { bitmap::clear_range(residency.data(), first, count); }

  BuddyStats stats() const {
    BuddyStats s;
    buddy.collect(s);
    return s;
  }
  uint64_t free_blocks(MigrateType type, unsigned order) const {
    return stats().free_blocks[static_cast<unsigned>(type)][order];
  }
  uint64_t pageblocks(MigrateType type) const { return stats().pageblocks[static_cast<unsigned>(type)]; }
  const char* verify() const {
    Pages block_pages;
    return buddy.verify(block_pages);
  }

  // Claims a block of the largest order for `type` and takes all of it in blocks of `order`; its first page.
  Pfn carve(MigrateType type, unsigned order) {
    const Pfn base = buddy.take_block(Order(kMaxOrder), type);
    EXPECT_NE(base, kNoPfn);
    buddy.give_range(base, Pages(kMaxOrderPages));
    for (Pfn i = 0; i < kMaxOrderPages >> order; ++i) {
      const Pfn got = buddy.take_block(Order(static_cast<uint8_t>(order)), type);
      EXPECT_EQ(got & ~Pfn{kMaxOrderPages - 1}, base) << "carving needs a zone where only this block is of the type";
    }
    return base;
  }
};

inline constexpr Order order_of(unsigned o) {
  return Order(static_cast<uint8_t>(o));
}

}  // namespace weir
