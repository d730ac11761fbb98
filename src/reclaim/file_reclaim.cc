// Pages of the program's files, where the limit is one of the whole process: how much of it they may have, which part
// of a round of reclaim is theirs, and that they keep to it (the part of Reclaimer that decides it; what goes and how
// is file/file_pages.h).
//
// The kernel maps pages of files without asking anybody, at some GiB/s. So they have an allowance, and what is mapped
// beyond that is dropped, but does not take from the heap. The allowance grows while there is room, and by what the
// heap loses; it shrinks by their part of what is reclaimed. Where the limit is the heap's, they count for nothing, and
// stay.
#include <algorithm>

#include "os/env.h"
#include "os/page_scan.h"
#include "os/proc.h"
#include "os/uffd.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// Dropped at a time: 32 MiB take a millisecond or two.
constexpr uint64_t kRoundPages = 8192;
// And so often before kswapd looks after the heap: they may come back as fast as they go.
constexpr unsigned kMostRounds = 16;
// Pages that the kernel reads from a disk around the one that was touched (VM_READAHEAD_PAGES, 128 KiB).
constexpr uint64_t kReadAround = 32;
// Files keep to their allowance up to this part of the limit.
constexpr unsigned kSlackShift = 8;

}  // namespace

bool Reclaimer::has_files() const {
  return by_rss_ && file_pages_ != nullptr && !file_pages_->is_empty() && !is_lifted();
}

void Reclaimer::file_mapped() {
  if (by_rss_ && mode() != Mode::kOff) wake(*first_kswapd());
}

// What there is to share between the nodes' heaps, of a limit of the whole process.
uint64_t Reclaimer::left_of_rss() {
  // What threads wait for is the heap's as well, though it has not taken it yet.
  uint64_t heap = 0, reserve = 0;
  for (unsigned i = 0; i < nr_nodes_; ++i) {
    if (nodes_[i] == nullptr) continue;
    heap += nodes_[i]->zone().total().v;
    reserve += kswapds_[i] != nullptr ? goal(*kswapds_[i]).v : nodes_[i]->zone().watermarks().high.v;
  }
  const os::Resident now = os::resident();
  const uint64_t others = now.all.v > heap ? now.all.v - heap : 0, limit = budget().v;
  const uint64_t fixed_files = std::min(now.of_files.v, other_files_.load().v);
  const bool known = has_files() && file_pages_->look_began_ns() != 0;
  const uint64_t files = known ? std::min({now.of_files.v - fixed_files, file_pages_->mapped().v, others}) : 0;
  const auto left_by = [limit](uint64_t taken) { return limit > taken ? limit - taken : 0; };
  // The heap keeps a sixteenth whatever the others hold: with nothing at all, the program could not go on.
  const uint64_t least = limit / 16, fixed = others - files;
  const uint64_t room = left_by(fixed + heap + reserve), most = left_by(fixed + least);
  const uint64_t allowed = std::min(std::max(files_allowed_.load().v, std::min(files, room)), most);
  others_ = Pages(others);
  files_now_ = Pages(files);
  files_allowed_ = Pages(allowed);
  return std::max(left_by(fixed + std::min(files, allowed)), least);
}

// By the first kswapd.
void Reclaimer::look_at_files(const Kswapd& kswapd, bool in_need) {
  if (!has_files() || &kswapd != first_kswapd()) return;
  const uint64_t pause = file_pages_->look_took_ns() * (in_need ? kLookOften : kLookSeldom);
  if (os::now_ns() < file_pages_->look_began_ns() + pause) return;
  if (pagemap_ == kNotOpened) {
    pagemap_ = os::open_pagemap(held_.proc);
    silent_uffd_ = os::uffd_open_silent();
  }
  if (pagemap_ < 0) return;
  uint64_t heap = 0;
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) heap += nodes_[i]->zone().used().v;
  FilePages::Look how;
  how.pagemap = pagemap_;
  how.silent_uffd = silent_uffd_;
  how.others = Pages(can_swap() ? heap : 0);
  how.activates = files_cost_;
  const uint64_t of_files = os::resident().of_files.v;
  const FilePages::Found found = file_pages_->look(how);
  const uint64_t droppable = file_pages_->active().v + file_pages_->inactive().v;
  other_files_ = Pages(of_files - std::min(of_files, droppable));
  weir::count(counters_.workingset_refault_file, found.refaulted);
  weir::count(counters_.workingset_activate_file, found.activated);
  weir::count(counters_.pgactivate, found.activated);
  note_cost(found, heap);
}

// What comes back from the page cache costs less than a microsecond, what comes from a disk a hundred times that, and
// only the kernel knows which it is; but it counts those that had to wait. (So it does where weir resolves a fault.)
void Reclaimer::note_cost(const FilePages::Found& found, uint64_t heap) {
  const uint64_t by_weir = counters_.pgfault.load(), all = os::major_faults();
  const uint64_t activated = counters_.workingset_activate_anon.load();
  const uint64_t new_all = all - major_before_, new_by_weir = by_weir - by_weir_before_;
  const uint64_t read = new_all > new_by_weir ? (new_all - new_by_weir) * kReadAround : 0;
  major_before_ = all;
  by_weir_before_ = by_weir;
  // A quarter of them at least.
  files_cost_ = found.refaulted != 0 && 4 * read >= found.refaulted;
  LockGuard guard(budget_mutex_);
  lru_cost_.note(activated - heap_activated_, std::min(found.activated, read),
                 heap + file_pages_->active().v + file_pages_->inactive().v);
  heap_activated_ = activated;
}

