// Objects that leave memory while nobody has them pinned, where the kernel lets nobody see faults, so that pages cannot
// (the part of Compactor that does it). Who pins one brings it back first. Which ones go is told by a clock: an object
// that was pinned since its hand passed the last time stays for one round more.
//
// Thread safety: compactor.h; put_away by the node's kswapd. Invariants: an object that is away keeps its pages'
// addresses, and is closed as one that moves is.
#include <new>

#include "base/print.h"
#include "compact/compactor.h"
#include "os/undisturbed.h"

namespace weir {

void Compactor::connect() {
  table_.set_pager({this, [](void* self, char* address, size_t bytes) {
                      static_cast<Compactor*>(self)->bring_back(address, bytes);
                    }});
  story_.self = this;
  story_.put_away = [](void* self, NodeReclaim& node, Pages wanted) {
    return static_cast<Compactor*>(self)->put_away(node, wanted);
  };
  story_.has_any = [](const void* self) { return static_cast<const Compactor*>(self)->table().nr_objects() != 0; };
  if (reclaimer_ != nullptr) reclaimer_->set_objects(story_);
}

// What decompresses must be there before anything is compressed.
bool Compactor::may_put_away(Node& node) {
  if (node.may_put_away || !node.stores.init()) return node.may_put_away;
  node.may_put_away = node.fetches.init();
  if (!node.may_put_away) node.stores.destroy();
  return node.may_put_away;
}

Pages Compactor::put_away(NodeReclaim& reclaim, Pages wanted) {
  Node& node = nodes_[reclaim.zone().node().v];
  Pages gone;
  if (node.zone == nullptr || !may_put_away(node)) return gone;
  const char* const begin = node.zone->address(0);
  const char* const end = begin + bytes_of(node.zone->accessible_estimate());
  // In the first round all may have been in use since the last one.
  for (unsigned rounds = 0; gone < wanted && rounds < 2;) {
    bool last = false;
    if (char* const address = table_.pass(node.hand, begin, end, last); address != nullptr)
      gone += put_object_away(node, reclaim, node.hand, address);
    node.hand = last ? 0 : node.hand + 1;
    if (last) ++rounds;
  }
  return gone;
}

Pages Compactor::put_object_away(Node& node, NodeReclaim& reclaim, uint32_t index, char* address) {
  if (!table_.begin_move(index, address)) return Pages(0);
  const Pages pages = pages_of(table_.bytes_at(index));
  const Pages gone = reclaim.store_closed(node.zone->pfn_of(address), pages, node.stores);
  gone.v != 0 ? table_.put_away(index, address) : table_.end_move(index, address);
  return gone;
}

// Where nothing else can go, the limit is exceeded rather than the object lost.
void Compactor::bring_back(char* address, size_t bytes) {
  Node& node = *node_of(address);
  NodeReclaim& reclaim = *reclaimer_->node(node.zone->node().v);
  const Pages pages = pages_of(bytes);
  if (!reclaimer_->may_take(*node.zone, pages)) static_cast<void>(reclaimer_->wait_for_pages(reclaim, pages));
  bool whole = false;
  // A handler might fork.
  os::undisturbed([&node, &reclaim, address, pages, &whole] {
    bool all;
    {
      LockGuard guard(node.fetching);
      all = reclaim.fetch_closed(node.zone->pfn_of(address), pages, node.fetches);
    }
    whole = all;
  });
  reclaimer_->keep_within_budget(*node.zone);
  if (whole) return;
  Line line;
  line.text("weir: a part of the object at ").pointer(address);
  line.text(" was damaged in compressed memory; it is lost, and touching it raises SIGSEGV\n").write_to(2);
}

// Flights end later, when threads are there again.
void Compactor::reopen_in_child() {
  table_.reopen_in_child([this](uint32_t index) WEIR_NO_TSA {
    for (const Node& node : nodes_)
      if (node.flight.state != Flight::State::kNone && node.flight.state != Flight::State::kLanded &&
          node.flight.id == index)
        return true;
    return false;
  });
  for (Node& node : nodes_) new (&node.fetching) Mutex(LockRank::kCompact);
}

}  // namespace weir
