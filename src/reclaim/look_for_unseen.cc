// Where faults cannot be seen, but the system has swap of its own: when kswapd looks for pages that came back, or were
// touched for the first time (the part of Reclaimer that decides it; what goes and how is page_out.cc). Looking takes
// some microseconds a MiB, so that it is done when the process holds more than is known of, and otherwise now and then.
//
// Thread safety: look_for_unseen by the node's kswapd, the others from any thread. Invariants: none of its own.
#include "os/env.h"
#include "os/page_scan.h"
#include "os/proc.h"
#include "os/vm.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// Of the limit: what is longer may not fit, and is charged by what is touched of it. What is not counts at once, so
// that its first touches, which nobody holds up, are within the limit.
constexpr uint64_t kLongRunParts = 4;

}  // namespace

// On the first kswapd, before anybody knows the mode. The child of a fork does as its parent did: what that had swapped
// by itself, the system does not bring back; and what the system has of it is so, however full its swap is by now.
bool Reclaimer::use_system_swap() {
  const bool as_before = stays_blind_ && mode() == Mode::kPageout;
  if (!as_before && (stays_blind_ || zeros_ != nullptr)) return false;
  if (!options_->system_swap || !(as_before || os::vm_system_swaps())) return false;
  if (pagemap_ == kNotOpened) pagemap_ = os::open_pagemap(held_.proc);
  if (pagemap_ < 0 || !(as_before || os::system_takes_pages(pagemap_))) return false;
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) nodes_[i]->use_system_swap(pagemap_);
  return true;
}

bool Reclaimer::charges_by_touch(Pages count, bool may_wait) const {
  if (!can_swap() || count.v < kWatchedRun) return false;
  return mode() == Mode::kSwap || !may_wait || count.v > limit_.load().v / kLongRunParts;
}

// Pages that the process holds beyond those that the heap is known to.
int64_t Reclaimer::uncounted() const {
  const os::Resident now = os::resident();
  auto pages = static_cast<int64_t>(now.all.v) - static_cast<int64_t>(now.of_files.v);
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) pages -= static_cast<int64_t>(nodes_[i]->zone().total().v);
  return pages;
}

void Reclaimer::look_for_unseen(Kswapd& kswapd) {
  if (mode() != Mode::kPageout) return;
  const auto much = static_cast<int64_t>(limit_.load().v >> kMuchShift);
  const uint64_t now = os::now_ns(), since = now - kswapd.look_began_ns;
  if (since < kswapd.look_took_ns * kLookOften) return;
  if (since < kswapd.look_took_ns * kLookSeldom && uncounted() <= kswapd.uncounted + much) return;
  if (!enter_eviction()) return;
  kswapd.look_began_ns = now;
  const Pages seen = kswapd.node->look_for_unseen();
  leave_eviction();
  kswapd.look_took_ns = os::now_ns() - now;
  kswapd.uncounted = uncounted();
  kswapd.finds_much = static_cast<int64_t>(seen.v) > much;
}

}  // namespace weir
