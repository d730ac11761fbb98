// Purpose: registered heaps on an allocator of a test's own, with the calls that programs have, which return what was
//          wrong instead of ending the process.
// Thread safety: as the HeapRegistry; set-up by one thread.
#pragma once

#include <memory>

#include "heap/heap_registry.h"
#include "support/private_allocator.h"

namespace weir {

class PrivateHeaps {
 public:
  PrivateHeaps() = default;
  ~PrivateHeaps() {
    allocator.stop();
    registry->destroy();
  }
  PrivateHeaps(const PrivateHeaps&) = delete;
  PrivateHeaps& operator=(const PrivateHeaps&) = delete;

  [[nodiscard]] bool start(size_t capacity, bool bare = false) {
    if (!allocator.start(capacity, bare)) return false;
    registry->init(*allocator);
    return true;
  }

  // Aborts the test when it cannot be made.
  HeapId create(const char* name = nullptr, const HeapSettings& settings = {}) {
    HeapId id;
    if (registry->create(name, settings, id) != 0) abort();
    return id;
  }
  // The pages that were charged.
  uint64_t destroy(HeapId id) {
    Pages released;
    if (registry->destroy_heap(id, released) != 0) abort();
    return released.v;
  }

  void* malloc(HeapId id, size_t size) { return memalign(id, kMinAlignment, size); }
  void* calloc(HeapId id, size_t size) { return alloc(id, size, kMinAlignment, true); }
  void* memalign(HeapId id, size_t alignment, size_t size) { return alloc(id, size, alignment, false); }
  void* alloc(HeapId id, size_t size, size_t alignment, bool zero) {
    HeapCall call;
    call.thread = thread;
    void* p = registry->alloc(id, size, alignment, zero, call);
    if (p == nullptr) error = call.error;
    if (call.bad.misuse != Misuse::kNone) abort();
    return p;
  }
  // Of an object of a heap.
  void* realloc(void* p, size_t size) {
    BadPointer bad;
    void* q = registry->resize(p, size, bad);
    if (bad.misuse != Misuse::kNone) abort();
    return q;
  }
  [[nodiscard]] BadPointer free(void* p) { return allocator.free(thread, p); }
  HeapStats stats(HeapId id) {
    HeapStats s;
    if (!registry->stats(id, s)) abort();
    return s;
  }
  uint64_t charged(HeapId id) { return stats(id).charged.v; }

  PrivateAllocator allocator;
  std::unique_ptr<HeapRegistry> registry = std::make_unique<HeapRegistry>();
  ThreadCache* thread = nullptr;  // that of the calls
  int error = 0;                  // of the last call of this thread's that failed; by one thread
};

}  // namespace weir
