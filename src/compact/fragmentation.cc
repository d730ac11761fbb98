#include "compact/fragmentation.h"

#include <algorithm>
#include <bit>

namespace weir {
namespace {

// What vmstat.c calls contig_page_info.
struct FreeBlocks {
  uint64_t pages = 0, total = 0, suitable = 0;  // `suitable` in blocks of the order that is asked about
};

FreeBlocks sum(const BuddyStats& free, unsigned order) {
  FreeBlocks blocks;
  for (unsigned o = 0; o < kNrOrders; ++o) {
    uint64_t here = 0;
    for (unsigned t = 0; t < kNrMigrateTypes; ++t) here += free.free_blocks[t][o];
    blocks.total += here;
    blocks.pages += here << o;
    if (o >= order) blocks.suitable += here << (o - order);
  }
  return blocks;
}

}  // namespace

Pages free_pages(const BuddyStats& free) {
  return Pages(sum(free, 0).pages);
}

int fragmentation_index(const BuddyStats& free, Pages count) {
  const unsigned order = count.v <= 1 ? 0 : static_cast<unsigned>(std::bit_width(count.v - 1));
  const FreeBlocks blocks = sum(free, order);
  if (blocks.total == 0) return 0;
  if (blocks.suitable != 0) return kWouldSucceed;
  const uint64_t requested = uint64_t{1} << order;
  return 1000 - static_cast<int>((1000 + blocks.pages * 1000 / requested) / blocks.total);
}

unsigned fragmentation_score(const BuddyStats& free) {
  const FreeBlocks blocks = sum(free, kPageblockOrder);
  if (blocks.pages == 0) return 0;
  return static_cast<unsigned>((blocks.pages - (blocks.suitable << kPageblockOrder)) * 100 / blocks.pages);
}

ScoreMarks score_marks(unsigned proactiveness) {
  const unsigned low = std::max(100 - std::min(proactiveness, 100u), 5u);
  return {low, std::min(low + kBetweenMarks, 100u)};
}

}  // namespace weir
