// The program gives up what is in pages of its own (madvise): what is kept of them elsewhere is of no use any more, and
// must not come back. The kernel knows only of what is at their addresses.
//
// Thread safety: any thread of the program.
// Invariants: pages are claimed meanwhile, so that nothing is on its way out or back. Within a cluster they are claimed
//             all or none, and one cluster at a time, so that two threads never wait for each other.
#include <sys/mman.h>

#include <bit>

#include "os/service_thread.h"
#include "os/thread.h"
#include "os/vm.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// Newer than the C library's headers.
constexpr int kDontNeedLocked = 24;  // MADV_DONTNEED_LOCKED, Linux 5.18
constexpr int kGuardInstall = 102;   // MADV_GUARD_INSTALL, Linux 6.13

}  // namespace

bool Reclaimer::gives_up(int advice) {
  return advice == MADV_DONTNEED || advice == MADV_FREE || advice == kDontNeedLocked || advice == kGuardInstall;
}

// Pages that follow each other in a cluster. What the kernel refuses keeps its content. What it may free when it wants
// (MADV_FREE) is freed now: until then it would count, and it would stay marked where it is moved to.
long NodeReclaim::give_up(ClusterId c, uint64_t pages, int advice) {
  const os::SignalsHeldBack uninterrupted;
  for (uint64_t mine; (mine = claim(c, pages)) != pages; os::yield()) release_from_outside(c, mine);
  char* const begin = zone_->address(c * kClusterPages + static_cast<unsigned>(std::countr_zero(pages)));
  const long result = os::vm_advise(begin, static_cast<size_t>(std::popcount(pages)) * kPageSize,
                                    advice == MADV_FREE ? MADV_DONTNEED : advice);
  if (result == 0) {
    forget_content(c, pages);
    // Where their next touch is seen.
    if (is_armed(c / kClustersPerPageblock)) zone_->uncharge(c, pages & map_[c].allocated.load());
  }
  release_from_outside(c, pages);
  return result;
}

// Where the first arena behind `begin` starts, or `end`.
char* Reclaimer::next_arena(char* begin, char* end) const {
  for (unsigned i = 0; i < nr_nodes_; ++i) {
    if (nodes_[i] == nullptr) continue;
    char* const arena = nodes_[i]->zone().arena().memory();
    if (arena > begin && arena < end) end = arena;
  }
  return end;
}

long Reclaimer::give_up(char* begin, char* end, int advice) {
  long result = 0;
  while (begin < end) {
    Pfn pfn = 0;
    NodeReclaim* const node = node_of(begin, pfn);
    char* stop = next_arena(begin, end);
    long one;
    if (node == nullptr) {
      one = os::vm_advise(begin, static_cast<size_t>(stop - begin), advice);
    } else {
      const unsigned first = pfn % kClusterPages;
      const size_t left = static_cast<size_t>(stop - begin) >> kPageShift;
      const BitRun run = {first, left < kClusterPages - first ? first + static_cast<unsigned>(left) : kClusterPages};
      stop = begin + (run.end - run.first) * kPageSize;
      one = node->give_up(cluster_of(pfn), run_mask(run), advice);
    }
    // As in the kernel, gaps are told of when all else is done.
    if (one != 0) result = one;
    if (one != 0 && one != -ENOMEM) break;
    begin = stop;
  }
  if (shards_.wake_wanted.load(std::memory_order_relaxed)) wake(*first_kswapd());
  return result;
}

}  // namespace weir
