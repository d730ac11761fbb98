// STORY 2: fault -> state of the page -> where its content is -> map -> age -> resume (compare Linux mm/memory.c,
// handle_pte_fault, do_anonymous_page and do_swap_page).
#include "mm/handle_fault.h"

#include <errno.h>

#include <bit>

#include "os/uffd.h"
#include "os/vm.h"
#include "reclaim/stall.h"

namespace weir {
namespace {

// First touches in sequence bring in up to so many pages, where there is room. Where a processor is idle, who waits
// goes on there, and it and the handler wake each other across processors for each fault, which costs as much as 40
// pages. So many take a third of a millisecond, for which others wait.
constexpr unsigned kMostPopulated = kPageblockPages / 2;

// Readahead is bounded by page_cluster, and by this many times that once a stream has been in sequence for long;
// page_cluster=0 is none at all.
constexpr unsigned kSteadyFactor = 8;

// A touch at random begins a stream that nobody goes on with. One that was gone on with is kept for 64 times as
// many faults: a scan that reads 32 pages at a time may meet some hundred such touches meanwhile.
constexpr unsigned kStreamLastsShift = 6;

uint64_t pages_in(uint64_t mask) {
  return static_cast<uint64_t>(std::popcount(mask));
}

// Set bits that follow each other from `first` on, at most `most`.
uint64_t run_from(uint64_t mask, unsigned first, unsigned most) {
  const uint64_t shifted = mask >> first;
  unsigned length = shifted == ~uint64_t{0} ? kClusterPages : static_cast<unsigned>(std::countr_one(shifted));
  if (length > most) length = most;
  return (length >= kClusterPages ? ~uint64_t{0} : (uint64_t{1} << length) - 1) << first;
}

struct Fault {
  Reclaimer& reclaimer;
  NodeReclaim& node;
  Workbench& bench;
  Cluster& cluster;
  ClusterId c;
  Pfn pfn;
  unsigned index;  // within the cluster
  uint64_t bit;
  Touch touch;
  bool again;          // nobody has looked at the page since it was touched before
  bool ahead = false;  // the page was not touched, it comes because those before it were

