// What kswapd does, which keeps free pages between the watermarks.
#include <algorithm>

#include "base/port.h"
#include "os/env.h"
#include "os/proc.h"
#include "reclaim/reclaimer.h"
#include "weir/events.h"

namespace weir {
namespace {

// How long kswapd sleeps when nobody wakes it; what others in the process hold is looked at as often, and 50 ms of the
// fastest growth (2.8 GB/s of first touches) is what a limit of the whole process may be exceeded by at worst.
constexpr uint64_t kIdleMs = 50;
constexpr uint64_t kLeastIdleMs = 2;
// What kswapd frees before it looks at requests and waiters again: 2 MiB, some milliseconds.
constexpr uint64_t kRoundPages = 8 * kClusterPages;
// Between two looks for what a process of a pool is owed.
constexpr uint64_t kOwedPauseMs = 2;

}  // namespace

// -- kswapd ----------------------------------------------------------------------------------------------------------

// The first of weir's threads: the others share its descriptors.
void Reclaimer::run_first(Kswapd& kswapd) {
  owner_ = os::thread_id();
  bool ok = set_up();
  // In the child of a fork there are pages away already.
  for (unsigned i = 0; ok && i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) ok = nodes_[i]->after_fork_in_child(NodeReclaim::Fork::kRegister);
  ok = ok && start_handlers();
  // Where pages cannot be swapped, too: whoever waits for what caches give back waits for its node's kswapd.
  ok = start_kswapds() && ok;
  mode_.store(ok ? Mode::kSwap : use_system_swap() ? Mode::kPageout : Mode::kPurge, std::memory_order_release);
  ready_.store(1, std::memory_order_release);
  port::futex_wake(ready_, 1);
  run_kswapd(kswapd);
}

void Reclaimer::run_kswapd(Kswapd& kswapd) {
  Lift& lift = kswapd.bench.lift;
  lift.thread = os::thread_id();
  kswapd.thread.store(lift.thread, std::memory_order_relaxed);
  lift.refs = os::PageRefs();  // in a child of a fork, the parent's
  // Refused where the user has too many pipes: then pages are lifted.
  if (shards_.drop_in_place) static_cast<void>(lift.refs.open(Pages(Lift::kMostRanges)));
  for (;;) {
    const uint32_t word = kswapd.word.load(std::memory_order_acquire);
    if (&kswapd == first_kswapd()) thaw_children();
    if (often_ != nullptr) often_();
    come_by(kswapd);
    const Pages part = pool_part_;
    const bool grew = part > kswapd.part_before;
    kswapd.part_before = part;
    reduce_pool(kswapd);
    hold_files(kswapd);
    look_for_unseen(kswapd);
    const Zone& zone = kswapd.node->zone();
    const uint64_t stalls = counters_.allocstall.load();
    const Pages freed = balance(kswapd);
    note_behind(kswapd, stalls);
    const bool waiting = kswapd.waiting.load() != 0;
    // (A member of a pool that was granted nothing yet has no watermarks either.)
    const Pages needed = waiting ? std::max(goal(kswapd), Pages(1)) : zone.watermarks().low;
    const bool starved = zone.free_budget() < needed || is_out_of_reach(kswapd);
    // Whoever freed something counts: as long as there is anything to be had, waiting is worth it. While the process
    // forks, nothing can be freed, which says nothing about what could be. Packing the pool frees something only after
    // many clusters, and comes to an end by itself. Of files what counts is what they gave: what is mapped beyond their
    // allowance may be dropped for ever, because it comes back.
    const uint64_t stolen = counters_.pgsteal_kswapd.load() + counters_.pgsteal_direct.load() +
                            counters_.zswap_moved.load() + files_gave_.load().v - counters_.pgunmap_file.load();
    if (!starved) {
      kswapd.slab_priority = Shrinkers::kFirstPriority;
      kswapd.slab_asked = false;
    }
    const bool progress =
        stolen != kswapd.stolen_before || !starved || grew || waits_for_shrinkers(kswapd) || is_owed(kswapd);
    if (!forking_.load()) kswapd.fruitless.store(progress ? 0 : kswapd.fruitless.load() + 1);
    kswapd.stolen_before = stolen;
    if (&kswapd == first_kswapd()) tell_pressure();
    look_at_files(kswapd, false);
    attend_flusher(kswapd);
    // While the process forks there is no progress to tell of, and who waits would only come back at once.
    if (!forking_.load()) {
      kswapd.progress.fetch_add(1, std::memory_order_release);
      if (waiting) port::futex_wake(kswapd.progress, INT32_MAX);
    }
    publish();
    // Without success there is no point in trying at once again.
    if (&kswapd == first_kswapd()) close_old_files();
    const bool empties = empties_old_files(kswapd, starved || waiting);
    if ((starved && freed.v != 0) || empties) continue;
    // What others have yet to give back cannot be had by asking at once again, as whoever waits would.
    if (starved && waiting && kswapd.owed_since_ns != 0) os::futex_wait_ms(kswapd.owed_pause, 0, kOwedPauseMs);
    kswapd.asleep.store(true);
    os::futex_wait_ms(kswapd.word, word, waiting ? 1 : pause_ms(kswapd));
    kswapd.asleep.store(false);
    // Who wakes it tells of a beginning.
    if (kswapd.word.load(std::memory_order_relaxed) != word) kswapd.pause_ms = kLeastIdleMs / 2;
    if (&kswapd == first_kswapd() && !waiting && kswapd.word.load(std::memory_order_relaxed) == word) give_files_back();
  }
}

// How long it sleeps when nobody wakes it. As long as what others hold grows by more than a thousandth of the limit, it
// is looked at often: mapped pages of a file come at some GiB/s. So it is with what comes back without being seen.
uint64_t Reclaimer::pause_ms(Kswapd& kswapd) {
  const bool looks = mode() == Mode::kPageout, follows_rss = by_rss_ && &kswapd == first_kswapd();
  if (!looks && !follows_rss) return kIdleMs;
  const Pages now = others_, before = kswapd.others_before;
  kswapd.others_before = now;
  const bool others_grow = follows_rss && now > before + Pages(limit_.load().v >> kMuchShift);
  // (Or does as soon as it is dropped.)
  const bool files_grow = follows_rss && has_files() && files_now_.load() > files_allowed_.load();
  const bool grows = others_grow || files_grow || (looks && kswapd.finds_much);
  kswapd.pause_ms = grows ? kLeastIdleMs : std::min(2 * kswapd.pause_ms, kIdleMs);
  return kswapd.pause_ms;
}

// What must not wait until a scan is over, which may go through all pages: who touched a page that a thread of the
// program had claimed, what threads ask for, the other members of a pool, who take one that does not come by for one
// that was stopped, and free pages that have memory for which there is no room.
void Reclaimer::attend(Kswapd& kswapd) {
  if (shards_.wake_wanted.load(std::memory_order_relaxed) && shards_.wake_wanted.exchange(false))
    for (unsigned i = 0; i < nr_nodes_; ++i)
      if (nodes_[i] != nullptr) nodes_[i]->wake_all();
  run_requests();
  update_limit(kswapd);
  serve_pool(kswapd);
  if (const Zone& zone = kswapd.node->zone(); zone.total() > zone.managed()) purge_surplus(*kswapd.node);
}

// And what must not wait until kswapd has freed all it means to, which may take seconds.
void Reclaimer::come_by(Kswapd& kswapd) {
  attend(kswapd);
  run_owner_requests(kswapd);
  run_local_request(kswapd);
}

void Reclaimer::set_pause(ScanControl& sc, ScanPause& pause) {
  sc.on_pause = pause_scan;
  sc.pause_argument = &pause;
}

bool Reclaimer::pause_scan(void* argument) {
  ScanPause& pause = *static_cast<ScanPause*>(argument);
  pause.reclaimer.leave_eviction();
  pause.reclaimer.attend(pause.kswapd);
  pause.evicting = pause.reclaimer.enter_eviction();
  return pause.evicting;
}

// Free pages that have memory are the cheapest to give back, but they are also what the next allocation wants: only
// what would take the whole above the budget goes.
Pages Reclaimer::purge_surplus(NodeReclaim& node) {
  Zone& zone = node.zone();
  Kswapd& kswapd = *kswapds_[zone.node().v];
  const uint64_t reserve = zone.watermarks().high.v;
  const uint64_t total = zone.total().v + reserve, managed = zone.managed().v;
  Pages purged;
  if (total > managed) {
    purged = zone.purge(Pages(total - managed), Order(kMaxOrder), Zone::Metadata::kStays);
    // Another thread may be about to give them back, and not have a processor.
    if (purged.v == 0 && zone.isolated_estimate().v != 0) return purged;
    kswapd.unpurgeable.store(purged.v == 0 ? zone.free_resident_estimate().v : 0, std::memory_order_relaxed);
  }
  kswapd.purges.fetch_add(1);
  if (kswapd.waiting_faults.load() != 0) port::futex_wake(kswapd.purges, INT32_MAX);
  return purged;
}

// Up to where kswapd frees: the high watermark and what threads wait for. Of many that wait for little, not all at
// once, or everything would be evicted; but what one of them waits for must be there at once.
Pages Reclaimer::goal(const Kswapd& kswapd) {
  const Zone& zone = kswapd.node->zone();
  const Watermarks marks = zone.watermarks();
  const Pages half(zone.managed().v / 2), wanted(kswapd.waiting_pages.load(std::memory_order_relaxed));
  const Pages for_all = marks.high + std::min(wanted, half);
  const Pages for_one = marks.min + Pages(kswapd.waiting_most.load(std::memory_order_relaxed));
  return is_out_of_reach(kswapd) ? for_all : std::max(for_all, for_one);
}

// A thread waits for more than there is with nothing in use: a pool has not granted it yet.
bool Reclaimer::is_out_of_reach(const Kswapd& kswapd) {
  const uint64_t most = kswapd.waiting_most.load(std::memory_order_relaxed);
  const Zone& zone = kswapd.node->zone();
  return most != 0 && Pages(most) + zone.watermarks().min > zone.managed();
}

// Works until free pages reach the goal (kernel: balance_pgdat); returns the pages freed.
Pages Reclaimer::balance(Kswapd& kswapd) {
  NodeReclaim& node = *kswapd.node;
  Zone& zone = node.zone();
  const Watermarks marks = zone.watermarks();
  const bool urgent = kswapd.waiting.load() != 0;
  // Without kswapd=1 nothing is done ahead of need.
  const Pages start = options_->kswapd ? marks.low : Pages(marks.min.v / 2);
  if (zone.free_budget() >= start && !urgent) {
    if (zone.total() + marks.min > zone.managed()) purge_surplus(node);
    return Pages(0);
  }
  if (!can_swap()) return balance_by_purging(kswapd);
  Pages freed;
  for (unsigned priority = Shrinkers::kFirstPriority; priority > 0 && enter_eviction();) {
    purge_surplus(node);
    const Pages free = zone.free_budget(), wanted = goal(kswapd);
    ScanControl sc;
    ScanPause pause{*this, kswapd};
    set_pause(sc, pause);
    if (free < wanted) {
      sc.to_reclaim = wanted - free < Pages(kDirectPages) ? Pages(kDirectPages) : wanted - free;
      if (sc.to_reclaim > Pages(kRoundPages)) sc.to_reclaim = Pages(kRoundPages);
      sc.priority = priority;
      sc.urgent = urgent && free <= Pages(zone.watermarks().min.v / 2);
      sc.reclaimed = shrink_over_soft_limit(kswapd, sc, pause);
      bool none_of_heap = false;
      if (sc.reclaimed < sc.to_reclaim) sc.reclaimed += shrink_files(kswapd, wanted - free, priority, none_of_heap);
      if (pause.evicting && !none_of_heap) {
        if (mode() == Mode::kPageout)
          node.page_out(sc);
        else
          node.shrink(sc, kswapd.bench);
      }
      freed += sc.reclaimed;
    }
    pause.leave_eviction();
    // What others hold may come back as fast as it goes.
    if (free >= wanted || freed > zone.managed()) break;
    const Pages unused = shrink_caches(kswapd, priority);
    freed += unused;
    publish();
    come_by(kswapd);
    look_for_unseen(kswapd);
    if (kswapd.waiting.load() != 0 && zone.free_budget() > zone.watermarks().min) {
      kswapd.progress.fetch_add(1, std::memory_order_release);
      port::futex_wake(kswapd.progress, INT32_MAX);
    }
    if (sc.reclaimed.v == 0 && unused.v == 0 && pause.evicting) --priority;
  }
  freed += node.trim_pool();
  return freed;
}

// The pool's room may have been made smaller.
void Reclaimer::reduce_pool(Kswapd& kswapd) {
  NodeReclaim& node = *kswapd.node;
  while (mode() == Mode::kSwap && node.pool_is_over() && enter_eviction()) {
    const bool less = node.write_pool_back(kswapd.bench);
    leave_eviction();
    come_by(kswapd);
    if (!less) break;
  }
}

void Reclaimer::wake(Kswapd& kswapd) {
  kswapd.word.fetch_add(1);
  if (!kswapd.asleep.exchange(false)) return;
  weir::count(counters_.kswapd_wake);
  port::futex_wake(kswapd.word, 1);
}

void Reclaimer::wake_kswapd(NodeId node) {
  if (mode() != Mode::kOff && kswapds_[node.v] != nullptr) wake(*kswapds_[node.v]);
}

void Reclaimer::wake_all_kswapds() {
  for (Kswapd* each : kswapds_)
    if (each != nullptr) wake(*each);
}

void Reclaimer::note_peak() {
  uint64_t total = 0;
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) total += nodes_[i]->zone().total().v;
  uint64_t before = peak_.load(std::memory_order_relaxed);
  while (total > before && !peak_.compare_exchange_weak(before, total, std::memory_order_relaxed)) {
  }
}

