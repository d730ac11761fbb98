// STORY 1: how pages are found, from the cheapest way to the last resort (compare Linux mm/page_alloc.c,
// __alloc_pages_slowpath).
#include "mm/page_source.h"

namespace weir {

void PageSource::set_zonelist(NodeId node, std::span<const NodeId> order) {
  zonelist_length_ = static_cast<unsigned>(order.size());
  for (unsigned i = 0; i < zonelist_length_; ++i) zonelists_[node.v][i] = order[i];
}

PageGrant PageSource::alloc_pages(const PageRequest& request) {
  const Order order(static_cast<uint8_t>(__builtin_ctzll(request.count.v)));
  const NodeId only[] = {request.node};
  // The preferred node's free lists, which grow the node's arena when they are empty; then the other nodes, nearest
  // first.
  for (const NodeId node : request.this_node_only ? std::span<const NodeId>(only) : zonelist(request.node)) {
    Zone& zone = *zones_[node.v];
    const PageRun run = request.block ? zone.alloc_block(order, request.type)
                                      : zone.alloc_run(request.count, request.align, request.type);
    if (run) return {&zone, run};
  }
  return {};
}

}  // namespace weir