  char* address() const { return node.zone().address(pfn); }
};

// The stream that this fault continues, or a new one in place of the one that is the least likely to go on.
Workbench::Stream& stream_of(const Fault& f) {
  Workbench& bench = f.bench;
  const uint32_t number = f.node.zone().node().v;
  const uint32_t now = ++bench.nr_looks;
  Workbench::Stream* oldest = nullptr;
  uint32_t oldest_age = 0;
  for (Workbench::Stream& s : bench.streams) {
    if (s.next == f.pfn && s.node == number) {
      s.looked = now;
      return s;
    }
    const uint32_t age = (now - s.looked) >> (s.window > 1 ? kStreamLastsShift : 0);
    if (oldest != nullptr && age <= oldest_age) continue;
    oldest = &s;
    oldest_age = age;
  }
  *oldest = {number, kNoPfn, 0, 0, now};
  return *oldest;
}

// The next page behind the first `end` of the cluster that will be missed when it is touched.
Pfn next_missing(const Fault& f, unsigned end) {
  const Pfn first = f.c * kClusterPages;
  const uint64_t missing =
      end < kClusterPages ? (f.cluster.swapped.load() | f.cluster.standby.load()) >> end << end : 0;
  return first + (missing == 0 ? kClusterPages : static_cast<Pfn>(std::countr_zero(missing)));
}

// A stream goes on behind a page that comes from elsewhere.
void pass_by(const Fault& f) {
  for (Workbench::Stream& s : f.bench.streams)
    if (s.next == f.pfn && s.node == f.node.zone().node().v) s.next = next_missing(f, f.index + 1);
}

// Pages to bring in with this fault: twice as many as the last time when it is the next in sequence, else one.
unsigned window_of(const Fault& f, Workbench::Stream& stream, unsigned most) {
  if (stream.ahead != 0) count(f.node.counters().swap_ra_hit, stream.ahead);
  stream.ahead = 0;
  stream.window = stream.window == 0 ? 1 : stream.window * 2;
  if (stream.window > most) stream.window = most;
  return stream.window;
}

struct Filled {
  unsigned pages;     // how many are there now
  bool there_before;  // the first one was, with the content that it has; it is not protected
};

// Nobody waits for what comes ahead.
os::Waking waking_of(const Fault& f) {
  return f.bench.waker != nullptr && !f.ahead ? os::Waking::kLater : os::Waking::kAtOnce;
}

// Fills claimed pages from `content`; with `protect`, writes to them will be seen.
Filled fill(const Fault& f, unsigned first, const char* content, unsigned pages, bool protect) {
  int error = 0;
  const int uffd = f.node.uffd_of(f.c);
  char* const address = f.address() + first * kPageSize;
  const os::Waking waking = waking_of(f);
  size_t done = os::uffd_copy(uffd, address, content, pages * kPageSize, protect, error, waking);
  // The program divided its memory (mprotect): the page alone lies in one mapping.
  if (done == 0 && error == ENOENT && pages > 1)
    done = os::uffd_copy(uffd, address, content, kPageSize, protect, error, waking);
  if (done >= kPageSize) {
    if (waking == os::Waking::kLater) f.bench.waker->add(address, done);
    return {static_cast<unsigned>(done >> kPageShift), false};
  }
  // A page that could not be taken away may still be protected.
  static_cast<void>(os::uffd_write_protect(uffd, address, kPageSize, false));
  os::uffd_wake(uffd, address, kPageSize);
  // A page that is there already was filled for another thread's fault on it.
  return {error == EEXIST ? 1u : 0u, error == EEXIST};
}

// Of the first page of another cluster.
Fault fault_ahead(const Fault& f, Pfn pfn) {
  const ClusterId c = cluster_of(pfn);
  return {f.reclaimer, f.node, f.bench, f.node.cluster(c), c, pfn, 0, page_bit(pfn), Touch::kWrite, false, true};
}

// After pages came back: they age from now on.
void finish(const Fault& f, uint64_t claimed) {
  f.node.release(f.c, claimed);
  f.reclaimer.list_present(f.node, f.c, f.bench);
}

void fill_standby(const Fault& f) {
  pass_by(f);
  f.reclaimer.make_room(f.node, Pages(1), f.bench);
  f.node.fill_dropped(f.c, f.bit);
  if (fill(f, 0, f.node.staging_address(f.pfn), 1, false).pages != 0) {
    f.node.leave_standby(f.c, f.bit);
    f.node.activate(f.c, f.bit);
    count(f.node.counters().pgfault_standby);
  }
  finish(f, f.bit);
}

// Pages that have no content, and that nobody works on.
uint64_t empty_pages(const Fault& f) {
  return f.cluster.allocated.load() & ~f.cluster.standby.load() & ~f.cluster.swapped.load() & ~f.cluster.busy.load() &
         ~f.node.clean(f.c) & ~f.node.retired(f.c);
}

// Pages from this one on that have no content, claimed, up to the end of the cluster. Those that were counted when they
// were given out may be populated at once; others only as far as the program goes through them in sequence.
uint64_t claim_empty(const Fault& f, Workbench::Stream& stream) {
  const uint64_t empty = empty_pages(f), counted = f.node.zone().resident_mask(f.c);
  const unsigned window = window_of(f, stream, kMostPopulated);
  const uint64_t wanted = (counted & f.bit) != 0 ? run_from((empty & counted) | f.bit, f.index, kClusterPages)
                                                 : run_from((empty & ~counted) | f.bit, f.index, window);
  uint64_t mine = f.bit | f.node.claim(f.c, wanted & ~f.bit);
  // The state may have changed before the claim.
  const uint64_t unfit =
      mine & ~f.bit & (f.cluster.standby.load() | f.cluster.swapped.load() | ~f.cluster.allocated.load());
  if (unfit != 0) f.node.release(f.c, unfit);
  mine &= ~unfit;
  const uint64_t run = run_from(mine, f.index, kClusterPages);
  if ((mine & ~run) != 0) f.node.release(f.c, mine & ~run);
  return run;
}

// Copies that claimed pages kept are of no use any more.
void forget_copies(const Fault& f, uint64_t pages) {
  SwapEntry entries[kClusterPages];
  unsigned count = 0;
  if (f.node.end_clean(f.c, pages, entries, count) != 0) f.reclaimer.drop(f.node, entries, count, f.bench);
}

// The page is about to change: what is kept of it elsewhere is not its content any more. One that was freed and given
// out again may still be protected, which is all there is to it then.
void write_clean(const Fault& f) {
  forget_copies(f, f.bit);
  const os::Waking waking = waking_of(f);
  static_cast<void>(os::uffd_write_protect(f.node.uffd_of(f.c), f.address(), kPageSize, false, waking));
  if (waking == os::Waking::kLater) f.bench.waker->add(f.address(), kPageSize);
  f.node.release(f.c, f.bit);
}

// A page that belongs to nobody. Most likely nobody waits for it: its thread was woken, when the page had come back
// without this handler, and the page has been freed since the fault was read. Memory that it got now, nothing would
// count. A program that touches what it has freed comes again.
void fill_unowned(const Fault& f) {
  const int uffd = f.node.uffd_of(f.c);
  if (f.again) {
    static_cast<void>(fill(f, 0, f.reclaimer.zeros(), 1, false));
    return f.node.release(f.c, f.bit);
  }
  f.cluster.wanted.fetch_or(f.bit);
  f.cluster.busy.fetch_and(~f.bit);
  os::uffd_wake(uffd, f.address(), kPageSize);
}

// Claimed pages from this one on; returns how many are there now.
unsigned populate(const Fault& f, uint64_t pages) {
  const uint64_t charged = f.node.zone().charge(f.c, pages);
  const unsigned filled = fill(f, 0, f.reclaimer.zeros(), static_cast<unsigned>(pages_in(pages)), false).pages;
  const uint64_t missing = pages & ~run_from(pages, f.index, filled);
  f.node.zone().uncharge(f.c, charged & missing);
  // The program dropped what it had (MADV_DONTNEED).
  forget_copies(f, pages & ~missing);
  count(f.node.counters().pgfault_zero, filled);
  finish(f, pages);
  return filled;
}

// A whole cluster that was never touched; false: it is not, or there is not room enough to do it ahead of a touch.
bool populate_ahead(const Fault& f) {
  constexpr uint64_t kAll = ~uint64_t{0};
  const Zone& zone = f.node.zone();
  if (zone.free_budget() < zone.watermarks().high + Pages(kClusterPages)) return false;
  if (zone.total() + Pages(kClusterPages) > zone.managed()) return false;
  if (empty_pages(f) != kAll || zone.resident_mask(f.c) != 0) return false;
  const uint64_t mine = f.node.claim(f.c, kAll);
  // The state may have changed before the claim.
  const uint64_t content = f.cluster.standby.load() | f.cluster.swapped.load() | zone.resident_mask(f.c);
  if (mine == kAll && content == 0 && f.cluster.allocated.load() == kAll) return populate(f, kAll) == kClusterPages;
  f.node.release(f.c, mine);
  return false;
}

void fill_zero(const Fault& f) {
  if ((f.cluster.allocated.load() & f.bit) == 0) return fill_unowned(f);
  Workbench::Stream& stream = stream_of(f);
  const uint64_t pages = claim_empty(f, stream);
  f.reclaimer.make_room(f.node, Pages(pages_in(pages & ~f.node.zone().resident_mask(f.c))), f.bench);
  // Those behind come first, because who waits goes on as soon as its own page is there.
  unsigned together = static_cast<unsigned>(pages_in(pages));
  Pfn next = f.pfn + together;
  for (; next % kClusterPages == 0 && next % kPageblockPages != 0; next += kClusterPages) {
    if (together + kClusterPages > stream.window || !populate_ahead(fault_ahead(f, next))) break;
    together += kClusterPages;
  }
  stream.next = next;
  if (next % kPageblockPages != 0) stream.window = together;
  populate(f, pages);
}

// How many of `pages` pages from the page `i` behind the first on lie in the swap file side by side.
unsigned extent_at(const Fault& f, unsigned i, unsigned pages) {
  const SwapEntry first = f.node.entry(f.pfn + i);
  unsigned count = 1;
  while (i + count < pages && f.node.entry(f.pfn + i + count).handle() == first.handle() + count) ++count;
  return count;
}

// What can be brought in with one that is at `first`: where that is compressed, what is; where it is in a file, what is
// in the same one, which has to lie side by side unless several reads may be under way.
bool comes_with(SwapEntry first, SwapEntry other, unsigned i, bool scattered) {
  if (first.kind() != other.kind()) return false;
  if (first.kind() != SwapEntry::Kind::kFile) return true;
  return scattered ? other.file() == first.file() : other.handle() == first.handle() + i;
}

// Pages from this one on whose content can be had with it, claimed.
uint64_t claim_swapped(const Fault& f, SwapEntry first, bool scattered) {
  Workbench::Stream& stream = stream_of(f);
  const unsigned few = f.node.policy().most_readahead;
  unsigned most = few > 1 && stream.window >= few ? few * kSteadyFactor : few;
  if (most > Workbench::kReadPages) most = Workbench::kReadPages;
  const unsigned window = window_of(f, stream, most);
  uint64_t run = f.bit;
  if (window > 1) {
    const uint64_t there = f.cluster.swapped.load() & ~f.cluster.busy.load();
    const uint64_t mine = f.bit | f.node.claim(f.c, run_from(there | f.bit, f.index, window) & ~f.bit);
    run = run_from(mine & f.cluster.swapped.load(), f.index, window);
    for (unsigned i = 1; i < pages_in(run); ++i)
      if (!comes_with(first, f.node.entry(f.pfn + i), i, scattered)) run = run_from(run, f.index, i);
    if ((mine & ~run) != 0) f.node.release(f.c, mine & ~run);
    stream.ahead = static_cast<unsigned>(pages_in(run) - 1);
  }
  stream.next = next_missing(f, f.index + static_cast<unsigned>(pages_in(run)));
  return run;
}

// Whoever touches the page is told by a signal. Before Linux 6.6 a page cannot be poisoned; it is made inaccessible
// instead, and the signal is SIGSEGV.
void poison_page(const Fault& f) {
  const int uffd = f.node.uffd_of(f.c);
  if (os::uffd_poison(uffd, f.address(), kPageSize) < 0) static_cast<void>(os::vm_protect_none(f.address(), kPageSize));
  os::uffd_wake(uffd, f.address(), kPageSize);
}

// The first page could not be read: it is lost, and whoever touches it is told by SIGBUS, as by a failing disk.
void poison(const Fault& f, uint64_t claimed) {
  if (f.node.entry(f.pfn).kind() != SwapEntry::Kind::kPoisoned) {
    f.node.entry(f.pfn) = SwapEntry(SwapEntry::Kind::kPoisoned, 1);
    count(f.node.counters().swap_read_error);
    f.reclaimer.report_lost_page(f.address());
  }
  poison_page(f);
  f.node.release(f.c, claimed);
}

// The page belonged to a heap that was emptied when memory ran out.
void refuse_retired(const Fault& f) {
  f.reclaimer.report_retired_page(f.node, f.pfn);
  poison_page(f);
  f.node.release(f.c, f.bit);
}

// Which of the pages that come back keep their copies: the first one unless it is being written, or is one of those
// that are touched all the time and will be written sooner or later; what is read ahead always.
uint64_t copies_to_keep(const Fault& f, uint64_t pages, bool active) {
  if (!f.node.may_keep(f.node.entry(f.pfn))) return 0;
  return f.touch == Touch::kRead && !active ? pages : pages & ~f.bit;
}

// Fills the claimed pages; those in `keep` are write-protected, as far as they remain in it. Returns those that are
// there now.
uint64_t fill_back(const Fault& f, uint64_t pages, uint64_t& keep, const char* content) {
  const unsigned all = static_cast<unsigned>(pages_in(pages));
  const bool together = (keep & f.bit) != 0 || keep == 0;
  const Filled first = fill(f, 0, content, together ? all : 1, together && keep != 0);
  if (first.there_before) keep &= ~f.bit;
  unsigned filled = first.pages;
  if (!together && filled != 0 && all > 1) {
    const Filled rest = fill(f, 1, content + kPageSize, all - 1, true);
    if (rest.there_before) keep &= ~(f.bit << 1);
    filled += rest.pages;
  }
  return filled == 0 ? 0 : run_from(pages, f.index, filled);
}

// Maps the first `loaded` of the claimed pages, whose content is at `content`.
void bring_back(const Fault& f, uint64_t pages, unsigned loaded, const char* content) {
  // What fails ahead of a touch is tried again with the touch.
  if (loaded == 0) return f.ahead ? f.node.release(f.c, pages) : poison(f, pages);
  const SwapEntry::Kind kind = f.node.entry(f.pfn).kind();
  const uint64_t there = run_from(pages, f.index, loaded);
  const uint64_t charged = f.node.zone().charge(f.c, there);
  const bool active = !f.ahead && f.node.refaults_soon(f.pfn);
  uint64_t keep = copies_to_keep(f, there, active);
  const uint64_t back = fill_back(f, there, keep, content);
  const unsigned filled = static_cast<unsigned>(pages_in(back));
  f.node.zone().uncharge(f.c, charged & ~back);
  if (!f.ahead) count(f.node.counters().pgmajfault);
  if (const unsigned touched = f.ahead ? 0 : 1; filled > touched) count(f.node.counters().swap_ra, filled - touched);
  count(f.node.counters().workingset_refault_anon, filled);
  count(kind == SwapEntry::Kind::kFile ? f.node.counters().pswpin : f.node.counters().zswpin, filled);
  if (active) {
    f.node.activate(f.c, f.bit);
    count(f.node.counters().workingset_activate_anon);
  } else if (!f.ahead) {
    f.node.forget_soon(f.c, f.bit);
  }
  SwapEntry entries[kClusterPages];
  unsigned dropped = 0;
  for (uint64_t left = back & ~keep; left != 0; left &= left - 1)
    entries[dropped++] = f.node.entry(f.c * kClusterPages + static_cast<unsigned>(std::countr_zero(left)));
  f.node.leave_swap(f.c, back, back & keep);
  finish(f, pages);
  if (dropped != 0) f.reclaimer.drop(f.node, entries, dropped, f.bench);
}

// Starts reading claimed pages from a swap file, each extent by itself. Those for which there is no room any more are
// given up; false: that is all of them.
bool start_reads(const Fault& f, uint64_t pages) {
  const unsigned wanted = static_cast<unsigned>(pages_in(pages)), file = f.node.entry(f.pfn).file();
  unsigned started = 0;
  while (started < wanted) {
    const unsigned together = extent_at(f, started, wanted);
    const bool write = started == 0 && f.touch == Touch::kWrite;
    const Workbench::Read read = {.node = &f.node,
                                  .pfn = f.pfn + started,
                                  .count = together,
                                  .write = write,
                                  .ahead = started != 0,
                                  .stalls = started == 0};
    if (!f.bench.prepare_read(read, f.node.entry(f.pfn + started))) break;
    started += together;
  }
  f.bench.submit_reads(file);
  if (started != 0 && started < wanted) f.node.release(f.c, pages & ~run_from(pages, f.index, started));
  return started != 0;
}

void swap_in(const Fault& f) {
  const SwapEntry first = f.node.entry(f.pfn);
  f.node.prefetch_content(first);
  f.bench.files_in_a_row = first.kind() == SwapEntry::Kind::kFile ? f.bench.files_in_a_row + 1 : 0;
  const bool asynchronous =
      first.kind() == SwapEntry::Kind::kFile && f.bench.may_start_reads(f.node.files(), first.file());
  uint64_t pages = claim_swapped(f, first, asynchronous);
  const unsigned wanted = static_cast<unsigned>(pages_in(pages));
  // As in the kernel, waiting for what was here before is a stall.
  Stall stall(f.reclaimer, f.bench);
  // First, because reclaim uses the bench too.
  f.reclaimer.make_room_in_owner(f.node, f.pfn, Pages(wanted), f.bench);
  f.reclaimer.make_room(f.node, Pages(wanted), f.bench);
  const unsigned together = first.kind() == SwapEntry::Kind::kFile ? extent_at(f, 0, wanted) : wanted;
  // Other faults are not held up by a disk.
  if (asynchronous && (!f.bench.alone || together < wanted) && start_reads(f, pages)) return stall.leave_open();
  if (together < wanted) {
    f.node.release(f.c, pages & ~run_from(pages, f.index, together));
    pages = run_from(pages, f.index, together);
  }
  SwapEntry entries[kClusterPages];
  for (unsigned i = 0; i < together; ++i) entries[i] = f.node.entry(f.pfn + i);
  bring_back(f, pages, f.node.load_many(entries, together, f.bench), f.bench.pages);
}

// Who touches a page that is being read, most likely ahead of that touch, waits for the disk, too.
void wait_for_read(const Fault& f) {
  Workbench::Read* const read = f.bench.find_read(f.node, f.pfn);
  if (read == nullptr) return;
  ++read->stalls;
  f.reclaimer.begin_stall();
}

Fault fault_at(Reclaimer& reclaimer, NodeReclaim& node, Pfn pfn, Touch touch, Workbench& bench) {
  const ClusterId c = cluster_of(pfn);
  const bool again = (node.cluster(c).wanted.load() & page_bit(pfn)) != 0;
  return {reclaimer, node, bench, node.cluster(c), c, pfn, pfn % kClusterPages, page_bit(pfn), touch, again, false};
}

void finish_read(Reclaimer& reclaimer, Workbench& bench, const SwapQueue::Completion& done) {
  Workbench::Read& read = bench.reads[done.cookie];
  Fault f = fault_at(reclaimer, *read.node, read.pfn, read.write ? Touch::kWrite : Touch::kRead, bench);
  f.ahead = read.ahead;
  const uint64_t bad = done.result != IoResult::kOk && done.bad_mask == 0 ? 1 : done.bad_mask;
  const unsigned good = bad == 0 ? read.count : static_cast<unsigned>(std::countr_zero(bad));
  const uint64_t pages = run_from(~uint64_t{0}, f.index, read.count);
  bring_back(f, pages, good < read.count ? good : read.count, bench.buffer_of(read));
  for (; read.stalls != 0; --read.stalls) reclaimer.end_stall();
  bench.end_read(read);
}

}  // namespace

void handle_fault(Reclaimer& reclaimer, NodeReclaim& node, Pfn pfn, Touch touch, Workbench& bench) {
  const Fault f = fault_at(reclaimer, node, pfn, touch, bench);
  count(node.counters().pgfault);
  // The page becomes ours, or stays its owner's, who then wakes the thread that waits.
  while (node.claim(f.c, f.bit) == 0) {
    f.cluster.wanted.fetch_or(f.bit);
    if ((f.cluster.busy.load() & f.bit) != 0) return wait_for_read(f);
  }
  if ((f.cluster.standby.load() & f.bit) != 0) return fill_standby(f);
  if ((f.cluster.swapped.load() & f.bit) != 0) return swap_in(f);
  if (touch == Touch::kProtected) return write_clean(f);
  if (__builtin_expect((node.retired(f.c) & f.bit) != 0, 0)) return refuse_retired(f);
  fill_zero(f);
}

void finish_reads(Reclaimer& reclaimer, Workbench& bench) {
  if (bench.nr_reads.load(std::memory_order_relaxed) == 0) return;
  constexpr unsigned kMost = 8;
  SwapQueue::Completion done[kMost];
  for (SwapQueue& queue : bench.queues) {
    for (unsigned finished = kMost; finished == kMost && queue.is_open() && queue.pending() != 0;) {
      finished = queue.poll(done, kMost);
      for (unsigned i = 0; i < finished; ++i) finish_read(reclaimer, bench, done[i]);
    }
  }
}

}  // namespace weir
