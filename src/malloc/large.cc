// Large objects: runs of whole pages straight from the zones (the part of Allocator that deals with them).
//
// Layout of a run: the object's pages; with guard=1 one inaccessible page before and one behind them. A run that had to
// move because it could not grow in place is longer than was asked for: it is a mapping of its own, in which it grows.
#include <cstring>

#include "base/check.h"
#include "malloc/allocator.h"
#include "os/vm.h"

namespace weir {
namespace {

// From here on moving page tables is cheaper than moving bytes: a mremap of 256 pages costs about 20 us on two
// processors (its TLB shootdown is most of it), copying 1 MiB about 60 us with its page faults.
constexpr size_t kMoveBytes = size_t{1} << 20;
// Every moved run is a mapping of its own until it is freed; Linux allows 65530 (vm.max_map_count), which the program
// needs for itself.
constexpr uint32_t kMostMovedRuns = 4096;
// A run that moves gets half its size as room to grow: the moves of a growing object then are as rare as with doubling,
// and room that is not used costs address space only.
constexpr uint64_t kRoomDivisor = 2;

// Runs and slabs stay in pageblocks of their own, as the kernel keeps movable pages from unmovable ones: small objects
// live longest and would keep runs from ever becoming long again (measured: a fifth less memory, and less time).
constexpr MigrateType kRunType = MigrateType::kMovable;

// Longer stretches are cleared by dropping their pages: whether a huge object was ever touched throughout is not known,
// and writing all of it would make memory of what had none.
constexpr size_t kDropBytes = size_t{32} << 20;

// Flags of a run, in its descriptor.
constexpr Pfn kMovedFlag = 1;   // a mapping of its own
constexpr Pfn kCachedFlag = 2;  // freed, in a thread cache
static_assert(kOwnedRun == 4 && kMappedRun == 8, "the third and the fourth");

bool is_cached_length(Pages count) {
  return count.v >= kMinCachedRun && count.v <= kMaxCachedRun;
}

}  // namespace

PageRequest Allocator::run_request(size_t size, size_t alignment) const {
  const size_t guard = guard_bytes();
  PageRequest request;
  request.count = pages_of((size == 0 ? 1 : size) + 2 * guard);
  request.type = kRunType;
  // A guard page shifts the object, so that larger alignments need room to shift back.
  if (guard != 0 && alignment > kPageSize) request.count += pages_of(alignment);
  request.align = alignment > kPageSize && guard == 0 ? pages_of(alignment) : Pages(1);
  return request;
}

void* Allocator::alloc_large(ThreadCache* cache, size_t size, size_t alignment, bool zero) {
  if (size > PTRDIFF_MAX - 4 * kPageSize || alignment > PTRDIFF_MAX / 2) return nullptr;
  PageRequest request = run_request(size, alignment);
  request.node = cache != nullptr ? NodeId(cache->node) : home_node();
  if (cache != nullptr && request.align.v == 1 && is_cached_length(request.count)) {
    if (void* object = pop_run(cache, request.count)) return zero ? memset(object, 0, size) : object;
  }
  const RunView run = take_run(request, size, alignment, zero);
  return run.zone != nullptr ? object_of(run) : nullptr;
}

// Takes pages and makes them ready for an object.
RunView Allocator::take_run(const PageRequest& request, size_t size, size_t alignment, bool zero) {
  const PageGrant grant = pages_.alloc_pages(request);
  if (!grant) return {};
  Zone& zone = *grant.zone;
  Pfn head = grant.run.head;
  if (options_->guard) {
    head = align_guarded(zone, head, request.count, alignment, pages_of(size == 0 ? 1 : size));
    protect_guards(zone, head, Pages(zone.desc(head).count));
  } else if (zero && grant.run.resident.v != 0) {
    clear_run(zone, head, request.count);
  }
  return {&zone, head};
}

Pages Allocator::owned_run_pages(size_t size, size_t alignment) const {
  const Pages count = run_request(size, alignment).count;
  return count < kLeastOwnedRun ? kLeastOwnedRun : count;
}

RunView Allocator::alloc_owned_run(NodeId node, size_t size, size_t alignment, bool zero) {
  PageRequest request = run_request(size, alignment);
  if (request.count < kLeastOwnedRun) request.count = kLeastOwnedRun;
  request.node = node;
  request.this_node_only = true;
  return take_run(request, size, alignment, zero);
}

bool Allocator::extend_owned_run(const RunView& run, Pages wanted) {
  const PageDesc& d = run.zone->desc(run.head);
  return (d.next & kMovedFlag) == 0 && pages_.extend_run(*run.zone, run.head, Pages(d.count), wanted - Pages(d.count));
}

bool Allocator::shrinks_to(const RunView& run, Pages wanted) const {
  const PageDesc& d = run.zone->desc(run.head);
  // A moved run keeps its room to grow.
  return wanted.v < d.count && ((d.next & kMovedFlag) == 0 || with_room(wanted).v < d.count);
}

void Allocator::shrink_run(const RunView& run, Pages wanted) {
  const PageDesc& d = run.zone->desc(run.head);
  const Pages now(d.count);
  const Pfn tail = run.head + static_cast<Pfn>(wanted.v);
  bool dropped = false;
  if ((d.next & kMovedFlag) != 0) {
    if (!run.zone->renew_mapping(tail, now - wanted)) return;
    dropped = true;
  } else if (options_->zero_on_free) {
    dropped = run.zone->drop_pages(tail, now - wanted);
  }
  run.zone->shrink_run(run.head, now, wanted, dropped ? Touched::kNo : Touched::kYes);
}

// Trims a run that was taken with room for alignment so that the page after its head is aligned.
Pfn Allocator::align_guarded(Zone& zone, Pfn head, Pages taken, size_t alignment, Pages wanted) {
  if (alignment > kPageSize) {
    const uintptr_t first = reinterpret_cast<uintptr_t>(zone.address(head)) + kPageSize;
    const size_t lead = (align_up(first, alignment) - first) >> kPageShift;
    if (lead != 0) head = zone.split_run(head, taken, Pages(lead)), taken -= Pages(lead);
  }
  const Pages exact = wanted + Pages(2);
  if (taken > exact) zone.shrink_run(head, taken, exact, Touched::kNo);
  return head;
}

void Allocator::protect_guards(Zone& zone, Pfn head, Pages count) {
  // The whole run is fresh afterwards: its content must not depend on what was there before (calloc relies on it).
  static_cast<void>(zone.renew_mapping(head, count));
  static_cast<void>(os::vm_protect_none(zone.address(head), kPageSize));
  static_cast<void>(os::vm_protect_none(zone.address(head) + bytes_of(count) - kPageSize, kPageSize));
}

// Clears the pages that may hold old data; the others read as zeros already.
void Allocator::clear_run(Zone& zone, Pfn first, Pages count) {
  const Pfn end = first + static_cast<Pfn>(count.v);
  for (Zone::Stretch s = zone.find_stale(first, end); s.first != end; s = zone.find_stale(s.end, end)) {
    const Pages length(s.end - s.first);
    if (bytes_of(length) < kDropBytes || !zone.drop_pages(s.first, length))
      memset(zone.address(s.first), 0, bytes_of(length));
  }
}

RunView Allocator::find_run(const void* object) {
  Zone* zone = pages_.zone_of(object);
  if (zone == nullptr || (reinterpret_cast<uintptr_t>(object) & (kPageSize - 1)) != 0) return {};
  const Pfn pfn = zone->pfn_of(object);
  if (pfn >= zone->accessible_estimate().v) return {};
  const Pfn guard = options_->guard ? 1 : 0;
  if (pfn < guard) return {};
  const PageDesc& d = zone->desc(pfn - guard);
  if (d.state != PageState::kRun || d.movable != 0 || (d.next & (kCachedFlag | kMappedRun)) != 0) return {};
  return {zone, pfn - guard};
}

void* Allocator::pop_run(ThreadCache* cache, Pages count) {
  RunBin& bin = cache->run_bins[count.v - kMinCachedRun];
  if (bin.count == 0) return nullptr;
  void* object = bin.runs[--bin.count];
  Zone* zone = pages_.zone_of(object);
  zone->desc(zone->pfn_of(object)).next &= ~kCachedFlag;
  return object;
}

// Keeps a freed run in the thread's cache, in place of the oldest of its length.
bool Allocator::push_run(ThreadCache* cache, const RunView& run, void* object) {
  PageDesc& d = run.zone->desc(run.head);
  if (cache == nullptr || !cache->caching || options_->guard || d.next != 0 || !is_cached_length(Pages(d.count)))
    return false;
  RunBin& bin = cache->run_bins[d.count - kMinCachedRun];
  if (bin.count == RunBin::kSlots) flush_runs(bin, 1);
  d.next |= kCachedFlag;
  bin.runs[bin.count++] = object;
  return true;
}

// Gives the `count` oldest runs of a bin back to their zones.
void Allocator::flush_runs(RunBin& bin, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    Zone* zone = pages_.zone_of(bin.runs[i]);
    static_cast<void>(zone->free_run(zone->pfn_of(bin.runs[i])));
  }
  for (unsigned i = count; i < bin.count; ++i) bin.runs[i - count] = bin.runs[i];
  bin.count = static_cast<uint8_t>(bin.count - count);
}

