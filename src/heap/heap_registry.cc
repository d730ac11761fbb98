#include "heap/heap_registry.h"

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/print.h"
#include "base/publish.h"
#include "os/proc.h"
#include "os/service_thread.h"
#include "os/thread.h"
#include "os/vm.h"

namespace weir {
namespace {

// How old a count of what all heaps could give back may be: adding up thousands of heaps at every look would cost more
// than deciding a little later does.
constexpr uint64_t kCountedForMs = 20;

// FNV-1a (Fowler, Noll, Vo), folded.
uint32_t hash_of(std::string_view name) {
  uint64_t h = 0xcbf29ce484222325;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return static_cast<uint32_t>(h ^ (h >> 32));
}

// Length of a name; 0 when it is none.
size_t name_length(const char* name) {
  size_t length = 0;
  for (; name[length] != '\0'; ++length) {
    const auto c = static_cast<unsigned char>(name[length]);
    if (c < 0x20 || c == 0x7f || length + 1 == Heap::kNameBytes) return 0;
  }
  return length;
}

// Gives what a thread kept back, and has it keep nothing.
BadPointer drop_cache(HeapCache& cache) {
  const BadPointer bad = cache.id ? cache.heap->flush(cache) : BadPointer{};
  cache.reset({}, nullptr);
  return bad;
}

bool is_score(int64_t adj) {
  return adj >= HeapRegistry::kLeastAdj && adj <= HeapRegistry::kMostAdj;
}

}  // namespace

void HeapRegistry::init(Allocator& allocator) {
  allocator_ = &allocator;
  hooks_ = hooks();
  owners_ = owners();
  pool_hooks_ = pool_hooks();
  if (Reclaimer* reclaimer = allocator.reclaimer(); reclaimer != nullptr) {
    reclaimer->set_owners(owners_);
    reclaimer->pool_member().set_hooks(pool_hooks_);
  }
  allocator.set_heaps(&hooks_);
}

void HeapRegistry::destroy() {
  for (std::atomic<Chunk*>& chunk : chunks_)
    if (chunk.load() != nullptr) os::vm_unmap(chunk.load(), align_up(sizeof(Chunk), kPageSize));
}

HeapHooks HeapRegistry::hooks() {
  HeapHooks h;
  h.self = this;
  h.free_object = [](void* self, OwnerTag tag, void* object, ThreadCache* thread, bool& due) {
    return static_cast<HeapRegistry*>(self)->free_object(tag, object, thread, due);
  };
  h.free_run = [](void* self, OwnerTag tag, void* object) {
    return static_cast<HeapRegistry*>(self)->free_run(tag, object);
  };
  h.resize = [](void* self, void* object, size_t size, BadPointer& bad) {
    return static_cast<HeapRegistry*>(self)->resize(object, size, bad);
  };
  h.name = [](void* self, uint32_t owner) -> const char* {
    const Heap* heap = static_cast<HeapRegistry*>(self)->at(owner);
    return heap != nullptr ? heap->name() : nullptr;
  };
  h.decay_tick = [](void* self, NodeId node, Pages& released) {
    static_cast<HeapRegistry*>(self)->for_places([&](Heap& heap) {
      if (heap.node() == node) heap.decay_tick(released);
    });
  };
  h.trim = [](void* self, ThreadCache* thread) { return static_cast<HeapRegistry*>(self)->trim(thread); };
  h.detach = [](void*, ThreadCache* thread) { return drop_cache(*thread->heap_cache); };
  h.number = [](void* self) { return static_cast<HeapRegistry*>(self)->nr_heaps(); };
  h.free_bytes = [](void* self) { return static_cast<HeapRegistry*>(self)->free_bytes(); };
  h.add_free_objects = [](void* self, NodeId node, uint64_t* by_class) {
    static_cast<HeapRegistry*>(self)->for_places([&](const Heap& heap) {
      if (heap.node() == node) heap.add_free_objects(by_class);
    });
  };
  h.publish_all = [](void* self) {
    auto& heaps = *static_cast<HeapRegistry*>(self);
    heaps.for_places([](Heap& heap) { heap.show_all(); });
    heaps.show_number();
  };
  h.out_of_memory = [](void* self, OomAsk& ask) { return static_cast<HeapRegistry*>(self)->out_of_memory(ask); };
  h.lock = [](void* self) { static_cast<HeapRegistry*>(self)->lock(); };
  h.unlock = [](void* self) { static_cast<HeapRegistry*>(self)->unlock(); };
  h.verify = [](void* self, NodeId node, Pages& slab_pages) {
    return static_cast<HeapRegistry*>(self)->verify(node, slab_pages);
  };
  h.after_fork_in_child = [](void* self) {
    static_cast<HeapRegistry*>(self)->for_places([](Heap& heap) { heap.after_fork_in_child(); });
    static_cast<HeapRegistry*>(self)->oom_.after_fork_in_child();
  };
  return h;
}

PageOwners HeapRegistry::owners() {
  PageOwners o;
  o.self = this;
  o.find = [](void* self, uint32_t index) -> PageOwner& {
    return static_cast<HeapRegistry*>(self)->at(index)->owner();
  };
  o.name = [](void* self, uint32_t index) { return static_cast<HeapRegistry*>(self)->at(index)->name(); };
  o.most_over_soft_limit = [](void* self, NodeId node, Pages& excess) {
    return static_cast<HeapRegistry*>(self)->most_over_soft_limit(node, excess);
  };
  return o;
}

// -- places

Heap* HeapRegistry::at(uint32_t index) const {
  if (index == 0 || index > nr_places_.load(std::memory_order_acquire)) return nullptr;
  return &chunks_[index / kHeapsPerChunk].load(std::memory_order_acquire)->heaps[index % kHeapsPerChunk];
}

Heap* HeapRegistry::find_open(HeapId id) const {
  Heap* heap = at(id.index());
  return heap != nullptr && id.generation() % 2 != 0 && heap->generation() == id.generation() ? heap : nullptr;
}

Heap* HeapRegistry::add_place() {
  const uint32_t index = nr_places_.load(std::memory_order_relaxed) + 1;
  std::atomic<Chunk*>& chunk = chunks_[index / kHeapsPerChunk];
  if (chunk.load(std::memory_order_relaxed) == nullptr) {
    void* memory = os::vm_map(align_up(sizeof(Chunk), kPageSize));
    if (memory == nullptr) return nullptr;
    chunk.store(static_cast<Chunk*>(memory), std::memory_order_release);
  }
  Chunk& c = *chunk.load(std::memory_order_relaxed);
  const uint32_t i = index % kHeapsPerChunk;
  Heap* heap = new (&c.heaps[i]) Heap();
  heap->init(*allocator_, reinterpret_cast<Depot*>(c.depots[i]), index);
  nr_places_.store(index, std::memory_order_release);
  return heap;
}

// The place left last comes first: its depots are in the processor's caches, and in memory.
Heap* HeapRegistry::take_place() {
  Heap* heap = at(first_free_);
  if (heap == nullptr) return add_place();
  first_free_ = heap->next_free;
  return heap;
}

// -- names

HeapId HeapRegistry::find_locked(std::string_view name) const {
  for (const Heap* h = at(buckets_[hash_of(name) % kBuckets]); h != nullptr; h = at(h->next_named))
    if (name == h->name()) return HeapId::of(const_cast<Heap*>(h)->owner().index(), h->generation());
  return {};
}

void HeapRegistry::add_name(Heap& heap) {
  uint16_t& first = buckets_[hash_of(heap.name()) % kBuckets];
  heap.next_named = first;
  first = static_cast<uint16_t>(heap.owner().index());
}

void HeapRegistry::remove_name(Heap& heap) {
  uint16_t& first = buckets_[hash_of(heap.name()) % kBuckets];
  const uint32_t index = heap.owner().index();
  if (first == index) {
    first = static_cast<uint16_t>(heap.next_named);
    return;
  }
  Heap* before = at(first);
  while (before->next_named != index) before = at(before->next_named);
  before->next_named = heap.next_named;
}

size_t HeapRegistry::make_up_name(char* buffer) {
  for (;;) {
    Line line;
    const std::string_view name = line.text("heap-").dec(++nr_made_up_).view();
    if (find_locked(name)) continue;
    memcpy(buffer, name.data(), name.size());
    return name.size();
  }
}

// -- heaps

int HeapRegistry::choose_node(const HeapSettings& settings, NodeId& node) const {
  node = allocator_->home_node();
  if (settings.node == -1) return 0;
  if (settings.node < 0 || settings.node >= static_cast<int32_t>(allocator_->nr_nodes())) return EINVAL;
  node = NodeId(static_cast<uint16_t>(settings.node));
  return allocator_->has_zone(node) ? 0 : EINVAL;
}

int HeapRegistry::create(const char* name, const HeapSettings& settings, HeapId& id) {
  char buffer[Heap::kNameBytes];
  size_t length = 0;
  NodeId node;
  // Copied before the lock is taken: the name may be in memory that is away.
  if (name != nullptr) {
    length = name_length(name);
    if (length == 0) return EINVAL;
    memcpy(buffer, name, length);
  }
  if (!is_score(settings.oom_score_adj) || settings.flags != 0 || choose_node(settings, node) != 0) return EINVAL;
  LockGuard guard(mutex_);
  if (name == nullptr) length = make_up_name(buffer);
  if (find_locked({buffer, length})) return EEXIST;
  if (nr_heaps_ == kMostHeaps) return ENOSPC;
  Heap* heap = take_place();
  if (heap == nullptr) return ENOMEM;
  if (settings.soft_limit != 0) has_soft_limits_.store(true, std::memory_order_relaxed);
  // Comparable with those of other members of a pool.
  last_serial_ = std::max(last_serial_ + 1, os::now_ns());
  heap->open(settings, node, buffer, length, last_serial_);
  add_name(*heap);
  ++nr_heaps_;
  show_number();
  id = HeapId::of(heap->owner().index(), heap->generation());
  return 0;
}

int HeapRegistry::destroy_heap(HeapId id, Pages& released) {
  Heap* heap;
  {
    LockGuard guard(mutex_);
    heap = find_open(id);
    if (heap != nullptr) {
      heap->close();
      remove_name(*heap);
    } else {
      heap = take_emptied(id);
      if (heap == nullptr) return EINVAL;
    }
  }
  while (heap->is_being_emptied.load(std::memory_order_acquire)) os::yield();
  // The place belongs to nobody now. Who is in the middle of allocating there is told so, or what it took is given
  // back.
  released = heap->release_all();
  LockGuard guard(mutex_);
  heap->next_free = first_free_;
  first_free_ = heap->owner().index();
  --nr_heaps_;
  show_number();
  return 0;
}

void HeapRegistry::show_number() {
  const StatsPage* stats = allocator_->stats_page();
  if (stats != nullptr && stats->page() != nullptr) publish(stats->page()->nr_heaps, uint64_t{nr_heaps_});
}

HeapId HeapRegistry::find(std::string_view name) {
  LockGuard guard(mutex_);
  return find_locked(name);
}

HeapId HeapRegistry::next(HeapId previous) {
  const uint32_t end = nr_places_.load(std::memory_order_acquire);
  for (uint32_t i = previous.index() + 1; i <= end; ++i) {
    const uint64_t generation = at(i)->generation();
    if (generation % 2 != 0) return HeapId::of(i, generation);
  }
  return {};
}

bool HeapRegistry::stats(HeapId id, HeapStats& stats) {
  LockGuard guard(mutex_);
  Heap* heap = find_open(id);
  if (heap != nullptr) stats = heap->stats();
  return heap != nullptr;
}

bool HeapRegistry::name(HeapId id, char (&name)[Heap::kNameBytes]) {
  LockGuard guard(mutex_);
  const Heap* heap = find_open(id);
  if (heap != nullptr) memcpy(name, heap->name(), sizeof(name));
  return heap != nullptr;
}

int HeapRegistry::set_limit(HeapId id, uint64_t bytes) {
  LockGuard guard(mutex_);
  Heap* heap = find_open(id);
  if (heap != nullptr) heap->set_limit(bytes);
  return heap != nullptr ? 0 : EINVAL;
}

int HeapRegistry::set_soft_limit(HeapId id, uint64_t bytes) {
  LockGuard guard(mutex_);
  Heap* heap = find_open(id);
  if (bytes != 0) has_soft_limits_.store(true, std::memory_order_relaxed);
  if (heap != nullptr) heap->set_soft_limit(bytes);
  return heap != nullptr ? 0 : EINVAL;
}

int HeapRegistry::set_oom_score_adj(HeapId id, int64_t adj) {
  if (!is_score(adj)) return EINVAL;
  LockGuard guard(mutex_);
  Heap* heap = find_open(id);
  if (heap != nullptr) heap->set_oom_score_adj(static_cast<int32_t>(adj));
  return heap != nullptr ? 0 : EINVAL;
}

uint32_t HeapRegistry::nr_heaps() {
  LockGuard guard(mutex_);
  return nr_heaps_;
}

// -- objects

// The calling thread's cache when it is that of the heap, or becomes it now; null: none.
HeapCache* HeapRegistry::cache_for(Heap& heap, HeapId id, HeapCall& call) {
  if (call.thread == nullptr || !call.thread->caching) return nullptr;
  HeapCache* cache = call.thread->heap_cache;
  if (cache == nullptr) {
    void* memory = os::vm_map(align_up(sizeof(HeapCache), kPageSize));
    if (memory == nullptr) return nullptr;
    cache = call.thread->heap_cache = new (memory) HeapCache();
  }
  if (cache->id == id) {
    cache->in_a_row = 0;
    return cache;
  }
  if (!cache->note(id)) return nullptr;
  call.bad = drop_cache(*cache);
  cache->reset(id, &heap);
  return cache;
}

Heap::Got HeapRegistry::alloc_once(Heap& heap, HeapId id, size_t size, size_t alignment, bool zero, HeapCall& call) {
  const size_t size_class = class_of_aligned(size, alignment < kMinAlignment ? kMinAlignment : alignment);
  if (size_class == 0) return heap.alloc_run(id.generation(), size, alignment, zero);
  if (!heap.has_depot(size_class)) {
    LockGuard guard(mutex_);
    heap.make_depot(size_class);
  }
  HeapCache* cache = size_class < HeapCache::kClasses ? cache_for(heap, id, call) : nullptr;
  Heap::Got got =
      cache != nullptr ? heap.alloc_cached(*cache, size_class) : heap.alloc_small(id.generation(), size_class);
  if (zero && got.object != nullptr) memset(got.object, 0, size);
  return got;
}

void* HeapRegistry::alloc(HeapId id, size_t size, size_t alignment, bool zero, HeapCall& call) {
  call.error = EINVAL;
  call.no_memory = false;
  Heap* heap = find_open(id);
  if (heap == nullptr) return nullptr;
  call.error = ENOMEM;
  if (size > PTRDIFF_MAX - 4 * kPageSize || alignment > PTRDIFF_MAX / 2) return nullptr;
  for (unsigned tries = 0;; ++tries) {
    const Heap::Got got = alloc_once(*heap, id, size, alignment, zero, call);
    call.due |= got.due;
    if (got.refusal == Heap::Refusal::kNone) return got.object;
    if (got.refusal == Heap::Refusal::kStale) call.error = EINVAL;
    call.no_memory = got.refusal == Heap::Refusal::kNoMemory;
    if (got.refusal != Heap::Refusal::kOverLimit) return nullptr;
    if (tries == 0) {
      heap->note_limit_hit();
      // What this thread keeps may be the last that stands in the way of an empty slab.
      if (call.thread != nullptr && call.thread->heap_cache != nullptr && call.thread->heap_cache->id == id)
        call.bad = drop_cache(*call.thread->heap_cache);
    }
    if (tries == kMostTries || !make_room(*heap, got.wanted)) break;
  }
  heap->note_limit_failure();
  return nullptr;
}

void* HeapRegistry::move_object(Heap& heap, void* object, size_t now, size_t size, BadPointer& bad) {
  const HeapId id = HeapId::of(heap.owner().index(), heap.generation());
  HeapCall call;
  void* moved = alloc(id, size, kMinAlignment, false, call);
  if (moved == nullptr) return nullptr;
  memcpy(moved, object, now < size ? now : size);
  bad = allocator_->free_slow(nullptr, object);
  return moved;
}

void* HeapRegistry::resize(void* object, size_t size, BadPointer& bad) {
  const OwnerTag tag = allocator_->tag_of(object);
  Heap* heap = at(tag.owner());
  const size_t now = allocator_->usable_size(object);
  if (heap == nullptr || now == 0) {
    bad = {Misuse::kNotGivenOut, object, 0};
    return nullptr;
  }
  if (tag.size_class() != 0) {
    // Copying to save less than half costs more than it saves, as for other objects.
    if (size <= now && size >= now / 2) return object;
  } else if (size > kMaxSmallSize && size <= PTRDIFF_MAX - 4 * kPageSize) {
    RunView run = allocator_->find_run(object);
    for (unsigned tries = 0; tries < kMostTries; ++tries) {
      const Heap::Refusal refusal = heap->resize_run(run, size);
      if (refusal == Heap::Refusal::kNone) return allocator_->object_of(run);
      if (refusal != Heap::Refusal::kOverLimit || !make_room(*heap, pages_of(size) - pages_of(now))) break;
    }
  }
  return move_object(*heap, object, now, size, bad);
}

BadPointer HeapRegistry::free_object(OwnerTag tag, void* object, ThreadCache* thread, bool& due) {
  HeapCache* cache = thread != nullptr ? thread->heap_cache : nullptr;
  if (cache != nullptr && cache->id.index() == tag.owner() && tag.size_class() < HeapCache::kClasses &&
      tag.size_class() != 0 && cache->id && cache->heap->owner().is(cache->id.generation()))
    return cache->heap->free_cached(*cache, object, tag.size_class(), due);
  Heap* heap = at(tag.owner());
  if (heap == nullptr || tag.size_class() == 0 || tag.size_class() >= kNrSizeClasses)
    return {Misuse::kNotGivenOut, object, 0};
  return heap->free_small(object, tag.size_class(), due);
}

BadPointer HeapRegistry::give_up_cache(ThreadCache* thread) {
  return thread != nullptr && thread->heap_cache != nullptr ? drop_cache(*thread->heap_cache) : BadPointer{};
}

BadPointer HeapRegistry::trim(ThreadCache* thread) {
  const BadPointer bad = give_up_cache(thread);
  for_places([](Heap& heap) { heap.trim(); });
  return bad;
}

BadPointer HeapRegistry::free_run(OwnerTag tag, void* object) {
  Heap* heap = at(tag.owner());
  return heap != nullptr ? heap->free_run(object) : BadPointer{Misuse::kNotGivenOut, object, 0};
}

HeapId HeapRegistry::heap_of(const void* object) {
  const OwnerTag tag = allocator_->tag_of(object);
  const Heap* heap = at(tag.owner());
  return heap != nullptr && heap->is_open() ? HeapId::of(tag.owner(), heap->generation()) : HeapId();
}

// -- all of them

size_t HeapRegistry::free_bytes() {
  const uint64_t now = os::now_ms();
  uint64_t then = counted_at_ms_.load(std::memory_order_relaxed);
  if (now - then >= kCountedForMs && counted_at_ms_.compare_exchange_strong(then, now, std::memory_order_relaxed)) {
    size_t total = 0;
    for_places([&](const Heap& heap) { total += heap.free_bytes(); });
    counted_bytes_.store(total, std::memory_order_relaxed);
  }
  return counted_bytes_.load(std::memory_order_relaxed);
}

void HeapRegistry::lock() {
  mutex_.lock_for_fork();
  for_places([](Heap& heap) { heap.lock(); });
  for_places([](Heap& heap) { heap.lock_depots(); });
}

void HeapRegistry::unlock() {
  for_places([](Heap& heap) { heap.unlock_depots(); });
  for_places([](Heap& heap) { heap.unlock(); });
  mutex_.unlock_for_fork();
}

const char* HeapRegistry::verify(NodeId node, Pages& slab_pages) {
  const char* wrong = nullptr;
  uint32_t open = 0;
  for_places([&](Heap& heap) {
    open += heap.is_open();
    if (heap.is_open() && find_locked(heap.name()).index() != heap.owner().index()) wrong = "a heap has lost its name";
    if (wrong == nullptr && heap.node() == node) wrong = heap.verify(slab_pages);
  });
  if (wrong != nullptr) return wrong;
  // Those that are being destroyed are counted until their place is free.
  return open > nr_heaps_ ? "heaps are miscounted" : nullptr;
}

}  // namespace weir
