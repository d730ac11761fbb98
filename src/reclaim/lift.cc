// How pages that lie in many short runs leave memory (the part of NodeReclaim that takes them together).
//
// UFFDIO_MOVE interrupts the other processors for each run of present pages, and random touches leave runs of one or
// two: 40 us each in a virtual machine where a second processor runs the process. mremap moves the page table of a
// cluster with one interrupt. It moves pinned pages as well, though, and a device would go on writing to a page that
// nobody looks at any more. So what was lifted is copied and compressed at once, and then its memory is given back in a
// way that is refused for whatever anything else refers to (os::vm_drop_unpinned): what remains goes back to its
// address. Nothing can be pinned anew meanwhile, because the addresses to which pages are lifted are known to nobody.
//
// These pages have no second chance in Standby; a touch costs decompression, and makes them active if it comes soon
// (refaults_soon).
//
// Thread safety: as evict.cc; pages are claimed, clusters owned, and a Lift is one thread's.
// Invariants: a claimed page's content is at its address here, or in memory that nothing but these addresses refers to
// and a copy of it in `content`, until it is stored or back home.
#include <errno.h>

#include <bit>

#include "os/proc.h"
#include "os/uffd.h"
#include "os/vm.h"
#include "reclaim/node.h"

namespace weir {
namespace {

// In tenths of an interrupt: lifting costs one and a half for a cluster, and each page that lies between and has to go
// back a tenth; moving costs one a run.
constexpr unsigned kRunCost = 10, kLiftCost = 15;
// Where more than half of what was lifted is shared with a child of a fork, or pinned, most likely more is.
constexpr uint32_t kPauseClusters = 64;

unsigned pages_in(uint64_t mask) {
  return static_cast<unsigned>(std::popcount(mask));
}

unsigned runs_in(uint64_t mask) {
  return pages_in(mask & ~(mask << 1));
}

// Where a page's copy is: behind those of the pages before it.
const char* copy_of(const char* content, uint64_t seen, unsigned page) {
  return content + pages_in(seen & ((uint64_t{1} << page) - 1)) * kPageSize;
}

}  // namespace

bool Lift::prepare() {
  // With a cluster more on both sides, so that the kernel keeps the page tables when what is between is replaced:
  // making them anew, and telling the other processors of it, doubles what lifting takes.
  constexpr size_t kBytes = (kClusters + 2) * kClusterBytes;
  if (content == nullptr) content = static_cast<char*>(os::vm_map((kMostPages + kClusterPages) * kPageSize));
  if (memory != nullptr || content == nullptr) return memory != nullptr;
  char* const addresses = static_cast<char*>(os::vm_map(kBytes));
  if (addresses == nullptr) return false;
  os::vm_huge_pages(addresses, kBytes, false);
  memory = addresses + kClusterBytes;
  return true;
}

// Of a cluster's inactive pages (`idle`, present or not), and the active ones (`kept`), those that are better lifted.
uint64_t NodeReclaim::worth_lifting(ClusterId c, uint64_t idle, uint64_t kept) {
  if (!policy_.zswap || !shards_->move || pool_.pool_pages() >= policy_.zswap_max.load()) return 0;
  const uint64_t resident = zone_->resident_mask(c), all = (idle | kept) & ~map_.more(c).clean.load();
  uint64_t worth = 0;
  for (BitRun run = next_run(all, 0); run.first < kClusterPages; run = next_run(all, run.end)) {
    const uint64_t present = idle & resident & run_mask(run);
    if (present == 0) continue;
    const BitRun span = {static_cast<unsigned>(std::countr_zero(present)),
                         kClusterPages - static_cast<unsigned>(std::countl_zero(present))};
    const uint64_t between = kept & resident & run_mask(span);
    if (runs_in(present) * kRunCost > kLiftCost + pages_in(between)) worth |= run_mask(span);
  }
  if (worth == 0) return 0;
  uint32_t pause = lift_pause_.load(std::memory_order_relaxed);
  while (pause != 0 && !lift_pause_.compare_exchange_weak(pause, pause - 1, std::memory_order_relaxed)) {
  }
  return pause == 0 ? worth : 0;
}

// Whether UFFDIO_MOVE would take what was lifted, which it does not when the program made it read-only: what is not
// given back and cannot be written or moved either, the kernel might drop. A page that is not there tells.
bool NodeReclaim::can_move_lifted(ClusterId c, BitRun run, uint64_t present, const Lift& lift) const {
  const uint64_t holes = run_mask(run) & ~present;
  if (holes == 0) return false;
  const unsigned i = static_cast<unsigned>(std::countr_zero(holes));
  return os::uffd_move_present(uffd_of(c), zone_->address(c * kClusterPages + i), lift.address(lift.count, i)) ==
         -ENOENT;
}

// Lifts one run of claimed pages; false when that was refused, or had to be undone. Adds what is there to `seen`, and
// to `elsewhere` what went back because only UFFDIO_MOVE can tell whether the kernel swapped it out.
bool NodeReclaim::lift_run(ClusterId c, BitRun run, Lift& lift, uint64_t& seen, uint64_t& elsewhere) {
  char* const home = zone_->address(c * kClusterPages + run.first);
  char* const lifted = lift.address(lift.count, run.first);
  const size_t bytes = (run.end - run.first) * kPageSize;
  const auto look = [&] { return os::vm_resident_mask(lifted, run.end - run.first) << run.first; };
  const uint64_t counted = zone_->resident_mask(c) & run_mask(run);
  // Pages that may be the kernel's own swap would have to go back one by one.
  if (os::vm_system_swaps() && (counted & ~(os::vm_resident_mask(home, run.end - run.first) << run.first)) != 0)
    return false;
  // Lifting would unlock. Refused: the program divided the mapping (mprotect), or there are too many mappings.
  if (os::vm_is_locked(home, bytes) || !os::vm_lift(home, lifted, bytes)) return false;
  uint64_t here = look(), unclear = counted & ~here;
  if (unclear != 0 && !os::vm_system_swaps()) {
    // Swap that was taken off after the look has brought back what it held.
    here |= look();
    unclear = 0;
  }
  if (os::vm_is_locked(lifted, bytes)) {
    // In the meantime.
    put_back(lift.count, c, here | unclear, lift);
    os::vm_lock_when_touched(home, bytes);
    return false;
  }
  if (!can_move_lifted(c, run, here | unclear, lift)) {
    put_back(lift.count, c, here | unclear, lift);
    return false;
  }
  if (unclear != 0) put_back(lift.count, c, unclear, lift);
  seen |= here;
  elsewhere |= unclear;
  return true;
}

// Lifts claimed pages; those in `idle` are to leave memory. Returns those that are not the caller's any more.
uint64_t NodeReclaim::lift(ClusterId c, uint64_t pages, uint64_t idle, Lift& lift) {
  const uint64_t resident = zone_->resident_mask(c);
  uint64_t lifted = 0, seen = 0, elsewhere = 0;
  for (BitRun run = next_run(pages, 0); run.first < kClusterPages; run = next_run(pages, run.end))
    if (runs_in(idle & resident & run_mask(run)) > 1 && lift_run(c, run, lift, seen, elsewhere))
      lifted |= run_mask(run);
  lifted &= ~elsewhere;
  // What never had memory is counted no more, and nobody needs to wait for it.
  zone_->uncharge(c, lifted & ~seen);
  zone_->charge(c, seen);
  if ((lifted & ~seen) != 0) release(c, lifted & ~seen);
  if (seen == 0) return lifted;
  lift.clusters[lift.count++] = {c, seen, seen & idle};
  lift.pages += pages_in(seen);
  return lifted;
}

// Moves lifted pages back to their addresses, whatever refers to them, and has touches there reported again.
void NodeReclaim::put_back(unsigned n, ClusterId c, uint64_t pages, Lift& lift) {
  for (BitRun run = next_run(pages, 0); run.first < kClusterPages; run = next_run(pages, run.end)) {
    char* const home = zone_->address(c * kClusterPages + run.first);
    char* const lifted = lift.address(n, run.first);
    const size_t bytes = (run.end - run.first) * kPageSize;
    // Refused for want of memory or mappings, of which there was one a moment ago. What is at stake is content, so it
    // waits.
    while (os::vm_move(lifted, home, bytes) != os::VmMove::kMoved) os::sleep_ms(1);
    while (os::uffd_register(uffd_of(c), home, bytes, shards_->write_protect) < 0) os::sleep_ms(1);
    while (!os::vm_renew(lifted, bytes)) os::sleep_ms(1);
  }
}

// Moves a lifted page whose memory was not given back; what the kernel says. It may have been written to by a device
// since it was copied; and until it is moved or written, the kernel may drop it when it is short of memory itself,
// which it does not do to what is pinned. What is shared with a child of a fork becomes the process's own first.
long NodeReclaim::move_lifted(ClusterId c, void* to, void* lifted, bool& shared) {
  for (shared = false;; shared = true) {
    const long error = os::uffd_move_present(uffd_of(c), to, lifted);
    // (-EEXIST is a move that was not counted: undo_uncounted_move.)
    if (error == -EEXIST) return 0;
    if (error != -EBUSY || shared) return error;
    static_cast<void>(os::vm_unshare(lifted, kPageSize));
  }
}

// Of the pages whose memory was not given back, those that are pinned go home, the others to Standby. Returns the
// latter in `standby`, and all that is not gone. (Neither pinned nor shared are some of the last 31 pages that each
// processor faulted in, which the kernel has not put on its lists yet.)
uint64_t NodeReclaim::keep_held(unsigned n, uint64_t held, Lift& lift, uint64_t& standby) {
  const ClusterId c = lift.clusters[n].id;
  uint64_t kept = 0;
  for (uint64_t left = held; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    const uint64_t bit = uint64_t{1} << i;
    bool shared = false;
    const long error = move_lifted(c, staging_address(c * kClusterPages + i), lift.address(n, i), shared);
    lift.refused += shared;
    if (error == -ENOENT) continue;
    if (error == 0)
      standby |= bit;
    else
      put_back(n, c, bit, lift);
    kept |= bit;
  }
  return kept;
}

// Maps copies of pages at their addresses.
void NodeReclaim::fill_home(ClusterId c, uint64_t pages, uint64_t seen, const char* content) {
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    for (int error = 0;; os::sleep_ms(1)) {
      char* const home = zone_->address(c * kClusterPages + i);
      // Nothing but want of memory is in its way, and there is no other copy.
      if (os::uffd_copy(uffd_of(c), home, copy_of(content, seen, i), kPageSize, false, error) == kPageSize) break;
      if (error == EEXIST) break;
    }
  }
}

