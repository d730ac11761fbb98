// What the fault handlers do, each on a userfaultfd of its own: they read faults, go where the thread that waits is, or
// have it woken where it is (waker.h), and have them resolved (mm/handle_fault.h); and what they do for that on the
// way.
#include <errno.h>

#include <algorithm>

#include "os/file.h"
#include "os/proc.h"
#include "os/uffd.h"
#include "os/undisturbed.h"
#include "reclaim/reclaimer.h"
#include "reclaim/stall.h"
#include "weir/events.h"

namespace weir {
namespace {

// Of the faults that come when nothing can be freed, one in so many looks whether that has changed.
constexpr uint32_t kHopelessTries = 8;

// After so many faults in a row of one thread, it is taken to be the only one.
constexpr unsigned kAloneFaults = 8;

// A handler that moves so many times in a row all the same has a waker in vain.
constexpr unsigned kMovesInVain = 8;
// After a waker was in vain, or kept from its work, it takes twice as many moves to have it again, so many at most: a
// second at 100 us a fault with a move.
constexpr unsigned kMostMoves = 8192;
// After so many faults it is tried without: a waker costs 2 us a fault, and the chase is over most often. (Bursts of
// 32 faults with pauses take 6 us a fault, after 32 faults 26, because 8 of 100 us find out that it is needed still.)
constexpr unsigned kFaultsWithWaker = 256;

// Free pages may still have memory, which kswapd gives back as it is needed. The limit may be exceeded by a 64th before
// a fault waits for that, so that it rarely does.
constexpr unsigned kToleratedShift = 6;
// And so long at most: kswapd's turn comes sooner, unless some ten others want the processor.
constexpr uint64_t kMostPurgeMs = 20;
// Other threads give free pages back, too, and tell nobody.
constexpr uint64_t kPurgeWaitMs = 1;

Touch touch_of(const os::UffdFault& fault) {
  return fault.write_protected ? Touch::kProtected : fault.write ? Touch::kWrite : Touch::kRead;
}

void stop_waker(Handler& handler, bool helped) {
  handler.waker.stop();
  handler.bench.waker = nullptr;
  handler.moves = 0;
  const unsigned least = handler.least_moves;
  handler.most_moves = helped ? least : std::max(least, std::min(handler.most_moves * 2, kMostMoves));
}

// Has the waker wake threads while the handler would be chasing its own (waker.h).
void use_waker(Handler& handler, int uffd) {
  if (handler.bench.waker == nullptr) {
    if (handler.moves < handler.most_moves) return;
    handler.moves = handler.with_waker = 0;
    if (handler.waker.start(uffd, handler.cpu)) handler.bench.waker = &handler.waker;
    return;
  }
  // Others are not to wait until this fault is resolved.
  if (handler.waker.is_behind()) handler.waker.wake_all();
  const bool in_vain = handler.moves >= kMovesInVain;
  // A handler that is bound nowhere reads from a disk (follow).
  if (!in_vain && handler.cpu >= 0 && ++handler.with_waker < kFaultsWithWaker) return;
  stop_waker(handler, !in_vain);
}

// Sleeps, so that the waker runs, until there is a fault; the processor may turn out to be somebody else's.
void let_waker_run(Handler& handler, int uffd, bool reading) {
  if (reading) return handler.waker.wake_all();
  handler.waker.post();
  const int fds[] = {uffd, handler.waker.timer()};
  for (;;) {
    const uint32_t readable = os::wait_readable(fds, 2);
    if ((readable & 2) != 0 && handler.waker.watch()) return stop_waker(handler, false);
    if ((readable & 1) != 0) return;
  }
}

}  // namespace

// Who reads a page in Standby that the kernel has dropped is kswapd.
void Reclaimer::handle_staging_fault(const void* address) {
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr && nodes_[i]->fill_dropped_at(address)) return;
}

NodeReclaim* Reclaimer::node_of(const void* address, Pfn& pfn) {
  for (unsigned i = 0; i < nr_nodes_; ++i) {
    if (nodes_[i] == nullptr) continue;
    Zone& zone = nodes_[i]->zone();
    const size_t offset = static_cast<size_t>(static_cast<const char*>(address) - zone.arena().memory());
    if (offset >= bytes_of(zone.accessible_estimate())) continue;
    pfn = zone.pfn_of(address);
    return nodes_[i];
  }
  return nullptr;
}

// A thread whose stack the program allocated has its rseq area in the heap: a handler that reads it must not miss it,
// because it would wait for itself.
void Reclaimer::add_thread() {
  os::keep_thread_present();
  cpus_.add();
}

