// Purpose: where pages come from: the zones of all nodes and, for each node, the order in which they are asked.
// Thread safety: alloc_pages from any thread; set-up (init, set_zone, set_zonelist) before any other call.
// Invariants: zones never go away; arenas of all nodes lie side by side, so that an address names its zone by division.
//             A node without memory has no zone, and no zonelist names it.
#pragma once

#include <span>

#include "base/units.h"
#include "compact/compactor.h"
#include "page/zone.h"
#include "reclaim/reclaimer.h"

namespace weir {

using Mark = Reclaimer::Mark;

// What an allocation of pages wants; STORY 1 in alloc_pages.cc fulfils it.
struct PageRequest {
  NodeId node{};                               // preferred
  Pages count{1};                              //
  Pages align{1};                              // in pages, a power of two
  MigrateType type = MigrateType::kUnmovable;  //
  bool block = false;                          // a buddy block of exactly `count` (a power of two) pages, else a run
  bool this_node_only = false;                 // do not fall back to other nodes
  bool may_wait = true;                        // for reclaim; not with a lock held, because fork takes all of them
  Mark lowest = Mark::kMin;                    // kLow: only of nodes that stay above low
};

struct PageGrant {
  Zone* zone = nullptr;
  PageRun run;
  explicit operator bool() const { return zone != nullptr; }
};

class PageSource {
 public:
  // `base`: the first arena; `span`: bytes from one node's arena to the next.
  void init(char* base, size_t span, unsigned nr_nodes) { base_ = base, span_ = span, nr_nodes_ = nr_nodes; }
  void set_zone(NodeId node, Zone& zone) { zones_[node.v] = &zone; }
  // What keeps the zones within a limit; null: there is none.
  void set_reclaimer(Reclaimer* reclaimer) { reclaimer_ = reclaimer; }
  // What moves objects out of the way; null: there are none that can be moved. At any time.
  void set_compactor(Compactor* compactor) { compactor_.store(compactor, std::memory_order_release); }
  Compactor* compactor() const { return compactor_.load(std::memory_order_acquire); }
  // `order`: the nodes with memory, nearest to `node` first.
  void set_zonelist(NodeId node, std::span<const NodeId> order);

  // STORY 1. Null when no node has the pages. Takes zone locks; call with none of those held.
  [[nodiscard]] PageGrant alloc_pages(const PageRequest& request);
  // What alloc_pages does between its attempts, for callers with a lock, which they give up meanwhile: waits until
  // reclaim made room. False: there is none to be had.
  [[nodiscard]] bool wait_for_pages(const PageRequest& request);
  // What it does before it takes another node's pages, for the same callers: reclaims on the preferred node, as far as
  // zone_reclaim_mode goes. True: that has as many pages above low now.
  [[nodiscard]] bool node_reclaim(const PageRequest& request);
  // And after those: has pages brought together, where there are enough but not side by side. True: worth an attempt.
  [[nodiscard]] bool compact_for(const PageRequest& request);
  // Whether there is a limit, and more than one node to choose from.
  bool has_choice() const { return reclaimer_ != nullptr && zonelist_length_ > 1; }
  // Attempts after waits that were said to have made room: another thread may take it each time.
  static constexpr unsigned kMostRetries = 16;

  // Lengthens a run by the pages behind it; false (nothing changed) when they are not free or the budget is used up.
  [[nodiscard]] bool extend_run(Zone& zone, Pfn head, Pages count, Pages extra);

  unsigned nr_nodes() const { return nr_nodes_; }
  Zone& zone(NodeId node) { return *zones_[node.v]; }
  std::span<const NodeId> zonelist(NodeId node) const { return {zonelists_[node.v], zonelist_length_}; }
  // The zone whose arena holds `p`, or null.
  Zone* zone_of(const void* p) const {
    const size_t offset = static_cast<size_t>(static_cast<const char*>(p) - base_);
    // Most machines have one node, and dividing takes as long as all else that a look-up does.
    if (offset < span_) return zones_[0];
    const size_t node = offset / span_;
    return node < nr_nodes_ ? zones_[node] : nullptr;
  }

 private:
  PageGrant get_page_from_freelist(const PageRequest& request, Charge charge, Mark mark);
  PageGrant get_page_by_compaction(const PageRequest& request, Charge charge, Mark mark);
  void note_fallback(NodeId wanted, Zone& zone);
  PageGrant alloc_within_limit(const PageRequest& request);

  std::atomic<Compactor*> compactor_{nullptr};
  Reclaimer* reclaimer_ = nullptr;
  char* base_ = nullptr;
  size_t span_ = 1;
  unsigned nr_nodes_ = 0;
  unsigned zonelist_length_ = 0;
  Zone* zones_[kMaxNodes] = {};
  NodeId zonelists_[kMaxNodes][kMaxNodes] = {};
};

}  // namespace weir
