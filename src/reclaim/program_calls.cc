// System calls of the program on pages of its own, which must not be on their way out or back meanwhile.
// - It gives up what is in them (madvise): what is kept elsewhere is of no use any more, and must not come back.
// - It changes their protection (mprotect), or locks them (mlock): lifted pages that are put back bring along what they
//   left with.
// The kernel knows only of what is at their addresses.
//
// Of long ranges, where nothing is leaving memory at the moment, the kernel is told by one call.
//
// Thread safety: any thread of the program.
// Invariants: pages are claimed meanwhile. Within a cluster they are claimed all or none, and one cluster at a time, so
//             that two threads never wait for each other.
#include <errno.h>
#include <sys/mman.h>

#include <bit>

#include "os/service_thread.h"
#include "os/undisturbed.h"
#include "os/vm.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// Newer than the C library's headers.
constexpr int kDontNeedLocked = 24;  // MADV_DONTNEED_LOCKED, Linux 5.18
constexpr int kGuardInstall = 102;   // MADV_GUARD_INSTALL, Linux 6.13
// By clusters it costs 4 ms a GiB; what is this long was mostly never touched.
constexpr size_t kLongRange = Reclaimer::kWatchedRun * kPageSize;

}  // namespace

bool Reclaimer::gives_up(int advice) {
  return advice == MADV_DONTNEED || advice == MADV_FREE || advice == kDontNeedLocked || advice == kGuardInstall;
}

// Claims pages of a cluster, which follow each other, for a system call that is told where they lie.
template <class Call>
long NodeReclaim::while_claimed(ClusterId c, uint64_t pages, Call call) {
  long result = 0;
  os::undisturbed([this, c, pages, call, &result] {
    for (uint64_t mine; (mine = claim(c, pages)) != pages; os::yield()) release_from_outside(c, mine);
    const long done = call(zone_->address(c * kClusterPages + static_cast<unsigned>(std::countr_zero(pages))),
                           static_cast<size_t>(std::popcount(pages)) * kPageSize);
    release_from_outside(c, pages);
    result = done;
  });
  return result;
}

// What the kernel refuses keeps its content. What it may free when it wants (MADV_FREE) is freed now: until then it
// would count, and it would stay marked where it is moved to.
long NodeReclaim::give_up(ClusterId c, uint64_t pages, int advice) {
  return while_claimed(c, pages, [this, c, pages, advice](char* begin, size_t bytes) {
    const long result = os::vm_advise(begin, bytes, advice == MADV_FREE ? MADV_DONTNEED : advice);
    if (result != 0) return result;
    forget_content(c, pages);
    // Where their next touch is seen.
    if (is_armed(c / kClustersPerPageblock) || has_unseen_.load(std::memory_order_relaxed))
      zone_->uncharge(c, pages & map_[c].allocated.load());
    return result;
  });
}

long NodeReclaim::protect(ClusterId c, uint64_t pages, int protection, int key) {
  return while_claimed(c, pages,
                       [=](char* begin, size_t bytes) { return os::vm_protect(begin, bytes, protection, key); });
}

long NodeReclaim::lock_when_touched(ClusterId c, uint64_t pages) {
  return while_claimed(c, pages, [](char* begin, size_t bytes) { return os::vm_lock(begin, bytes, MLOCK_ONFAULT); });
}

long NodeReclaim::unlock(ClusterId c, uint64_t pages) {
  return while_claimed(c, pages, [](char* begin, size_t bytes) { return os::vm_unlock(begin, bytes); });
}

void NodeReclaim::give_away(ClusterId c, uint64_t pages) {
  os::undisturbed([this, c, pages] {
    claim_wait(c, pages);
    forget_content(c, pages);
    // Who claims one later looks at that before it does anything.
    map_[c].allocated.fetch_and(~pages);
    map_.more(c).unevictable.fetch_and(~pages, std::memory_order_relaxed);
    map_.more(c).foreign.fetch_or(pages);
    zone_->uncharge(c, pages);
    release_from_outside(c, pages);
  });
}

void Reclaimer::give_away(char* begin, char* end) {
  has_foreign_ = true;
  static_cast<void>(in_parts(
      begin, end, true,
      [](NodeReclaim& node, ClusterId c, uint64_t pages) {
        node.give_away(c, pages);
        return 0L;
      },
      [](char*, size_t) { return 0L; }));
}

