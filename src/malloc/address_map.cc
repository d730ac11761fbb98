#include "malloc/address_map.h"

#include "os/vm.h"

namespace weir {

namespace {

constexpr size_t map_bytes_for(size_t bytes) {
  return align_up(bytes >> kSlabUnitShift, kPageSize);
}
constexpr size_t bitmap_bytes_for(size_t bytes) {
  return align_up(map_bytes_for(bytes) / kPageSize / 8 + sizeof(uint64_t), kPageSize);
}

}  // namespace

bool AddressMap::init(char* base, size_t bytes) {
  // Readable everywhere at no cost; written pages (one per 256 MiB of arena) are made writable when first needed.
  void* classes = os::vm_map_readonly(map_bytes_for(bytes));
  void* writable = os::vm_map(bitmap_bytes_for(bytes));
  if (classes == nullptr || writable == nullptr) return false;
  classes_ = static_cast<uint8_t*>(classes);
  writable_ = static_cast<std::atomic<uint64_t>*>(writable);
  base_ = base;
  covered_ = bytes;
  return true;
}

void AddressMap::destroy() {
  os::vm_unmap(classes_, map_bytes_for(covered_));
  os::vm_unmap(writable_, bitmap_bytes_for(covered_));
  covered_ = 0;
}

bool AddressMap::set(const void* slab, unsigned units, size_t size_class) {
  const size_t first = offset_of(slab) >> kSlabUnitShift;
  // A slab is a power of two of units, aligned, so it lies in one page of the map.
  const size_t page = first / kPageSize;
  std::atomic<uint64_t>& word = writable_[page / 64];
  const uint64_t bit = uint64_t{1} << (page % 64);
  if ((word.load(std::memory_order_acquire) & bit) == 0) {
    if (!os::vm_commit(classes_ + page * kPageSize, kPageSize)) return false;
    word.fetch_or(bit, std::memory_order_release);
  }
  for (unsigned i = 0; i < units; ++i)
    __atomic_store_n(&classes_[first + i], static_cast<uint8_t>(size_class), __ATOMIC_RELAXED);
  return true;
}

}  // namespace weir
