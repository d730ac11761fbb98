// What is told of a heap: its statistics, what the OOM policy knows of it, and its row in the page of statistics (the
// part of Heap that does so).
#include <cstring>

#include "base/publish.h"
#include "heap/heap.h"

namespace weir {

// Who copies the row front to back sees by its ends whether what lies between is all of one heap.
void Heap::show_all() {
  weir_stats_heap* row = owner_.row();
  if (row == nullptr || !is_open()) return;
  const uint64_t id = HeapId::of(owner_.index(), generation()).bits;
  publish(row->id_again, id);
  memcpy(row->name, name_, sizeof(row->name));
  owner_.show_all();
  publish(row->limit_hits, limit_hits_.load(std::memory_order_relaxed));
  publish(row->limit_failures, limit_failures_.load(std::memory_order_relaxed));
  publish(row->oom_policy, number_of_policy(oom_policy_));
  publish(row->node, uint32_t{node().v});
  set_soft_limit(soft_limit_.load(std::memory_order_relaxed));
  set_oom_score_adj(oom_score_adj_.load(std::memory_order_relaxed));
  publish(row->id, id);
}

void Heap::set_soft_limit(uint64_t bytes) {
  soft_limit_.store(bytes, std::memory_order_relaxed);
  if (weir_stats_heap* row = owner_.row()) publish(row->soft_limit, bytes >> kPageShift);
}

void Heap::set_oom_score_adj(int32_t adj) {
  oom_score_adj_.store(adj, std::memory_order_relaxed);
  if (weir_stats_heap* row = owner_.row()) publish(row->oom_score_adj, adj);
}

void Heap::note_limit_hit() {
  const uint64_t now = limit_hits_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (weir_stats_heap* row = owner_.row()) publish(row->limit_hits, now);
}

void Heap::note_limit_failure() {
  const uint64_t now = limit_failures_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (weir_stats_heap* row = owner_.row()) publish(row->limit_failures, now);
}

Pages Heap::soft_excess() const {
  const uint64_t soft = soft_limit_.load(std::memory_order_relaxed), now = owner_.resident().v;
  return soft != 0 && now > soft >> kPageShift ? Pages(now - (soft >> kPageShift)) : Pages(0);
}

HeapStats Heap::stats() {
  HeapStats s;
  s.limit = owner_.limit();
  s.soft_limit = soft_limit_.load(std::memory_order_relaxed);
  s.node = node();
  s.oom_score_adj = oom_score_adj_.load(std::memory_order_relaxed);
  s.noswap = owner_.noswap();
  s.flags = flags_;
  for_depots([&](Depot& d, size_t c) {
    const DepotStats depot_stats = d.stats();
    s.slabs += Pages(depot_stats.slabs << kSizeClasses[c].slab_order);
    const uint64_t in_use = depot_stats.slabs * kSizeClasses[c].objects - depot_stats.free_objects;
    s.objects += in_use;
    s.object_bytes += in_use * kSizeClasses[c].size;
  });
  {
    LockGuard guard(mutex_);
    s.runs = Pages(run_pages_);
    s.objects += nr_runs_;
    s.object_bytes += bytes_of(Pages(run_pages_));
  }
  s.charged = owner_.charged();
  s.swapped = owner_.swapped();
  s.peak = owner_.peak();
  s.limit_hits = limit_hits_.load(std::memory_order_relaxed);
  s.limit_failures = limit_failures_.load(std::memory_order_relaxed);
  s.oom_policy = oom_policy_;
  s.capped = owner_.is_capped();
  return s;
}

HeapCandidate Heap::candidate() const {
  HeapCandidate c;
  c.id = HeapId::of(owner_.index(), generation());
  c.serial = serial_;
  c.pages = owner_.resident();
  c.swapped = owner_.swapped();
  c.oom_score_adj = oom_score_adj_.load(std::memory_order_relaxed);
  c.kill = oom_policy_;
  c.capped = owner_.is_capped();
  c.held_at_last_kill = held_at_last_kill;
  memcpy(c.name, name_, sizeof(c.name));
  return c;
}

}  // namespace weir
