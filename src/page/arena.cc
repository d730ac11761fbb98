#include "page/arena.h"

#include "base/check.h"
#include "os/vm.h"

namespace weir {
namespace {

// Metadata becomes accessible in steps of this size: one call then serves at least 8 MiB of arena, and an idle program
// pays address space only.
constexpr size_t kMetadataStep = size_t{64} << 10;

// Where bare arenas may lie: far from where the kernel puts programs (0x5555..., 2/3 of the address space, and what
// their heaps add), libraries and stacks (below 0x8000...), and above the shadow memory of the sanitizers. Programs
// with such shadows or with fixed addresses of their own have been seen below 0x2000... only.
constexpr uintptr_t kBareBegin = 0x2000'0000'0000;
constexpr uintptr_t kBareEnd = 0x5000'0000'0000;
// Arenas start at multiples of 1 GiB, so that huge pages of every size and whole page tables fit.
constexpr size_t kBareGrain = size_t{1} << 30;

constexpr size_t max_block_bitmap_bytes(Pages capacity) {
  return align_up(capacity.v / kMaxOrderPages / 8 + 8, kPageSize);
}

// The metadata of all nodes, so long that arenas behind it start where they may.
constexpr size_t front_bytes(unsigned nr_nodes, Pages capacity) {
  const size_t grain = bytes_of(capacity) < kBareGrain ? kMaxOrderPages * kPageSize : kBareGrain;
  return align_up(nr_nodes * arena_metadata_span(capacity), grain);
}

// What is accessible from the start: a bit per block of the largest order and a byte per pageblock.
constexpr size_t fixed_metadata_bytes(Pages capacity) {
  return max_block_bitmap_bytes(capacity) + align_up(capacity.v / kPageblockPages + 1, kPageSize);
}

}  // namespace

bool place_arenas(unsigned nr_nodes, Pages capacity, bool bare, uint64_t random, ArenaPlace* places) {
  constexpr size_t kAlign = kMaxOrderPages * kPageSize;
  // In front, where the first pages of both share the upper page tables.
  const size_t metadata_span = arena_metadata_span(capacity);
  const size_t front = front_bytes(nr_nodes, capacity);
  const size_t total = front + nr_nodes * bytes_of(capacity);
  char* base;
  if (bare) {
    if (total > kBareEnd - kBareBegin) return false;
    const uintptr_t room = (kBareEnd - kBareBegin - total) / kBareGrain + 1;
    base = reinterpret_cast<char*>(kBareBegin + random % room * kBareGrain);
  } else {
    char* got = static_cast<char*>(os::vm_reserve(total + kAlign));
    if (got == nullptr) return false;
    base = reinterpret_cast<char*>(align_up(reinterpret_cast<uintptr_t>(got), kAlign));
    if (base != got) os::vm_unmap(got, static_cast<size_t>(base - got));
    const size_t surplus = static_cast<size_t>(got + kAlign - base);
    if (surplus != 0) os::vm_unmap(base + total, surplus);
  }
  char* memory = base + front;
  for (unsigned i = 0; i < nr_nodes; ++i)
    places[i] = {memory + i * bytes_of(capacity), base + i * metadata_span, capacity, bare};
  return true;
}

void release_arenas(unsigned nr_nodes, const ArenaPlace& first) {
  if (first.bare) return;
  os::vm_unmap(first.metadata, front_bytes(nr_nodes, first.capacity) + nr_nodes * bytes_of(first.capacity));
}

bool Arena::init(const ArenaPlace& place, MetadataStrides extra, int os_node) {
  place_ = place;
  os_node_ = os_node;
  const size_t strides[kNrArrays] = {kUnitPages / 8, kUnitPages * sizeof(PageDesc), extra.first, extra.second};
  const size_t units = place.capacity.v / kUnitPages;
  char* next = place.metadata;
  if (!make_metadata_accessible(next, fixed_metadata_bytes(place.capacity))) return false;
  fixed_bytes_ = fixed_metadata_bytes(place.capacity);
  free_max_blocks_ = reinterpret_cast<uint64_t*>(next);
  pageblock_types_ = reinterpret_cast<MigrateType*>(next + max_block_bitmap_bytes(place.capacity));
  next += fixed_metadata_bytes(place.capacity);
  for (unsigned i = 0; i < kNrArrays; ++i) {
    arrays_[i] = {next, strides[i], 0};
    next += align_up(units * strides[i], kMetadataStep);
  }
  WEIR_CHECK(static_cast<size_t>(next - place.metadata) <= arena_metadata_span(place.capacity));
  return true;
}

void Arena::unmap() {
  if (fixed_bytes_ != 0) os::vm_unmap(place_.metadata, fixed_bytes_);
  for (Array& a : arrays_) {
    if (a.committed != 0) os::vm_unmap(a.base, a.committed);
    a.committed = 0;
  }
  if (accessible_.v != 0) os::vm_unmap(place_.memory, bytes_of(accessible_));
  fixed_bytes_ = 0;
  accessible_ = Pages(0);
}

bool Arena::make_accessible(char* from, size_t bytes) {
  const bool ok = place_.bare ? os::vm_map_new(from, bytes) : os::vm_commit(from, bytes);
  if (ok && os_node_ >= 0) os::vm_bind(from, bytes, static_cast<unsigned>(os_node_));
  return ok;
}

// Where the system gives huge pages unasked, one touch would make memory of all that describes a GiB. Shorter stretches
// than a huge page are not worth the system call.
bool Arena::make_metadata_accessible(char* from, size_t bytes) {
  if (!make_accessible(from, bytes)) return false;
  if (bytes >= kPageblockPages * kPageSize) os::vm_huge_pages(from, bytes, false);
  return true;
}

bool Arena::grow_to(Pages pages) {
  if (pages > place_.capacity) return false;
  const size_t units = (pages.v + kUnitPages - 1) / kUnitPages;
  for (Array& a : arrays_) {
    const size_t wanted = align_up(units * a.bytes_per_unit, kMetadataStep);
    if (wanted <= a.committed) continue;
    if (!make_metadata_accessible(a.base + a.committed, wanted - a.committed)) return false;
    a.committed = wanted;
  }
  if (!make_accessible(place_.memory + bytes_of(accessible_), bytes_of(pages - accessible_))) return false;
  accessible_ = pages;
  return true;
}

bool Arena::renew(Pfn first, Pages count) {
  char* from = place_.memory + (size_t{first} << kPageShift);
  if (!os::vm_renew(from, bytes_of(count))) return false;
  if (os_node_ >= 0) os::vm_bind(from, bytes_of(count), static_cast<unsigned>(os_node_));
  return true;
}

void Arena::drop_extra_metadata(Pfn max_block) const {
  for (const unsigned i : {kFirstExtra, kSecondExtra}) {
    // Without the zone's lock: how much of an array is committed changes meanwhile, so it is not copied.
    const Array& a = arrays_[i];
    const size_t bytes = kMaxOrderPages / kUnitPages * a.bytes_per_unit;
    // Arrays whose share of a block is no whole number of pages are left alone.
    if (bytes == 0 || bytes % kPageSize != 0) continue;
    static_cast<void>(os::vm_purge(a.base + max_block / kUnitPages * a.bytes_per_unit, bytes));
  }
}

size_t Arena::metadata_bytes() const {
  size_t total = fixed_metadata_bytes(place_.capacity);
  for (const Array& a : arrays_) total += a.committed;
  return total;
}

}  // namespace weir
