// How pages that lie in many short runs leave memory (the part of NodeReclaim that takes them together), where they
// cannot be dropped in place (drop_in_place.cc), which shares what is below from finish_lift on.
//
// UFFDIO_MOVE interrupts the other processors for each run of present pages, and random touches leave runs of one or
// two: 40 us each in a virtual machine where a second processor runs the process. mremap moves the page table of a
// cluster with one interrupt. It moves pinned pages as well, though, and a device would go on writing to a page that
// nobody looks at any more. So what was lifted is copied, and then its memory is given back in a way that is refused
// for whatever anything else refers to: what remains goes back to its address. Nothing can be pinned anew meanwhile,
// because the addresses to which pages are lifted are known to nobody. What a device wrote between the copy and its
// letting go of the page shows in one of two ways:
// - Whoever pins a page for writing for the time of a request makes it dirty before letting go of it, and a page that
//   became dirty after it was marked (os::vm_mark_droppable) is not dropped. So pages are marked before they are
//   copied; and copied once more before that, because the kernel may drop them from then on.
// - Buffers that io_uring has registered are made dirty only when that is done. Such pages are counted (VmPin): where
//   there are any, nothing is lifted. (What is registered, read into and given up again in the half millisecond that
//   this takes, and was pinned but not yet counted when the page was lifted, is not seen.)
//
// Lifted pages that are compressed at once have no second chance in Standby; a touch costs decompression, and makes
// them active if it comes soon (refaults_soon). Where the kernel cannot move pages (before Linux 6.8), lifting is the
// only way out of memory, and those that lie in long runs go to Standby as copies.
//
// Thread safety: as evict.cc; pages are claimed, clusters owned, and a Lift is one thread's.
// Invariants: a claimed page's content is at its address here, or in memory that nothing but these addresses refers to
// and a copy of it in `content`, until it is stored or back home.
#include <errno.h>

#include <atomic>
#include <bit>
#include <cstring>

#include "os/pins.h"
#include "os/proc.h"
#include "os/uffd.h"
#include "os/vm.h"
#include "reclaim/node.h"

