// What the Reclaimer shows to other processes (include/weir/stats_page.h): a copy of its counters, made by kswapd, so
// that counting costs a fault nothing more, and a forked child's counts are its own.
#include "base/publish.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "config/options.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// What others read of them where they are.
static_assert(sizeof(Cluster) == sizeof(weir_stats_cluster) && kClusterPages == 64 && kPageblockPages == 512);
static_assert(offsetof(Cluster, allocated) == offsetof(weir_stats_cluster, allocated));
static_assert(offsetof(Cluster, standby) == offsetof(weir_stats_cluster, standby));
static_assert(offsetof(Cluster, swapped) == offsetof(weir_stats_cluster, swapped));
static_assert(sizeof(MigrateType) == 1 && static_cast<unsigned>(MigrateType::kMovable) == WEIR_STATS_MOVABLE);

weir_stats_mode shown_mode(Reclaimer::Mode mode) {
  switch (mode) {
    case Reclaimer::Mode::kSwap:
      return WEIR_STATS_SWAP;
    case Reclaimer::Mode::kPageout:
      return WEIR_STATS_PAGEOUT;
    case Reclaimer::Mode::kOff:
    case Reclaimer::Mode::kPurge:
      break;
  }
  return WEIR_STATS_PURGE;
}

void publish_counters(uint64_t* to, const ReclaimStats& s) {
#define COUNTER(name, help) publish(*to++, s.name);
#include "reclaim/counters.def"
#undef COUNTER
}

void publish_node(NodeReclaim& node, const ReclaimPolicy& policy) {
  Zone& zone = node.zone();
  weir_stats_node* to = zone.published();
  if (to == nullptr) return;
  zone.publish_usage();
  publish(to->clusters, uint64_t{reinterpret_cast<uintptr_t>(&node.cluster(0))});
  publish(to->standby, node.standby().v);
  publish(to->swapped, node.swapped_pages());
  if (policy.zswap) publish(to->zswap_pool, node.pool().pool_pages().v);
}

}  // namespace

void Reclaimer::publish_files(weir_stats_page& page) const {
  const bool there = has_files();
  const uint64_t files = there ? files_now_.load().v : 0;
  weir::publish(page.files, files);
  weir::publish(page.files_active, there ? std::min(file_pages_->active().v, files) : 0);
  weir::publish(page.files_allowed, there ? files_allowed_.load().v : 0);
  const FlusherThread* const flusher = there ? flusher_.load(std::memory_order_acquire) : nullptr;
  weir::publish(page.files_dirty, flusher != nullptr ? flusher->flusher.dirty().v : 0);
  weir::publish(page.files_writeback, flusher != nullptr ? flusher->flusher.writeback().v : 0);
}

void Reclaimer::publish() {
  note_peak();
  if (published_ == nullptr) return;
  weir_stats_page& page = *published_;
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) publish_node(*nodes_[i], policy_);
  const PublishSection section(page.sequence);
  if (!section) return;
  // Looked up only now, so that whoever publishes last has the newest numbers.
  const ReclaimStats now = stats();
  weir::publish(page.limit, now.limit.v);
  weir::publish(page.mode, uint64_t{shown_mode(mode())});
  weir::publish(page.resident_peak, now.resident_peak.v);
  weir::publish(page.swap_total, now.swap_total.v);
  weir::publish(page.swap_used, now.swap_used.v);
  weir::publish(page.zswap_stored, now.zswap_stored.v);
  weir::publish(page.zswap_bytes, now.zswap_bytes);
  publish_counters(page.counters, now);
  publish_files(page);
}

}  // namespace weir
