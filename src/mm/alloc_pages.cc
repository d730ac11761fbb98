// STORY 1: how pages are found, from the cheapest way to the last resort (compare Linux mm/page_alloc.c,
// __alloc_pages_slowpath).
#include "mm/page_source.h"

namespace weir {
void PageSource::set_zonelist(NodeId node, std::span<const NodeId> order) {
  zonelist_length_ = static_cast<unsigned>(order.size());
  for (unsigned i = 0; i < zonelist_length_; ++i) zonelists_[node.v][i] = order[i];
}

// The preferred node's free lists, which grow the node's arena when they are empty; then the other nodes, nearest
// first. With a budget, only zones that stay above the mark.
PageGrant PageSource::get_page_from_freelist(const PageRequest& request, Charge charge, Mark mark) {
  const Order order(static_cast<uint8_t>(__builtin_ctzll(request.count.v)));
  const NodeId only[] = {request.node};
  for (const NodeId node : request.this_node_only ? std::span<const NodeId>(only) : zonelist(request.node)) {
    Zone& zone = *zones_[node.v];
    if (mark != Mark::kNone && !reclaimer_->may_take(zone, request.count, mark)) {
      // Other nodes' free pages come first, unless zone_reclaim_mode says that reclaim on this one does.
      if (mark != Mark::kLow || charge != Charge::kNow || !request.may_wait) continue;
      if (node != zonelist(request.node)[0] || !node_reclaim(request)) continue;
    }
    const PageRun run = request.block ? zone.alloc_block(order, request.type)
                                      : zone.alloc_run(request.count, request.align, request.type, charge);
    if (!run) continue;
    if (mark != Mark::kNone && charge == Charge::kNow) reclaimer_->keep_within_budget(zone);
    if (node != request.node && !request.this_node_only) note_fallback(request.node, zone);
    return {&zone, run};
  }
  return {};
}

// Where nothing but this node can be taken, reclaim comes anyway.
bool PageSource::node_reclaim(const PageRequest& request) {
  const std::span<const NodeId> zones = zonelist(request.node);
  if (reclaimer_ == nullptr || zones.size() < 2) return false;
  return reclaimer_->node_reclaim(*zones_[zones[0].v], request.count);
}

// A node without memory wants nothing of its own: the nearest one with memory is what is wanted then.
void PageSource::note_fallback(NodeId wanted, Zone& zone) {
  Zone* nearest = zones_[zonelist(wanted)[0].v];
  if (nearest != &zone) zone.note_fallback(*nearest);
}

PageGrant PageSource::alloc_pages(const PageRequest& request) {
  if (reclaimer_ != nullptr) return alloc_within_limit(request);
  if (const PageGrant grant = get_page_from_freelist(request, Charge::kNow, Mark::kNone)) return grant;
  // There is no more address space to be had. Is there room if objects are moved together?
  return get_page_by_compaction(request, Charge::kNow, Mark::kNone);
}

// Others may take what has come together.
PageGrant PageSource::get_page_by_compaction(const PageRequest& request, Charge charge, Mark mark) {
  for (unsigned tries = 0; tries < kMostRetries && compact_for(request); ++tries)
    if (const PageGrant grant = get_page_from_freelist(request, charge, mark)) return grant;
  return {};
}

bool PageSource::compact_for(const PageRequest& request) {
  Compactor* const compactor = this->compactor();
  if (compactor == nullptr || !request.may_wait) return false;
  const Pages widest = request.count > request.align ? request.count : request.align;
  const NodeId only[] = {request.node};
  for (const NodeId node : request.this_node_only ? std::span<const NodeId>(only) : zonelist(request.node))
    if (compactor->try_to_compact(*zones_[node.v], widest)) return true;
  return false;
}

PageGrant PageSource::alloc_within_limit(const PageRequest& request) {
  // A long run costs what is touched of it, where touches are seen, or looked for: on the node that it lies on.
  if (!request.block && reclaimer_->charges_by_touch(request.count, request.may_wait)) {
    PageGrant grant;
    if (!reclaimer_->reclaims_locally()) grant = get_page_from_freelist(request, Charge::kOnTouch, Mark::kLow);
    if (!grant) grant = get_page_from_freelist(request, Charge::kOnTouch, Mark::kNone);
    if (!grant) grant = get_page_by_compaction(request, Charge::kOnTouch, Mark::kNone);
    if (!grant || reclaimer_->watch(*grant.zone, grant.run.head, request.count)) return grant;
    static_cast<void>(grant.zone->free_run(grant.run.head, Touched::kNo));
  }
  // 1. The nearest node that stays above low.
  if (const PageGrant grant = get_page_from_freelist(request, Charge::kNow, Mark::kLow)) return grant;
  if (request.lowest == Mark::kLow) return {};
  for (unsigned tries = 0; tries < kMostRetries; ++tries) {
    // 2. All are low. Their kswapds are woken; meanwhile, the nearest that stays above min.
    if (const PageGrant grant = get_page_from_freelist(request, Charge::kNow, Mark::kMin)) return grant;
    if (!request.may_wait) return {};
    // 3. Enough pages, but not side by side: objects that can be moved make way.
    if (const PageGrant grant = get_page_by_compaction(request, Charge::kNow, Mark::kMin)) return grant;
    // 4. Room by reclaim on the preferred node. There is none: no memory, but for what came in the last moment.
    if (!wait_for_pages(request)) break;
  }
  return get_page_from_freelist(request, Charge::kNow, Mark::kMin);
}

bool PageSource::wait_for_pages(const PageRequest& request) {
  if (reclaimer_ == nullptr) return false;
  NodeReclaim* node = reclaimer_->node(zonelist(request.node)[0].v);
  return reclaimer_->wait_for_pages(*node, request.count);
}

bool PageSource::extend_run(Zone& zone, Pfn head, Pages count, Pages extra) {
  if (reclaimer_ == nullptr) return zone.extend_run(head, count, extra);
  if (!reclaimer_->charges_by_touch(count + extra, true))
    return reclaimer_->may_take(zone, extra) && zone.extend_run(head, count, extra);
  if (!zone.extend_run(head, count, extra, Charge::kOnTouch)) return false;
  if (reclaimer_->watch(zone, head + static_cast<Pfn>(count.v), extra)) return true;
  zone.shrink_run(head, count + extra, count, Touched::kNo);
  return false;
}

}  // namespace weir