char* Allocator::map_pages(Pages count, bool may_wait) {
  PageRequest request;
  request.node = home_node();
  request.type = kRunType;
  request.count = count;
  request.may_wait = may_wait;
  const PageGrant grant = pages_.alloc_pages(request);
  if (!grant) return nullptr;
  if (grant.run.resident.v != 0) clear_run(*grant.zone, grant.run.head, count);
  grant.zone->mark_mapped(grant.run.head, count);
  return grant.zone->address(grant.run.head);
}

BadPointer Allocator::free_large(ThreadCache* cache, void* object) {
  const RunView run = find_run(object);
  if (run.zone == nullptr) return {Misuse::kNotGivenOut, object, 0};
  const OwnerTag tag = run_tag(run.zone->desc(run.head));
  if (tag && heaps() != nullptr) return heaps()->free_run(heaps()->self, tag, object);
  return push_run(cache, run, object) ? BadPointer{} : release_run(run, object);
}

BadPointer Allocator::release_run(const RunView& run, void* object) {
  PageDesc& d = run.zone->desc(run.head);
  const Pages count(d.count);
  Touched touched = Touched::kYes;
  if (options_->guard || (d.next & kMovedFlag) != 0) {
    if ((d.next & kMovedFlag) != 0) nr_moved_runs_.fetch_sub(1, std::memory_order_relaxed);
    // Without a fresh mapping, guard pages would stay inaccessible for the next owner: rather lose the space.
    if (!run.zone->renew_mapping(run.head, count)) return {};
    touched = Touched::kNo;
  } else if (options_->zero_on_free && run.zone->drop_pages(run.head, count)) {
    touched = Touched::kNo;
  }
  return run.zone->free_run(run.head, touched) ? BadPointer{} : BadPointer{Misuse::kDoubleFree, object, 0};
}