// Who claimed one of them before this could be seen has given it up when this returns; who claims one later looks
// (unmap). They may be away.
void NodeReclaim::keep_present(ClusterId c, uint64_t pages) {
  map_.more(c).unevictable.fetch_or(pages);
  while ((map_[c].busy.load() & pages) != 0) os::yield();
}

void Reclaimer::keep_present(char* begin, char* end) {
  static_cast<void>(in_parts(
      begin, end, true,
      [](NodeReclaim& node, ClusterId c, uint64_t pages) {
        node.keep_present(c, pages);
        return 0L;
      },
      [](char*, size_t) { return 0L; }));
}

bool Reclaimer::is_foreign(const void* address) {
  Pfn pfn = 0;
  NodeReclaim* const node = node_of(address, pfn);
  return node != nullptr && (node->foreign(cluster_of(pfn)) & page_bit(pfn)) != 0;
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

// Has `inside` called for the part of each cluster that lies in [begin, end), and `outside` for what is none of weir's,
// in rising order until one of them fails, but for gaps (ENOMEM) if these are to be passed. Returns the last failure.
template <class Inside, class Outside>
long Reclaimer::in_parts(char* begin, char* end, bool past_gaps, Inside inside, Outside outside) {
  long result = 0;
  while (begin < end) {
    Pfn pfn = 0;
    NodeReclaim* const node = node_of(begin, pfn);
    char* stop = next_arena(begin, end);
    long one;
    if (node == nullptr) {
      one = outside(begin, static_cast<size_t>(stop - begin));
    } else {
      const unsigned first = pfn % kClusterPages;
      const size_t left = static_cast<size_t>(stop - begin) >> kPageShift;
      const BitRun run = {first, left < kClusterPages - first ? first + static_cast<unsigned>(left) : kClusterPages};
      stop = begin + (run.end - run.first) * kPageSize;
      one = inside(*node, cluster_of(pfn), run_mask(run));
    }
    if (one != 0) result = one;
    if (one != 0 && (one != -ENOMEM || !past_gaps)) break;
    begin = stop;
  }
  if (shards_.wake_wanted.load(std::memory_order_relaxed)) wake(*first_kswapd());
  return result;
}

// As in the kernel, gaps are told of when all else is done.
long Reclaimer::give_up(char* begin, char* end, int advice) {
  return in_parts(
      begin, end, true, [&](NodeReclaim& node, ClusterId c, uint64_t pages) { return node.give_up(c, pages, advice); },
      [&](char* at, size_t bytes) { return os::vm_advise(at, bytes, advice); });
}

long Reclaimer::protect(char* begin, char* end, int protection, int key) {
  const auto all = static_cast<size_t>(end - begin);
  const uint64_t begun = evictions_.load();
  if (all >= kLongRange && evicting_.load() == 0) {
    const long result = os::vm_protect(begin, all, protection, key);
    // What began to leave since then leaves with the new protection; but it may have begun before.
    if (evictions_.load() == begun) return result;
  }
  return in_parts(
      begin, end, false,
      [&](NodeReclaim& node, ClusterId c, uint64_t pages) { return node.protect(c, pages, protection, key); },
      [&](char* at, size_t bytes) { return os::vm_protect(at, bytes, protection, key); });
}

// What the kernel refuses shows at first, in one piece. Claimed pages cannot be brought in; once they are locked, they
// stay, and the last call does that.
long Reclaimer::lock(char* begin, char* end, int flags) {
  const size_t all = static_cast<size_t>(end - begin);
  long result = os::vm_lock(begin, all, flags | MLOCK_ONFAULT);
  if (result != 0) return result;
  result = in_parts(
      begin, end, false,
      [](NodeReclaim& node, ClusterId c, uint64_t pages) { return node.lock_when_touched(c, pages); },
      [](char*, size_t) { return 0L; });
  return result != 0 || (flags & MLOCK_ONFAULT) != 0 ? result : os::vm_lock(begin, all, flags);
}

long Reclaimer::unlock(char* begin, char* end) {
  return in_parts(
      begin, end, false, [](NodeReclaim& node, ClusterId c, uint64_t pages) { return node.unlock(c, pages); },
      [](char* at, size_t bytes) { return os::vm_unlock(at, bytes); });
}

}  // namespace weir
