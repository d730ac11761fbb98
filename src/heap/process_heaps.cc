#include "heap/process_heaps.h"

#include <new>

#include "malloc/callbacks.h"
#include "malloc/process.h"
#include "os/vm.h"

namespace weir {
namespace {

constinit std::atomic<HeapRegistry*> registry{nullptr};

}  // namespace

HeapRegistry* process_heaps() {
  return registry.load(std::memory_order_acquire);
}

HeapRegistry* process_make_heaps() {
  if (HeapRegistry* made = process_heaps()) return made;
  if (!process_start()) return nullptr;
  // Held across forks, so that a child has all of it or nothing.
  LockGuard guard(process_settings_mutex());
  if (HeapRegistry* made = process_heaps()) return made;
  void* memory = os::vm_map(align_up(sizeof(HeapRegistry), kPageSize));
  if (memory == nullptr) return nullptr;
  HeapRegistry* made = new (memory) HeapRegistry();
  made->init(process_allocator());
  made->set_shrinkers(process_shrinkers());
  registry.store(made, std::memory_order_release);
  return made;
}

namespace {

// In a pool, a process without heaps has a say all the same in who is chosen. After malloc/fork.cc's.
__attribute__((constructor(102))) void at_load() {
  if (process_started() && !process_options().pool.empty()) static_cast<void>(process_make_heaps());
}

}  // namespace
}  // namespace weir