void* Allocator::resize_large(void* object, size_t size) {
  const RunView run = find_run(object);
  if (run.zone == nullptr || options_->guard || size > PTRDIFF_MAX - kPageSize) return nullptr;
  Zone& zone = *run.zone;
  // Its owner pays for more.
  if (run_tag(zone.desc(run.head))) return nullptr;
  const Pages now(zone.desc(run.head).count);
  const Pages wanted = pages_of(size);
  if (wanted == now) return object;
  const bool moved = (zone.desc(run.head).next & kMovedFlag) != 0;
  if (wanted < now) {
    if (shrinks_to(run, wanted)) shrink_run(run, wanted);
    return object;
  }
  if (!moved && pages_.extend_run(zone, run.head, now, wanted - now)) return object;
  if (!can_move_run(run)) return nullptr;
  RunView longer = move_run(run, with_room(wanted));
  if (longer.zone == nullptr) longer = move_run(run, wanted);
  return longer.zone != nullptr ? object_of(longer) : nullptr;
}

bool Allocator::can_move_run(const RunView& run) const {
  return !run.zone->limited() && bytes_of(Pages(run.zone->desc(run.head).count)) >= kMoveBytes &&
         nr_moved_runs_.load(std::memory_order_relaxed) < kMostMovedRuns;
}

RunView Allocator::move_run(const RunView& run, Pages count) {
  Zone& zone = *run.zone;
  const Pages now(zone.desc(run.head).count);
  const bool moved_before = (zone.desc(run.head).next & kMovedFlag) != 0;
  PageRequest request;
  request.node = zone.node();
  request.this_node_only = true;
  request.type = kRunType;
  request.count = count;
  const PageGrant grant = pages_.alloc_pages(request);
  if (!grant) return {};
  const Pfn to = grant.run.head;
  if (zone.move_run(run.head, now, to) == Zone::Move::kFailed) {
    static_cast<void>(zone.free_run(to, Touched::kNo));
    return {};
  }
  zone.desc(to).next |= kMovedFlag;
  if (!moved_before) nr_moved_runs_.fetch_add(1, std::memory_order_relaxed);
  return {&zone, to};
}

Pages Allocator::with_room(Pages wanted) {
  return wanted + Pages(wanted.v / kRoomDivisor);
}

}  // namespace weir