// By one thread at a time. In a pool, watermarks are of what the process may hold at present.
void Reclaimer::give_budget(NodeReclaim& node, Pages managed) {
  Zone& zone = node.zone();
  zone.set_managed(managed);
  if (!pool_.is_member()) return;
  zone.set_watermarks(compute_watermarks(managed, managed, static_cast<uint64_t>(options_->min_free_kbytes),
                                         static_cast<uint64_t>(options_->watermark_scale_factor)));
}

void Reclaimer::share_out() {
  if (is_lifted()) return;
  if (!by_rss_) {
    for (unsigned i = 0; i < nr_nodes_; ++i)
      if (nodes_[i] != nullptr) give_budget(*nodes_[i], share_of(NodeId(static_cast<uint16_t>(i)), budget()));
    return;
  }
  share_out_rss(left_of_rss());
}

// Each node keeps what is in use there, and all have as much free: whichever of them the program's memory lies on, it
// is not swapped out while there is room. Where there is less than what is in use, all give up the same part.
void Reclaimer::share_out_rss(uint64_t left) {
  uint64_t used[kMaxNodes] = {}, all = 0, nodes = 0;
  for (unsigned i = 0; i < nr_nodes_; ++i) {
    if (nodes_[i] == nullptr) continue;
    used[i] = nodes_[i]->zone().used().v;
    all += used[i];
    ++nodes;
  }
  for (unsigned i = 0; i < nr_nodes_; ++i) {
    if (nodes_[i] == nullptr) continue;
    const auto part = static_cast<unsigned __int128>(used[i]) * left / std::max<uint64_t>(all, 1);
    const uint64_t managed = left >= all ? used[i] + (left - all) / nodes : static_cast<uint64_t>(part);
    give_budget(*nodes_[i], Pages(managed));
  }
}

}  // namespace weir