// Puts copies of pages into Standby; returns those that are there.
uint64_t NodeReclaim::stage(ClusterId c, uint64_t pages, uint64_t seen, const char* content) {
  uint64_t staged = 0;
  for (uint64_t left = pages; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    int error = 0;
    char* const to = staging_address(c * kClusterPages + i);
    if (os::uffd_copy(uffd_of(c), to, copy_of(content, seen, i), kPageSize, false, error) == kPageSize)
      staged |= uint64_t{1} << i;
  }
  enter_standby(c, staged);
  return staged;
}

// Puts copies of a cluster's pages into the pool; returns those that are stored.
uint64_t NodeReclaim::store_lifted(const Lift::Cluster& lifted, const char* content, SwapEntry* entries,
                                   uint64_t& rejected, Compressor& compressor) {
  uint64_t stored = 0;
  for (uint64_t left = lifted.wanted; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    const ZswapPool::Stored result = pool_.store(compressor, policy_.codec, copy_of(content, lifted.seen, i));
    if (result.result == ZswapPool::Result::kStored) {
      entries[i] = SwapEntry(SwapEntry::Kind::kZswap, result.handle);
      stored |= uint64_t{1} << i;
    } else if (result.result == ZswapPool::Result::kIncompressible) {
      rejected |= uint64_t{1} << i;
      count(counters_->zswap_reject_compress);
    } else {
      break;  // the pool is full: compressing the others would most likely be in vain
    }
  }
  return stored;
}

