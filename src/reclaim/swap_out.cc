// How standby pages of a cluster go to the swap file (the part of NodeReclaim that does it): by one write, wherever in
// the cluster they are. A write costs what copying twenty pages does (measured: 10 us for the notice to the disk
// alone), and random touches leave runs of one or two pages.
#include <bit>
#include <cstring>

#include "reclaim/node.h"

namespace weir {
namespace {

// Whether the pages follow each other without a gap.
bool is_one_run(uint64_t pages) {
  const uint64_t shifted = pages >> std::countr_zero(pages);
  return (shifted & (shifted + 1)) == 0;
}

}  // namespace

// Where the content of a cluster's standby pages lies in one piece, in the order of the pages: where it is, or in the
// bench's buffer.
const char* NodeReclaim::gather(ClusterId c, uint64_t pages, Workbench& bench) const {
  const Pfn base = c * kClusterPages;
  if (is_one_run(pages)) return staging_address(base + static_cast<unsigned>(std::countr_zero(pages)));
  char* to = bench.pages;
  for (uint64_t left = pages; left != 0; left &= left - 1, to += kPageSize)
    memcpy(to, staging_address(base + static_cast<unsigned>(std::countr_zero(left))), kPageSize);
  return bench.pages;
}

// Writes pages that lie at `content`, one behind the other, to the file that is written at present, to slots side by
// side as far as there are such; returns those that were written, with their entries.
uint64_t NodeReclaim::write_to_file(const char* content, uint64_t pages, SwapEntry* entries) {
  SwapFile* file = files_->writer();
  uint64_t stored = 0;
  for (uint64_t left = file != nullptr ? pages : 0; left != 0;) {
    Slots slots = file->alloc(static_cast<unsigned>(std::popcount(left)));
    if (slots.count == 0) break;
    const unsigned tried = slots.count;
    if (file->write(slots, content) != IoResult::kOk) count(counters_->swap_write_error);
    count(counters_->pswpout, slots.count);
    for (unsigned n = 0; n < tried; ++n, left &= left - 1) {
      if (n >= slots.count) continue;
      const unsigned i = static_cast<unsigned>(std::countr_zero(left));
      entries[i] = files_->entry(*file, slots.first + n);
      stored |= uint64_t{1} << i;
    }
    content += tried * kPageSize;
  }
  return stored;
}

// What could not be written stays in Standby.
uint64_t NodeReclaim::store_in_file(ClusterId c, uint64_t pages, SwapEntry* entries, Workbench& bench) {
  if (files_->writer() == nullptr || pages == 0) return 0;
  return write_to_file(gather(c, pages, bench), pages, entries);
}

// Swapped pages whose content is somewhere else now.
void NodeReclaim::replace_entries(ClusterId c, uint64_t pages, const SwapEntry* entries) {
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    SwapEntry& entry = map_.entry(c * kClusterPages + i);
    const SwapEntry old = entry;
    entry = entries[i];
    drop(&old, 1);
  }
}

}  // namespace weir