// A handler on the faulting thread's processor is switched to at once; one elsewhere must be woken by an interrupt.
// While it reads one page after the other from a disk, it is the disk's interrupt that counts: left to the scheduler,
// both come to be where that arrives. (Random touches of one thread with a swap file: 19,300 a second against 16,000.)
void Reclaimer::follow(Handler& handler, uint32_t thread) {
  if (handler.bench.alone && handler.bench.files_in_a_row >= kAloneFaults &&
      (handler.cpu < 0 || os::run_where(thread))) {
    handler.cpu = -1;
    handler.moves = 0;
    return;
  }
  const int cpu = cpus_.cpu_of(thread);
  if (cpu < 0) return;
  if (cpu == handler.cpu || thread != handler.last_thread) handler.moves = 0;
  if (cpu == handler.cpu) return;
  if (!os::run_on_cpu(0, static_cast<unsigned>(cpu))) return;
  handler.cpu = cpu;
  ++handler.moves;
  if (handler.bench.waker != nullptr) handler.waker.move_to(cpu);
}

void Reclaimer::wait_for_fault_or_read(Handler& handler) {
  int fds[SwapFiles::kMost + 1] = {shards_.fds[handler.shard]};
  unsigned count = 1;
  for (const SwapQueue& queue : handler.bench.queues)
    if (queue.is_open() && queue.pending() != 0) fds[count++] = queue.fd();
  os::wait_readable(fds, count);
}

// Whoever has handlers stopped waits for the reads that are under way, which nobody else can finish.
void Reclaimer::begin_work(Handler& handler) {
  for (;;) {
    handler.at_work.store(true);
    if (!still_.load()) return;
    handler.at_work.store(false);
    while (still_.load()) {
      if (handler.bench.nr_reads.load(std::memory_order_relaxed) != 0) story_.finish_reads(*this, handler.bench);
      os::yield();
    }
  }
}

void Reclaimer::note_thread(Handler& handler, uint32_t thread) {
  handler.in_a_row = thread == handler.last_thread && thread != 0 ? handler.in_a_row + 1 : 0;
  handler.last_thread = thread;
  handler.bench.alone = handler.in_a_row >= kAloneFaults;
}

void Reclaimer::run_handler(Handler& handler) {
  constexpr unsigned kMost = 16;
  os::UffdFault faults[kMost];
  const int uffd = shards_.fds[handler.shard];
  bool waits = true;
  for (;;) {
    // While reads are under way, the handler waits for those, too, and must not block on one of the two; so with the
    // waker's timer.
    const bool reading = handler.bench.nr_reads.load(std::memory_order_relaxed) != 0;
    if (const bool polls = reading || handler.bench.waker != nullptr; polls == waits) {
      os::set_nonblocking(uffd, polls);
      waits = !polls;
    }
    if (handler.bench.waker != nullptr) let_waker_run(handler, uffd, reading);
    const int got = os::uffd_read(uffd, faults, kMost);
    if (got == -EAGAIN && handler.bench.waker != nullptr && !reading) continue;
    if (got == -EAGAIN) {
      wait_for_fault_or_read(handler);
      story_.finish_reads(*this, handler.bench);
      continue;
    }
    if (got == -EINTR) continue;
    if (got < 0) return;
    begin_work(handler);
    for (int i = 0; i < got; ++i) {
      Pfn pfn = 0;
      NodeReclaim* node = node_of(faults[i].address, pfn);
      if (node == nullptr) {
        handle_staging_fault(faults[i].address);
        continue;
      }
      node->prefetch(pfn);
      if (node->refill(faults[i].thread, pfn)) continue;
      if (i == 0) follow(handler, faults[i].thread);
      use_waker(handler, uffd);
      note_thread(handler, faults[i].thread);
      story_.handle_fault(*this, *node, pfn, touch_of(faults[i]), handler.bench);
    }
    story_.finish_reads(*this, handler.bench);
    handler.at_work.store(false, std::memory_order_release);
  }
}

// -- on the way to a page ---------------------------------------------------------------------------------------------

// Whether the limit is exceeded, by more than what is tolerated, once so many pages more are in memory.
bool Reclaimer::is_over(const Zone& zone, Pages more) {
  const Pages managed = zone.managed();
  return zone.total() + more > managed + Pages(managed.v >> kToleratedShift);
}