// `files`: pages of them that are at stake.
ScanShares Reclaimer::shares_of_round(const Kswapd& kswapd, unsigned priority, uint64_t files) {
  const Zone& zone = kswapd.node->zone();
  ScanInput in;
  in.swappiness = static_cast<uint64_t>(options_->swappiness);
  in.can_swap = can_swap();
  in.file_refaults = files_cost_;
  in.priority = priority;
  in.heap = zone.used().v;
  // What was mapped since the last look is inactive.
  const uint64_t active = file_pages_->active().v;
  in.active_file = std::min(active, files) / nr_nodes_;
  in.inactive_file = (files - std::min(active, files)) / nr_nodes_;
  in.free = zone.free_budget().v;
  in.high = zone.watermarks().high.v;
  LockGuard guard(budget_mutex_);
  in.heap_cost = lru_cost_.heap();
  in.file_cost = lru_cost_.file();
  return scan_shares(in);
}

// Drops what is mapped beyond the allowance, as much as goes at a time.
bool Reclaimer::drop_files(const Kswapd& kswapd) {
  const uint64_t now = files_now_.load().v, allowed = files_allowed_.load().v;
  if (now <= allowed) return false;
  const uint64_t wanted = std::min(now - allowed, kRoundPages);
  const FilePages::Dropped result = file_pages_->shrink(Pages(wanted));
  weir::count(counters_.pgscan_kswapd, result.scanned);
  weir::count(counters_.pgsteal_kswapd, result.dropped);
  weir::count(counters_.pgunmap_file, result.dropped);
  weir::count(counters_.pgrotated, result.refused);
  weir::count(counters_.pgdeactivate, result.deactivated);
  if (result.dropped < wanted) look_at_files(kswapd, true);
  LockGuard guard(budget_mutex_);
  if (!pool_.is_member()) share_out();
  return result.dropped != 0;
}

// Files' part of `count` pages that a node is short of: they are allowed so much less. Returns how many pages the
// node's budget grew by for that. `none_of_heap`: the heap's part is nothing.
Pages Reclaimer::shrink_files(const Kswapd& kswapd, Pages count, unsigned priority, bool& none_of_heap) {
  none_of_heap = false;
  if (!has_files()) return Pages(0);
  // What is mapped beyond the allowance has no part in it: it does not make the node short, and may come back as fast
  // as it is dropped.
  const uint64_t at_stake = std::min(files_now_.load().v, files_allowed_.load().v);
  const ScanShares shares = shares_of_round(kswapd, priority, at_stake);
  const uint64_t all = count.v * nr_nodes_;
  if (shares.file == 0) return Pages(0);
  none_of_heap = shares.heap == 0;
  uint64_t part = 0;
  {
    LockGuard guard(budget_mutex_);
    const uint64_t allowed = std::min(files_allowed_.load().v, at_stake);
    const auto wanted = static_cast<unsigned __int128>(all) * shares.file / (shares.file + shares.heap);
    part = std::min(static_cast<uint64_t>(wanted), allowed);
    files_allowed_ = Pages(allowed - part);
    files_gave_ = files_gave_.load() + Pages(part);
  }
  static_cast<void>(drop_files(kswapd));
  return Pages(part / nr_nodes_);
}

// Files are mapped beyond their allowance: that goes, but for the heap's part, by which they are allowed more.
void Reclaimer::hold_files(Kswapd& kswapd) {
  if (!has_files() || &kswapd != first_kswapd()) return;
  // Until then they are taken for what cannot be dropped.
  if (file_pages_->look_began_ns() == 0) {
    look_at_files(kswapd, true);
    update_limit(kswapd);
  }
  const uint64_t slack = limit_.load().v >> kSlackShift;
  const uint64_t now = files_now_.load().v, allowed = files_allowed_.load().v;
  if (now <= allowed + slack) return;
  const ScanShares shares = shares_of_round(kswapd, Shrinkers::kFirstPriority, now);
  if (shares.heap != 0) {
    const auto part = static_cast<unsigned __int128>(now - allowed) * shares.heap / (shares.file + shares.heap);
    LockGuard guard(budget_mutex_);
    files_allowed_ = files_allowed_.load() + Pages(static_cast<uint64_t>(part));
  }
  for (unsigned round = 0; round < kMostRounds && files_now_.load().v > files_allowed_.load().v + slack; ++round) {
    if (!drop_files(kswapd)) break;
    come_by(kswapd);
    // Who waits does so for the heap.
    if (kswapd.waiting.load() != 0) break;
  }
}

}  // namespace weir
