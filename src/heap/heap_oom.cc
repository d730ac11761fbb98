// What the OOM policy (oom_killer.h) asks of the heaps and does to them (the part of HeapRegistry that deals with it).
#include "heap/heap_registry.h"

namespace weir {

HeapRegistry::Answer HeapRegistry::ask_owner(HeapId id, Pages wanted) {
  decltype(weir_heap_options::on_oom) ask;
  void* arg;
  Heap* heap;
  {
    LockGuard guard(mutex_);
    heap = find_open(id);
    // Destroyed meanwhile.
    if (heap == nullptr) return Answer::kFreed;
    ask = heap->on_oom;
    arg = heap->oom_arg;
  }
  if (ask == nullptr) return Answer::kMayGo;
  const Pages before = heap->owner().charged();
  const bool entered = shrinkers_ != nullptr && shrinkers_->begin_inside();
  const int answer = ask(reinterpret_cast<weir_heap_t>(id.bits), bytes_of(wanted), arg);
  if (entered) shrinkers_->end_inside();
  if (find_open(id) != heap) return Answer::kFreed;
  // What was freed is not the zone's before empty slabs are given up.
  heap->trim();
  if (heap->owner().charged() + wanted <= before) return Answer::kFreed;
  return answer == WEIR_HEAP_MAY_GO ? Answer::kMayGo : Answer::kStays;
}

// Who is in the middle of allocating there is told that the heap is gone, as by destroy_heap.
Pages HeapRegistry::empty_heap(HeapId id) {
  Heap* heap;
  {
    LockGuard guard(mutex_);
    heap = find_open(id);
    if (heap == nullptr) return Pages(0);
    heap->is_being_emptied.store(true, std::memory_order_relaxed);
    heap->emptied_generation = id.generation();
    heap->close();
    remove_name(*heap);
  }
  if (Reclaimer* reclaimer = allocator_->reclaimer(); reclaimer != nullptr)
    reclaimer->watch_owner(heap->node(), heap->owner());
  const Pages retired = heap->retire_all();
  heap->is_being_emptied.store(false, std::memory_order_release);
  return retired;
}

// A heap that was emptied, to be destroyed by the caller; null: there is none of that handle.
Heap* HeapRegistry::take_emptied(HeapId id) {
  Heap* heap = at(id.index());
  if (heap == nullptr || id.generation() == 0 || heap->emptied_generation != id.generation()) return nullptr;
  heap->emptied_generation = 0;
  return heap;
}

void HeapRegistry::cap(HeapId id, Pages most) {
  LockGuard guard(mutex_);
  if (Heap* heap = find_open(id); heap != nullptr) heap->owner().set_cap(most);
}

void HeapRegistry::note_kill(HeapId id, Pages held) {
  LockGuard guard(mutex_);
  if (Heap* heap = find_open(id); heap != nullptr) heap->held_at_last_kill = held;
}

void HeapRegistry::note_kill_of_all(Pages& held) {
  LockGuard guard(mutex_);
  for_places([&](Heap& heap) {
    if (!heap.is_open()) return;
    heap.held_at_last_kill = heap.owner().resident() + heap.owner().swapped();
    held += heap.held_at_last_kill;
  });
}

}  // namespace weir