// Decides what becomes of the pages of one cluster, and gives them and it up; `held` were not given back. Returns how
// many left memory.
Pages NodeReclaim::settle_lifted(unsigned n, const char* content, uint64_t held, bool may_write, uint64_t stored,
                                 uint64_t rejected, const SwapEntry* entries, Lift& lift) {
  const auto [c, seen, wanted] = lift.clusters[n];
  Cluster& cluster = map_[c];
  uint64_t standby = 0;
  const uint64_t back = held != 0 ? keep_held(n, held & seen, lift, standby) : 0;
  if (standby != 0) enter_standby(c, standby);
  const uint64_t leaving = stored & ~back & cluster.allocated.load();
  uint64_t home = seen & ~stored & ~back;
  // What the pool does not take is left to a file, if there is one.
  if (may_write && (home & wanted) != 0 && files_->writer() != nullptr) home &= ~stage(c, home & wanted, seen, content);
  if (const uint64_t flagged = rejected & ~back; flagged != 0) {
    map_.more(c).rejected.fetch_or(flagged, std::memory_order_relaxed);
    map_.more(c).rejected_ms.store(os::now_ms(), std::memory_order_relaxed);
  }
  fill_home(c, home, seen, content);
  if (const uint64_t pinned = back & wanted & ~standby; pinned != 0) {
    // Tried again when their turn comes; until then they are as good as active.
    cluster.active.fetch_or(pinned, std::memory_order_relaxed);
    count(counters_->pgrotated, pages_in(pinned));
  }
  for (uint64_t left = stored & ~leaving; left != 0; left &= left - 1) drop(&entries[std::countr_zero(left)], 1);
  for (uint64_t left = leaving; left != 0; left &= left - 1) {
    const unsigned i = static_cast<unsigned>(std::countr_zero(left));
    map_.entry(c * kClusterPages + i) = entries[i];
    if (ZswapPool::is_same_filled(entries[i].handle())) count(counters_->zswap_same_filled);
  }
  count(counters_->zswpout, pages_in(leaving));
  note_evicted(c, leaving);
  cluster.swapped.fetch_or(leaving);
  // With those that were freed meanwhile: their memory is gone, too.
  zone_->uncharge(c, stored & ~back);
  release(c, seen);
  if (leaving != 0) list_zswap(c);
  relist(c);
  return Pages(pages_in(leaving));
}

