// Objects that can be moved (the part of Allocator that makes and frees them; compact/ has what becomes of them
// meanwhile).
//
// Thread safety and invariants: allocator.h. The compactor is made with the first of the locks held that a fork takes.
#include <new>

#include "malloc/allocator.h"
#include "os/vm.h"

namespace weir {

Compactor* Allocator::make_compactor() {
  if (Compactor* made = compactor()) return made;
  LockGuard guard(threads_mutex_);
  if (Compactor* made = compactor()) return made;
  void* memory = os::vm_map(align_up(sizeof(Compactor), kPageSize));
  if (memory == nullptr) return nullptr;
  auto* made = new (memory) Compactor(*options_, reclaimer_);
  for (NodeHeap* node : nodes_)
    if (node != nullptr) made->add_zone(node->zone);
  made->connect();
  pages_.set_compactor(made);
  return made;
}

MovableId Allocator::alloc_movable(size_t size) {
  Compactor* const movers = make_compactor();
  if (movers == nullptr || size > PTRDIFF_MAX - kPageSize) return {};
  PageRequest request;
  request.node = home_node();
  request.count = pages_of(size);
  request.type = MigrateType::kMovable;
  const PageGrant grant = pages_.alloc_pages(request);
  if (!grant) return {};
  if (grant.run.resident.v != 0) clear_run(*grant.zone, grant.run.head, request.count);
  const MovableId id = movers->adopt(*grant.zone, grant.run.head, size);
  if (!id) static_cast<void>(grant.zone->free_run(grant.run.head, Touched::kNo));
  return id;
}

MovableCall Allocator::free_movable(MovableId id) {
  if (compactor() == nullptr) return MovableCall::kNoObject;
  char* address = nullptr;
  const MovableCall result = compactor()->table().take_away(id, address);
  if (result != MovableCall::kDone) return result;
  Zone& zone = *pages_.zone_of(address);
  compactor()->release(id, zone, zone.pfn_of(address));
  return result;
}

}  // namespace weir
