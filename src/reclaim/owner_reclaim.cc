// When an owner of pages, a heap, has its pages reclaimed: an allocation meets its limit, a fault does, or its node
// runs short of memory while it is above its soft limit. Which pages that are is shrink_owner.cc's.
#include "base/port.h"
#include "base/print.h"
#include "os/file.h"
#include "os/proc.h"
#include "reclaim/reclaimer.h"
#include "reclaim/stall.h"

namespace weir {
namespace {

// Of the faults within an owner whose pages cannot be reclaimed, one in so many looks whether that has changed.
constexpr uint32_t kHopelessTries = 16;

}  // namespace

void Reclaimer::set_owners(const PageOwners& owners) {
  owners_.store(&owners, std::memory_order_release);
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) nodes_[i]->set_owners(owners);
}

Pages Reclaimer::shrink_owner(NodeReclaim& node, PageOwner& owner, Pages count, ScanPause* pause, Workbench& bench) {
  ScanControl sc;
  sc.to_reclaim = count;
  sc.kswapd = pause != nullptr;
  if (pause != nullptr) set_pause(sc, *pause);
  node.shrink_owner(owner, sc, bench);
  if (pause != nullptr && !pause->evicting) return sc.reclaimed;  // it says nothing about what could be had
  owner.fruitless().store(sc.reclaimed.v != 0 ? 0 : owner.fruitless().load() + 1, std::memory_order_relaxed);
  return sc.reclaimed;
}

OwnerRequest* Reclaimer::take_owner_request(const NodeReclaim& node) {
  LockGuard guard(request_mutex_);
  for (OwnerRequest** link = &owner_requests_; *link != nullptr; link = &(*link)->next) {
    OwnerRequest* request = *link;
    if (request->node != &node) continue;
    *link = request->next;
    return request;
  }
  return nullptr;
}

void Reclaimer::add_owner_request(OwnerRequest& request) {
  LockGuard guard(request_mutex_);
  request.next = owner_requests_;
  owner_requests_ = &request;
}

// While the process forks, nothing is evicted: who asked waits until kswapd comes by after that.
void Reclaimer::run_owner_requests(Kswapd& kswapd) {
  if (owners_.load(std::memory_order_relaxed) == nullptr || !enter_eviction()) return;
  ScanPause pause{*this, kswapd};
  while (OwnerRequest* request = take_owner_request(*kswapd.node)) {
    const Pages missing = request->count - request->reclaimed;
    request->reclaimed += shrink_owner(*request->node, *request->owner, missing, &pause, kswapd.bench);
    if (!pause.evicting && request->reclaimed < request->count) return add_owner_request(*request);
    request->done.store(1, std::memory_order_release);
    port::futex_wake(request->done, 1);
    if (!pause.evicting) return;
  }
  leave_eviction();
}

Pages Reclaimer::reclaim_owner(NodeId node, PageOwner& owner, Pages count) {
  if (!can_swap() || nodes_[node.v] == nullptr || owner.noswap()) return Pages(0);
  if (shrinkers_ != nullptr && shrinkers_->is_inside()) return Pages(0);
  OwnerRequest request;
  request.node = nodes_[node.v];
  request.owner = &owner;
  request.count = count;
  const uint64_t start = os::now_ns();
  begin_wait();
  add_owner_request(request);
  wake_kswapd(node);
  while (request.done.load(std::memory_order_acquire) == 0) port::futex_wait(request.done, 0);
  end_wait();
  note_stall((os::now_ns() - start) / 1000);
  return request.reclaimed;
}

void Reclaimer::watch_owner(NodeId node, const PageOwner& owner) {
  NodeReclaim* own = nodes_[node.v];
  if (mode() != Mode::kSwap || own == nullptr || owner.end_page() <= owner.first_page()) return;
  for (uint32_t block = own->find_unarmed(owner, owner.first_page() / kPageblockPages); block != kNoCluster;
       block = own->find_unarmed(owner, block + 1))
    static_cast<void>(watch(own->zone(), block * kPageblockPages, Pages(kPageblockPages)));
}

void Reclaimer::report_retired_page(const NodeReclaim& node, Pfn pfn) {
  const PageOwners* owners = owners_.load(std::memory_order_acquire);
  const PageOwner* owner = node.owner_of(pfn);
  Line line;
  line.text("weir: ").pointer(node.zone().address(pfn)).text(" belonged to heap ");
  line.text(owner != nullptr ? owners->name(owners->self, owner->index()) : "?");
  line.text(", which was emptied when memory ran out; touching it raises ");
  line.text(shards_.signal_of_lost()).text("\n");
  const int fd = os::copy_descriptor_of_program(2);
  if (fd < 0) return;
  line.write_to(fd);
  os::close_descriptor(fd);
}

// As for the limit of the process: a fault that finds no room is resolved all the same.
void Reclaimer::make_room_in_owner(NodeReclaim& node, Pfn pfn, Pages count, Workbench& bench) {
  PageOwner* owner = node.owner_of(pfn);
  if (owner == nullptr || owner->limit() == PageOwner::kNoLimit) return;
  if (owner->resident().v + count.v <= owner->limit()) return;
  if (const uint32_t failed = owner->fruitless().load(std::memory_order_relaxed); failed % kHopelessTries != 0) {
    owner->fruitless().store(failed + 1, std::memory_order_relaxed);
    return;
  }
  if (!enter_eviction()) return;
  const Stall stall(*this, bench);
  shrink_owner(node, *owner, count + Pages(kDirectPages), nullptr, bench);
  leave_eviction();
}

// Before the pages of everybody, those of whoever has most above its soft limit, and no more of them than that is, or
// than a round frees (kernel: mm/memcontrol-v1.c, memcg1_soft_limit_reclaim, which balance_pgdat calls before
// shrink_node; there, too, the group with the largest excess comes first).
Pages Reclaimer::shrink_over_soft_limit(Kswapd& kswapd, const ScanControl& sc, ScanPause& pause) {
  const PageOwners* owners = owners_.load(std::memory_order_acquire);
  if (owners == nullptr) return Pages(0);
  Pages excess;
  PageOwner* owner = owners->most_over_soft_limit(owners->self, kswapd.node->zone().node(), excess);
  if (owner == nullptr) return Pages(0);
  // Whose pages cannot be had is in nobody's way, but for a try now and then.
  if (const uint32_t failed = owner->fruitless().load(std::memory_order_relaxed); failed % kHopelessTries != 0) {
    owner->fruitless().store(failed + 1, std::memory_order_relaxed);
    return Pages(0);
  }
  return shrink_owner(*kswapd.node, *owner, excess < sc.to_reclaim ? excess : sc.to_reclaim, &pause, kswapd.bench);
}

}  // namespace weir