namespace weir {
namespace {

// In tenths of an interrupt: lifting costs one and a half for a cluster, and each page that lies between and has to go
// back a tenth; moving costs one a run.
constexpr unsigned kRunCost = 10, kLiftCost = 15;
// Of what is hot, ageing leaves a page or two a cluster at a time. Dropped in place they cost no interrupts of their
// own next to those of the clusters beside theirs, and no more than moving them where they are alone; longer runs had
// better go to Standby.
constexpr unsigned kShortRun = 4;
// Where more than half of what was lifted is shared with a child of a fork, or pinned, most likely more is.
constexpr uint32_t kPauseClusters = 64;
// Unless there are so few that it may be for the last pages that a processor faulted in, which the kernel has not put
// on its lists yet (PAGEVEC_SIZE).
constexpr unsigned kNotListed = 31;

unsigned pages_in(uint64_t mask) {
  return static_cast<unsigned>(std::popcount(mask));
}

unsigned runs_in(uint64_t mask) {
  return pages_in(mask & ~(mask << 1));
}

// Of `all` pages, spans that it is worth to lift for those that are `present` in them; the ones `between` are present,
// too, and go back.
uint64_t worth_lifting_from(uint64_t present, uint64_t all, uint64_t between) {
  uint64_t worth = 0;
  for (BitRun run = next_run(all, 0); run.first < kClusterPages; run = next_run(all, run.end)) {
    const uint64_t here = present & run_mask(run);
    if (here == 0) continue;
    const uint64_t span = run_mask(
        {static_cast<unsigned>(std::countr_zero(here)), kClusterPages - static_cast<unsigned>(std::countl_zero(here))});
    if (runs_in(here) * kRunCost > kLiftCost + pages_in(between & span)) worth |= span;
  }
  return worth;
}

// Lifted pages are given back by address, and the addresses are replaced and emptied all the time: whatever the kernel
// mapped there for somebody else in between would be lost. So they lie where the kernel maps nothing by itself, in the
// TiB above the compressed pools (node.cc). Null: something lies at all the places that were tried.
char* map_away_from_others(size_t bytes) {
#ifdef __SANITIZE_THREAD__
  // The thread sanitizer has taken the other place. What it leaves above programs, arenas take; below lie programs only
  // that have a fixed place, and those are in the first GiB.
  constexpr uintptr_t kBegin = uintptr_t{1} << 36, kSpan = uintptr_t{1} << 38;
#else
  constexpr uintptr_t kBegin = uintptr_t{0x5400} << 32, kSpan = uintptr_t{1} << 40;
#endif
  constexpr uintptr_t kAlign = uintptr_t{2} << 20;
  constexpr unsigned kTries = 64;
  static constinit std::atomic<uint64_t> tried{0};
  for (unsigned i = 0; i < kTries; ++i) {
    // Fibonacci hashing; 2^64 divided by the golden ratio.
    const uint64_t number = (os::process_random() + tried.fetch_add(1)) * 0x9e37'79b9'7f4a'7c15u;
    auto* const place = reinterpret_cast<char*>(kBegin + align_down(number >> 24, kAlign) % kSpan);
    if (os::vm_map_new(place, bytes)) return place;
  }
  return nullptr;
}

}  // namespace

bool Lift::prepare() {
  constexpr size_t kCopies = (kMostPages + kClusterPages) * kPageSize;
  if (content == nullptr) {
    content = static_cast<char*>(os::vm_map(2 * kCopies));
    before = content + kCopies;
  }
  return content != nullptr && (in_place || map_addresses());
}

bool Lift::map_addresses() {
  // With a cluster more on both sides, so that the kernel keeps the page tables when what is between is replaced:
  // making them anew, and telling the other processors of it, doubles what lifting takes.
  constexpr size_t kBytes = (kClusters + 2) * kClusterBytes;
  if (memory != nullptr) return true;
  char* const addresses = map_away_from_others(kBytes);
  if (addresses == nullptr) return false;
  os::vm_huge_pages(addresses, kBytes, false);
  memory = addresses + kClusterBytes;
  return true;
}

// Whether the pages of a batch are dropped in place; decided before its first ones join.
bool NodeReclaim::goes_in_place(Lift& lift) const {
  // What the kernel swaps out by itself is not seen where it is.
  if (lift.count == 0) lift.in_place = lift.refs.is_open() && !os::vm_system_swaps();
  return lift.in_place;
}

// A cluster's inactive pages, at a glance.
uint64_t NodeReclaim::leaving_pages(ClusterId c) const {
  const Cluster& cluster = map_[c];
  const uint64_t active = cluster.active.load(std::memory_order_relaxed);
  const uint64_t stay = cluster.standby.load() | cluster.garbage.load() | unevictable(c) | active;
  return zone_->resident_mask(c) & cluster.allocated.load() & ~stay;
}

void NodeReclaim::pause_lifting() {
  lift_pause_.store(kPauseClusters, std::memory_order_relaxed);
}

// Whether such pages are better dropped in place, together with those of clusters beside theirs.
bool NodeReclaim::may_join(uint64_t pages) {
  return pages != 0 && (runs_in(pages) > 1 || pages_in(pages) <= kShortRun);
}

// Of a cluster's inactive pages (`idle`, present or not), those that are better lifted, with what lies between them, if
// that is among the `others`; or dropped where they are. They are compressed at once.
uint64_t NodeReclaim::worth_lifting(ClusterId c, uint64_t idle, uint64_t others, const Lift& lift) {
  if (!policy_.zswap || shards_->status < 0 || pool_.pool_pages() >= policy_.zswap_max.load()) return 0;
  const uint64_t clean = map_.more(c).clean.load(), present = idle & zone_->resident_mask(c) & ~clean;
  uint64_t worth = 0;
  if (!lift.in_place)
    worth = worth_lifting_from(present, (idle | others) & ~clean, others & zone_->resident_mask(c));
  else if (may_join(present))
    worth = present;
  if (worth == 0) return 0;
  uint32_t pause = lift_pause_.load(std::memory_order_relaxed);
  while (pause != 0 && !lift_pause_.compare_exchange_weak(pause, pause - 1, std::memory_order_relaxed)) {
  }
  return pause == 0 ? worth : 0;
}

// Whether what was lifted can be written: what is not given back and cannot be written or moved either, the kernel
// might drop. UFFDIO_MOVE tells by a page that is not there; where there is none, a page has to be written.
bool NodeReclaim::can_write_lifted(ClusterId c, BitRun run, uint64_t present, const Lift& lift) const {
  if (!shards_->move) {
    if (present == 0) return true;
    return os::vm_unshare(lift.address(lift.count, static_cast<unsigned>(std::countr_zero(present))), kPageSize);
  }
  const uint64_t holes = run_mask(run) & ~present;
  if (holes == 0) return false;
  const unsigned i = static_cast<unsigned>(std::countr_zero(holes));
  return os::uffd_move_present(uffd_of(c), zone_->address(c * kClusterPages + i), lift.address(lift.count, i)) ==
         -ENOENT;
}

// Copies lifted pages, also those that the program may not read; nobody else knows where they are. False: they are as
// they were, but that their mapping may be one that can be written.
bool NodeReclaim::copy_lifted(char* to, const os::VmRange* ranges, unsigned nr) {
  size_t bytes = 0;
  for (unsigned i = 0; i < nr; ++i) bytes += ranges[i].bytes;
  if (os::vm_gather(to, ranges, nr) == bytes) return true;
  for (unsigned i = 0; i < nr; ++i)
    if (!os::vm_commit(ranges[i].address, ranges[i].bytes)) return false;
  return os::vm_gather(to, ranges, nr) == bytes;
}

// Fills lifted pages in where they were. Their mapping cannot be written, and is what put_back would bring along; but
// by now the program may have changed that (mprotect) where the pages were. No device writes to what cannot be written,
// unless the program protects a buffer that it has under way. Where pages can be moved, it is not known that they
// cannot be written. False: they are still where they were lifted to.
bool NodeReclaim::copy_back(ClusterId c, BitRun run, uint64_t here, Lift& lift) {
  if (shards_->move) return false;
  os::VmRange ranges[kClusterPages / 2] = {};
  unsigned nr = 0;
  for (BitRun part = next_run(here, 0); part.first < kClusterPages; part = next_run(here, part.end))
    ranges[nr++] = {lift.address(lift.count, part.first), (part.end - part.first) * kPageSize};
  if (!copy_lifted(lift.content, ranges, nr)) return false;
  renew_lifted(lift.address(lift.count, run.first), (run.end - run.first) * kPageSize);
  fill_home(c, here, here, lift.content);
  return true;
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
  // Lifting would unlock.
  if (os::vm_is_locked(home, bytes)) return false;
  if (!os::vm_lift(home, lifted, bytes)) {
    // The program divided the mapping (mprotect), or there are too many mappings. The one at `lifted` may be gone.
    renew_lifted(lifted, bytes);
    return false;
  }
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
  if (!can_write_lifted(c, run, shards_->move ? here | unclear : here, lift)) {
    if (unclear != 0 || !copy_back(c, run, here, lift)) put_back(lift.count, c, here | unclear, lift);
    return false;
  }
  if (unclear != 0) put_back(lift.count, c, unclear, lift);
  lift.starts[lift.count] |= uint64_t{1} << run.first;
  seen |= here;
  elsewhere |= unclear;
  return true;
}

// The same, by smaller runs where that is refused and there is no other way out of memory. Returns what was lifted.
uint64_t NodeReclaim::lift_pieces(ClusterId c, BitRun run, Lift& lift, uint64_t& seen, uint64_t& elsewhere) {
  if ((zone_->resident_mask(c) & run_mask(run)) == 0) return 0;
  if (lift_run(c, run, lift, seen, elsewhere)) return run_mask(run);
  if (shards_->move || run.end - run.first == 1) return 0;
  const unsigned middle = run.first + (run.end - run.first) / 2;
  return lift_pieces(c, {run.first, middle}, lift, seen, elsewhere) |
         lift_pieces(c, {middle, run.end}, lift, seen, elsewhere);
}

// Lifts claimed pages; those in `idle` are to leave memory, those in `at_once` without Standby. Returns those that are
// not the caller's any more.
uint64_t NodeReclaim::lift(ClusterId c, uint64_t pages, uint64_t idle, uint64_t at_once, Lift& lift) {
  if (lift.in_place) return hold(c, pages & idle, lift);
  const uint64_t resident = zone_->resident_mask(c);
  uint64_t lifted = 0, seen = 0, elsewhere = 0;
  lift.starts[lift.count] = 0;
  for (BitRun run = next_run(pages, 0); run.first < kClusterPages; run = next_run(pages, run.end))
    if (runs_in(idle & resident & run_mask(run)) > (shards_->move ? 1 : 0))
      lifted |= lift_pieces(c, run, lift, seen, elsewhere);
  lifted &= ~elsewhere;
  // What never had memory is counted no more, and nobody needs to wait for it.
  zone_->uncharge(c, lifted & ~seen);
  zone_->charge(c, seen);
  if ((lifted & ~seen) != 0) release(c, lifted & ~seen);
  if (seen == 0) return lifted;
  lift.clusters[lift.count++] = {c, seen, seen & idle, seen & idle & at_once, 0};
  lift.pages += pages_in(seen);
  return lifted;
}

// Copies what was lifted, and has the kernel give the memory back of what nothing else refers to.
// False: it could not be copied, or may be pinned in the way that does not show (see above); nothing was marked. Where
// that turns out later, nothing is given back.
bool NodeReclaim::copy_and_drop(Lift& lift) {
  os::VmRange ranges[Lift::kMostRanges];
  unsigned nr = 0;
  for (unsigned n = 0; n < lift.count; ++n) {
    const ClusterId c = lift.clusters[n].id;
    const uint64_t seen = lift.clusters[n].seen;
    for (BitRun run = next_run(seen, 0); run.first < kClusterPages; run = next_run(seen, run.end)) {
      char* const begin = lift.in_place ? zone_->address(c * kClusterPages + run.first) : lift.address(n, run.first);
      ranges[nr++] = {begin, (run.end - run.first) * kPageSize};
    }
  }
  return lift.in_place ? copy_and_drop_in_place(lift, ranges, nr) : copy_and_drop(lift, ranges, nr);
}

bool NodeReclaim::copy_and_drop(Lift& lift, const os::VmRange* ranges, unsigned nr) {
  // By one call, and not by reading them here: each page would be a fault of the processor's in a virtual machine.
  const auto copy_to = [&](char* to) { return os::vm_gather(to, ranges, nr) == lift.pages * kPageSize; };
  const auto may_be_pinned = [this] { return os::has_registered_pages(shards_->status); };
  const size_t bytes = lift.count * kClusterBytes;
  if (!copy_to(lift.before) || may_be_pinned()) return false;
  const bool marked = os::vm_mark_droppable(lift.memory, bytes);
  const bool copied = copy_to(lift.content);
  if (!copied) memcpy(lift.content, lift.before, lift.pages * kPageSize);
  if (!marked || !copied || may_be_pinned())
    pause_lifting();
  else
    os::vm_page_out(lift.memory, bytes);
  return true;
}

// What of a batch was not given back, and where it is now.
void NodeReclaim::keep_refused(Lift& lift, Kept* kept) {
  uint64_t held[Lift::kMostClusters];
  if (lift.in_place)
    find_held(lift, held);
  else
    os::vm_resident_masks(lift.memory, lift.count, held);
  Lift::Copies copies = {lift.content, lift.before};
  for (unsigned n = 0; n < lift.count; ++n) {
    const uint64_t seen = lift.clusters[n].seen, here = held[n] & seen;
    if (here != 0)
      kept[n] = lift.in_place ? keep_where_it_is(n, here, copies.content, lift) : keep_held(n, here, copies, lift);
    copies.content += pages_in(seen) * kPageSize;
    copies.before += pages_in(seen) * kPageSize;
  }
  if (lift.in_place) end_faults();
}

// Decides about all that was lifted. Returns how many pages left memory, or are in Standby now.
Pages NodeReclaim::finish_lift(ScanControl& sc, Workbench& bench) {
  Lift& lift = bench.lift;
  if (lift.count == 0) return Pages(0);
  if (!copy_and_drop(lift)) {
    give_up_lift(lift);
    return Pages(0);
  }
  Kept kept[Lift::kMostClusters];
  keep_refused(lift, kept);
  char *content = lift.content, *before = lift.before;
  Pages reclaimed, staged;
  for (unsigned n = 0; n < lift.count; ++n) {
    const unsigned copied = pages_in(lift.clusters[n].seen);
    const Settled settled = settle_lifted(n, {content, before}, kept[n], sc.may_write, bench);
    reclaimed += settled.gone;
    staged += settled.staged;
    content += copied * kPageSize;
    before += copied * kPageSize;
  }
  sync_pool();
  count(counters_->pglift, lift.pages);
  sc.reclaimed += reclaimed;
  // Those in Standby are still to be decided.
  sc.scanned -= staged < sc.scanned ? staged : sc.scanned;
  // Pages that became known to be there only by being lifted were not seen.
  if (sc.scanned < sc.reclaimed) sc.scanned = sc.reclaimed;
  if (lift.refused > kNotListed && lift.refused * 2 > lift.pages) pause_lifting();
  lift.clear();
  return reclaimed + staged;
}

// Everything goes home.
void NodeReclaim::give_up_lift(Lift& lift) {
  for (unsigned n = 0; n < lift.count; ++n) {
    const Lift::Cluster& lifted = lift.clusters[n];
    if (!lift.in_place) put_back(n, lifted.id, lifted.seen, lift);
    map_[lifted.id].active.fetch_or(lifted.wanted, std::memory_order_relaxed);
    count(counters_->pgrotated, pages_in(lifted.wanted));
    release(lifted.id, lifted.seen);
    relist(lifted.id);
  }
  pause_lifting();
  lift.clear();
}

}  // namespace weir
