// Recounts what a node's reclaim says of each page (weir_debug_verify).
//
// Thread safety: one thread, with evictions stopped and handlers at rest; threads of the program may give pages back.
// Invariants: a cluster is looked at with all of its pages claimed.
#include <bit>

#include "os/proc.h"
#include "reclaim/node.h"

namespace weir {
namespace {

// How often a cluster is asked for, a millisecond apart: whoever is giving its pages back gets a processor within a
// second.
constexpr unsigned kClaimTries = 1000;

}  // namespace

// Threads of the program may have claimed pages that they give back, and wait for more of the same cluster: what is had
// of it is not kept while waiting for the rest. False: some stay claimed.
bool NodeReclaim::claim_all(ClusterId c) {
  constexpr uint64_t kAll = ~uint64_t{0};
  for (unsigned tries = kClaimTries;; --tries) {
    const uint64_t mine = claim(c, kAll);
    if (mine == kAll) return true;
    release_from_outside(c, mine);
    if (tries == 0) return false;
    os::sleep_ms(1);
  }
}

const char* NodeReclaim::verify() {
  uint64_t standby = 0, swapped = 0;
  const ClusterId end = static_cast<ClusterId>(zone_->accessible_estimate().v / kClusterPages);
  for (ClusterId c = 0; c < end; ++c) {
    if (!claim_all(c)) return "a page is in transition though nothing runs";
    const char* wrong = verify_claimed(c);
    standby += static_cast<uint64_t>(std::popcount(map_[c].standby.load()));
    swapped += static_cast<uint64_t>(std::popcount(map_[c].swapped.load()));
    release_from_outside(c, ~uint64_t{0});
    if (wrong != nullptr) return wrong;
  }
  if (standby != nr_standby_.load()) return "standby pages are miscounted";
  if (swapped != nr_swapped_.load()) return "swapped pages are miscounted";
  return nullptr;
}

const char* NodeReclaim::verify_claimed(ClusterId c) {
  const Cluster& m = map_[c];
  const uint64_t resident = zone_->resident_mask(c);
  if ((m.standby & ~resident) != 0) return "a standby page is not counted as resident";
  if ((m.swapped & resident) != 0) return "a swapped page is counted as resident";
  const uint64_t clean = map_.more(c).clean;
  if (((m.standby | m.swapped | clean) & ~m.allocated) != 0) return "a free page is kept in standby or swap";
  if ((map_.more(c).unevictable & ~m.allocated) != 0) return "a free page is kept in memory";
  if ((retired(c) & ~m.allocated) != 0) return "a free page must not be touched";
  if ((clean & ~resident) != 0 || (clean & (m.standby | m.swapped)) != 0) return "a clean page is not at its address";
  if ((m.standby & m.garbage) != 0) return "a standby page's memory is marked unused";
  // (Without handlers they are objects', which are closed.)
  if (shards_->count != 0 && (m.standby | m.swapped) != 0 && !is_armed(c / kClustersPerPageblock))
    return "pages of an unarmed pageblock are away";
  for (unsigned i = 0; i < kClusterPages; ++i) {
    const bool has_entry = static_cast<bool>(map_.entry(c * kClusterPages + i));
    if (has_entry != (((m.swapped | clean) >> i & 1) != 0)) return "a swap entry and its page's state differ";
  }
  return nullptr;
}

}  // namespace weir