// Nothing has been given back yet: everything goes home.
void NodeReclaim::give_up_lift(Lift& lift) {
  for (unsigned n = 0; n < lift.count; ++n) {
    const Lift::Cluster& lifted = lift.clusters[n];
    put_back(n, lifted.id, lifted.seen, lift);
    map_[lifted.id].active.fetch_or(lifted.wanted, std::memory_order_relaxed);
    release(lifted.id, lifted.seen);
    relist(lifted.id);
  }
  lift_pause_.store(kPauseClusters, std::memory_order_relaxed);
  lift.clear();
}

// Decides about all that was lifted. Returns how many pages left memory.
Pages NodeReclaim::finish_lift(ScanControl& sc, Workbench& bench) {
  Lift& lift = bench.lift;
  if (lift.count == 0) return Pages(0);
  os::VmRange ranges[Lift::kClusters * kClusterPages / 2] = {};
  unsigned nr = 0;
  for (unsigned n = 0; n < lift.count; ++n) {
    const uint64_t seen = lift.clusters[n].seen;
    for (BitRun run = next_run(seen, 0); run.first < kClusterPages; run = next_run(seen, run.end))
      ranges[nr++] = {lift.address(n, run.first), (run.end - run.first) * kPageSize};
  }
  // By one call, and not by reading them here: each page would be a fault of the processor's in a virtual machine.
  if (os::vm_gather(lift.content, ranges, nr) != lift.pages * kPageSize) {
    give_up_lift(lift);
    return Pages(0);
  }
  SwapEntry entries[Lift::kClusters][kClusterPages];
  uint64_t stored[Lift::kClusters], rejected[Lift::kClusters] = {}, held[Lift::kClusters];
  const char* content = lift.content;
  for (unsigned n = 0; n < lift.count; content += pages_in(lift.clusters[n++].seen) * kPageSize)
    stored[n] = store_lifted(lift.clusters[n], content, entries[n], rejected[n], bench.compressor);
  sync_pool();
  os::vm_drop_unpinned(lift.memory, lift.count * kClusterBytes);
  os::vm_resident_masks(lift.memory, lift.count, held);
  content = lift.content;
  unsigned came_back = 0;
  Pages reclaimed;
  for (unsigned n = 0; n < lift.count; content += pages_in(lift.clusters[n++].seen) * kPageSize) {
    came_back += pages_in(held[n] & lift.clusters[n].seen);
    reclaimed += settle_lifted(n, content, held[n], sc.may_write, stored[n], rejected[n], entries[n], lift);
  }
  count(counters_->pglift, lift.pages);
  count(counters_->pglift_back, came_back);
  sc.reclaimed += reclaimed;
  // Pages that became known to be there only by being lifted were not seen.
  if (sc.scanned < sc.reclaimed) sc.scanned = sc.reclaimed;
  if (lift.refused * 2 > lift.pages) lift_pause_.store(kPauseClusters, std::memory_order_relaxed);
  lift.clear();
  return reclaimed;
}

}  // namespace weir
