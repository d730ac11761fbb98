// What becomes of standby pages that do not compress and find no room in a file (the part of NodeReclaim that sees to
// them). They go back to their addresses: in Standby they would take the place of pages that do compress, until nothing
// is unmapped any more. There they stay for a while, so that finding out that there is no memory takes one look at each
// page, and not one in each of kswapd's rounds.
#include <errno.h>

#include <bit>

#include "os/proc.h"
#include "os/uffd.h"
#include "reclaim/node.h"

namespace weir {
namespace {

// Trying again takes 3 us a page (measured: unmap, compress, map), for 8 GiB six seconds of kswapd. What a program
// keeps in its pages rarely becomes compressible sooner.
constexpr uint64_t kRetryMs = 10000;

}  // namespace

// Those of these pages that were rejected lately.
uint64_t NodeReclaim::rejected_lately(ClusterId c, uint64_t pages) const {
  const ClusterMore& more = map_.more(c);
  const uint64_t rejected = more.rejected.load(std::memory_order_relaxed) & pages;
  if (rejected == 0) return 0;
  return os::now_ms() - more.rejected_ms.load(std::memory_order_relaxed) < kRetryMs ? rejected : 0;
}

void NodeReclaim::note_rejected(ClusterId c, uint64_t pages) {
  map_.more(c).rejected.fetch_or(pages, std::memory_order_relaxed);
  map_.more(c).rejected_ms.store(os::now_ms(), std::memory_order_relaxed);
}

void NodeReclaim::forget_rejected(ClusterId c, uint64_t pages) {
  std::atomic<uint64_t>& rejected = map_.more(c).rejected;
  if ((rejected.load(std::memory_order_relaxed) & pages) != 0) rejected.fetch_and(~pages, std::memory_order_relaxed);
}

// Moves claimed standby pages to their addresses, so that none is there twice at a time when memory is short. Returns
// those that were.
uint64_t NodeReclaim::move_back(ClusterId c, uint64_t pages) {
  uint64_t back = 0;
  for (uint64_t left = shards_->move ? pages : 0; left != 0; left &= left - 1) {
    const Pfn pfn = c * kClusterPages + static_cast<unsigned>(std::countr_zero(left));
    int error = 0;
    // Nothing was at the address of a standby page: what is there now was moved without being counted
    // (undo_uncounted_move).
    if (os::uffd_move(uffd_of(c), zone_->address(pfn), staging_address(pfn), kPageSize, error) == kPageSize ||
        error == EEXIST)
      back |= page_bit(pfn);
  }
  return back;
}

// Where the kernel cannot move pages, or a child of a fork shares them. Returns those that were copied: a page of a
// mapping that the program divided may not be.
uint64_t NodeReclaim::copy_back(ClusterId c, uint64_t pages) {
  uint64_t back = 0;
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const Pfn pfn = c * kClusterPages + static_cast<unsigned>(std::countr_zero(left));
    int error = 0;
    if (os::uffd_copy(uffd_of(c), zone_->address(pfn), staging_address(pfn), kPageSize, false, error) == kPageSize)
      back |= page_bit(pfn);
  }
  return back;
}

// Of a cluster that the caller owns.
void NodeReclaim::return_rejected(ClusterId c) {
  Cluster& cluster = map_[c];
  const uint64_t rejected = map_.more(c).rejected.load(std::memory_order_relaxed);
  const uint64_t mine = claim(c, rejected & cluster.standby.load());
  const uint64_t pages = mine & cluster.standby.load();
  const uint64_t moved = move_back(c, pages), copied = copy_back(c, pages & ~moved), back = moved | copied;
  end_standby(c, moved);
  leave_standby(c, copied);
  note_rejected(c, back);
  release(c, mine);
  if (copied != 0) drop_garbage(&c, 1);
  count(counters_->pgrotated, static_cast<uint64_t>(std::popcount(back)));
}

}  // namespace weir
