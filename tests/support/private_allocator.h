// Purpose: an allocator of a test's own, with its options and machine, and malloc, free and realloc on it made of the
// same
//          parts as those of a process (malloc/process.cc), but returning what was wrong instead of ending the process.
// Thread safety: as the Allocator; a ThreadCache is passed by the thread it belongs to, null for none.
#pragma once

#include <errno.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "malloc/allocator.h"
#include "mm/handle_fault.h"
#include "support/sanitizer.h"

namespace weir {

// A machine of `nr_nodes` nodes at the default distances, each with 4 GiB but those in the bit mask `memoryless`. All
// processors belong to node 0.
inline void make_topology(Topology& topology, unsigned nr_nodes, unsigned memoryless = 0) {
  topology.clear();
  for (unsigned i = 0; i < nr_nodes; ++i) {
    topology.add_node(i);
    topology.nodes[i].memory_bytes = (memoryless >> i & 1) != 0 ? 0 : uint64_t{4} << 30;
  }
  for (unsigned cpu = 0; cpu < 256; ++cpu) topology.add_cpu(cpu, NodeId(0));
  if (!topology.finish()) abort();
}

class PrivateAllocator {
 public:
  PrivateAllocator() { make_topology(*topology_, 1); }
  ~PrivateAllocator() { stop(); }
  PrivateAllocator(const PrivateAllocator&) = delete;
  PrivateAllocator& operator=(const PrivateAllocator&) = delete;

  // To be changed before start().
  Options& options() { return options_; }
  Topology& topology() { return *topology_; }

  // `capacity`: of each node's arena. Bare arenas lie where `random` says; where they cannot be had, in reserved space.
  [[nodiscard]] bool start(size_t capacity, bool bare = false, uint64_t random = 1) {
    started_ = allocator_->init(setup(capacity, bare, random));
    return started_;
  }
  // Also with weir's threads, when the options have a limit. They never end: see LimitedAllocator. `prepare` is given
  // the reclaimer before it is started.
  template <class Prepare>
  [[nodiscard]] bool start_with_reclaim(size_t capacity, Prepare prepare) {
    // So that they meet, also where the processors would have one.
    if (options_.handlers == 0) options_.handlers = 2;
    AllocatorSetup with_limit = setup(capacity, false, 1);
    with_limit.fault_story = kFaultStory;
    started_ = allocator_->init(with_limit);
    if (!started_ || allocator_->reclaimer() == nullptr) return started_;
    prepare(*allocator_->reclaimer());
    allocator_->reclaimer()->start();
    return started_;
  }
  void stop() {
    if (started_) allocator_->destroy();
    started_ = false;
  }

  Allocator* operator->() { return allocator_.get(); }
  Allocator& operator*() { return *allocator_; }

  void* malloc(ThreadCache* cache, size_t size) {
    if (size > kMaxSmallSize) return allocator_->alloc_large(cache, size, kPageSize, false);
    return small(cache, class_of_size(size));
  }
  void* calloc(ThreadCache* cache, size_t size) {
    if (size > kMaxSmallSize) return allocator_->alloc_large(cache, size, kPageSize, true);
    void* object = small(cache, class_of_size(size));
    return object == nullptr ? nullptr : memset(object, 0, size);
  }
  void* memalign(ThreadCache* cache, size_t alignment, size_t size) {
    if (alignment <= kMinAlignment) return malloc(cache, size);
    const size_t size_class = class_of_aligned(size, alignment);
    return size_class == 0 ? allocator_->alloc_large(cache, size, alignment, false) : small(cache, size_class);
  }
  [[nodiscard]] BadPointer free(ThreadCache* cache, void* p) {
    const size_t offset = allocator_->map().offset_of(p);
    if (cache != nullptr && offset < allocator_->map().covered() &&
        cache_push(cache, allocator_->map().class_at(offset), p) == FreeFast::kDone)
      return {};
    return allocator_->free_slow(cache, p);
  }
  // Null: no memory, `p` stays as it was. `size` is not 0.
  void* realloc(ThreadCache* cache, void* p, size_t size) {
    const size_t now = allocator_->usable_size(p);
    if (now <= kMaxSmallSize && allocator_->kind_of(p) == PointerKind::kSmall) {
      if (size <= now && size >= now / 2) return p;
    } else if (size > kMaxSmallSize) {
      if (void* resized = allocator_->resize_large(p, size)) return resized;
    }
    void* moved = malloc(cache, size);
    if (moved == nullptr) return nullptr;
    memcpy(moved, p, now < size ? now : size);
    if (free(cache, p).misuse != Misuse::kNone) abort();
    return moved;
  }

  // Gives back everything unused; bytes.
  size_t trim(ThreadCache* cache) {
    size_t bytes = 0;
    if (allocator_->trim(cache, bytes).misuse != Misuse::kNone) abort();
    return bytes;
  }

  // Pages charged on all nodes.
  uint64_t charged() {
    uint64_t total = 0;
    for (unsigned n = 0; n < allocator_->nr_nodes(); ++n)
      if (allocator_->has_zone(to_node_id(n))) total += allocator_->pages().zone(to_node_id(n)).stats().charged.v;
    return total;
  }

 private:
  AllocatorSetup setup(size_t capacity, bool bare, uint64_t random) {
    AllocatorSetup made;
    made.options = &options_;
    made.topology = topology_.get();
    made.bare = bare && !kTsan;
    made.random = random;
    made.capacity = Pages(capacity >> kPageShift);
    return made;
  }
  void* small(ThreadCache* cache, size_t size_class) {
    if (cache != nullptr)
      if (void* object = cache_pop(cache, size_class)) return object;
    return allocator_->alloc_slow(cache, size_class);
  }

  Options options_;
  std::unique_ptr<Topology> topology_ = std::make_unique<Topology>();
  std::unique_ptr<Allocator> allocator_ = std::make_unique<Allocator>();
  bool started_ = false;
};

// A private allocator with a limit. weir's threads work for it as long as the process lives, so that it does too.
class LimitedAllocator {
 public:
  LimitedAllocator() : a_(*new PrivateAllocator()) {
    // Known to the leak checker, which looks after everything static has been destroyed.
    static auto& all = *new std::vector<PrivateAllocator*>();
    all.push_back(&a_);
  }
  LimitedAllocator(const LimitedAllocator&) = delete;
  LimitedAllocator& operator=(const LimitedAllocator&) = delete;

  // To be changed before start().
  Options& options() { return a_.options(); }

  // Null: pages are swapped from now on. Else why not.
  const char* start(size_t limit, size_t capacity) {
    return start(limit, capacity, [](Reclaimer&) {});
  }
  template <class Prepare>
  const char* start(size_t limit, size_t capacity, Prepare prepare) {
    a_.options().limit = limit;
    if (!a_.start_with_reclaim(capacity, prepare)) return "the allocator does not start";
    if (reclaimer().mode() == Reclaimer::Mode::kSwap) return nullptr;
    return reclaimer().refused() == -EOPNOTSUPP ? "the kernel has no UFFDIO_MOVE" : "userfaultfd cannot be had here";
  }

  PrivateAllocator* operator->() { return &a_; }
  PrivateAllocator& operator*() { return a_; }
  Allocator& allocator() { return *a_; }
  Reclaimer& reclaimer() { return *a_->reclaimer(); }
  NodeReclaim& node() { return *reclaimer().node(0); }
  Zone& zone() { return node().zone(); }

 private:
  PrivateAllocator& a_;
};

}  // namespace weir