// Free pages with memory are kswapd's to give back, because that takes the zone's lock, and the thread of the program
// that has it may have been interrupted by a signal, whose handler touches this very page: so not for ever.
void Reclaimer::wait_for_purge(Kswapd& kswapd, Pages count, Workbench& bench) {
  const Zone& zone = kswapd.node->zone();
  const auto in_vain = [&] {
    return zone.free_resident_estimate().v <= kswapd.unpurgeable.load(std::memory_order_relaxed);
  };
  if (in_vain()) return;
  if (bench.waker != nullptr) bench.waker->wake_all();
  weir::count(counters_.purge_throttle);
  note_peak();
  const Stall stall(*this, bench);
  const uint64_t end = os::now_ms() + kMostPurgeMs;
  kswapd.waiting_faults.fetch_add(1);
  for (uint64_t now = end - kMostPurgeMs; now < end && !forking_.load(); now = os::now_ms()) {
    const uint32_t purges = kswapd.purges.load();
    if (!is_over(zone, count) || in_vain()) break;
    wake(kswapd);
    os::futex_wait_ms(kswapd.purges, purges, kPurgeWaitMs);
  }
  kswapd.waiting_faults.fetch_sub(1);
}

void Reclaimer::make_room(NodeReclaim& node, Pages count, Workbench& bench) {
  Zone& zone = node.zone();
  Kswapd& kswapd = *kswapds_[zone.node().v];
  if (is_over(zone, count)) wait_for_purge(kswapd, count, bench);
  const Pages free = zone.free_budget();
  const Watermarks marks = zone.watermarks();
  if (free < marks.low + count || zone.total() + count > zone.managed()) wake(kswapd);
  const bool starved = free.v < marks.min.v / 2 + count.v;
  if (!starved || !enter_eviction()) return;
  // When nothing can be freed any more, a fault must be resolved all the same: the limit is exceeded rather than the
  // program stopped, and looking at everything again for each fault would stop it too.
  std::atomic<uint32_t>& failures = kswapd.direct_failures;
  const uint32_t failed = failures.load(std::memory_order_relaxed);
  const bool hopeless = failed >= kMostFruitless && failed % kHopelessTries != 0;
  if (hopeless) failures.fetch_add(1, std::memory_order_relaxed);
  if (!hopeless) {
    weir::count(counters_.allocstall);
    if (events_ != nullptr) events_->note(WEIR_EVENT_LIMIT);
    const Stall stall(*this, bench);
    const uint64_t start = os::now_ns();
    ScanControl sc;
    sc.to_reclaim = count + Pages(kDirectPages);
    sc.kswapd = false;
    sc.urgent = true;
    for (sc.priority = Shrinkers::kFirstPriority; sc.priority > 0 && sc.reclaimed < sc.to_reclaim; --sc.priority)
      node.shrink(sc, bench);
    failures.store(sc.reclaimed.v != 0 ? 0 : failed + 1, std::memory_order_relaxed);
    note_stall((os::now_ns() - start) / 1000);
  }
  leave_eviction();
}

void Reclaimer::list_present(NodeReclaim& node, ClusterId c, Workbench& bench) {
  if (!forking_.load()) return node.list_present(c);
  // Reads of what lies apart in a file bring a cluster back in many pieces.
  for (unsigned i = 0; i < bench.nr_late_lists; ++i)
    if (bench.late_lists[i] == c && bench.late_list_node[i] == &node) return;
  if (bench.nr_late_lists == kClusterPages) return node.list_present(c);
  bench.late_lists[bench.nr_late_lists] = c;
  bench.late_list_node[bench.nr_late_lists++] = &node;
}

void Reclaimer::drop(NodeReclaim& node, const SwapEntry* entries, unsigned count, Workbench& bench) {
  const unsigned late = bench.nr_late_drops.load();
  if (forking_.load() && late + count <= kClusterPages) {
    for (unsigned i = 0; i < count; ++i) {
      bench.late_drop_node[late + i] = &node;
      bench.late_drops[late + i] = entries[i];
    }
    bench.nr_late_drops.store(late + count);
    return;
  }
  node.drop(entries, count);
  for (unsigned i = late; i != 0; --i) {
    bench.nr_late_drops.store(i - 1);
    bench.late_drop_node[i - 1]->drop(&bench.late_drops[i - 1], 1);
  }
  for (unsigned i = 0; i < bench.nr_late_lists; ++i) bench.late_list_node[i]->list_present(bench.late_lists[i]);
  bench.nr_late_lists = 0;
}

}  // namespace weir
