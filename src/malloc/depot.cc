#include "malloc/depot.h"

#include <bit>
#include <cstring>

#include "base/bitmap.h"
#include "base/check.h"

namespace weir {
namespace {

// A slab nobody used for this many ticks (of a tenth of the decay time) is idle, as in UnusedWindow.
constexpr unsigned kIdleTicks = UnusedWindow::kTicks;
// Slabs looked at before the lock is let go for a moment: some 10 us when there is nothing to give back.
constexpr unsigned kSlabsPerHold = 256;

}  // namespace

void Depot::init(PageSource& source, AddressMap& map, NodeId node, size_t size_class, void** transfer,
                 weir_stats_slab* published) {
  published_ = published;
  transfer_ = transfer;
  source_ = &source;
  map_ = &map;
  node_ = node;
  size_class_ = size_class;
}

void Depot::publish_slabs() {
  if (published_ == nullptr) return;
  const SizeClass& c = kSizeClasses[size_class_];
  publish(published_->object_size, c.size);
  publish(published_->objects_per_slab, uint32_t{c.objects});
  publish(published_->pages_per_slab, 1u << c.slab_order);
  publish(published_->slabs, uint64_t{nr_slabs_});
  publish(published_->free_objects, free_objects_.load(std::memory_order_relaxed));
}

SlabView Depot::view(UnitIndex unit) const {
  const Arena& arena = zone().arena();
  SlabDesc& desc = reinterpret_cast<SlabDesc*>(arena.extra_metadata(0))[unit];
  uint64_t* bits = kSizeClasses[size_class_].objects <= bitmap::kWordBits
                       ? &desc.few_bits
                       : reinterpret_cast<uint64_t*>(arena.extra_metadata(1) + size_t{unit} * kBitmapBytesPerUnit);
  return {desc, bits, arena.memory() + size_t{unit} * kSlabUnitSize};
}

SlabView Depot::view_of(const void* object) const {
  const size_t offset = static_cast<size_t>(static_cast<const char*>(object) - zone().arena().memory());
  return view(static_cast<UnitIndex>((offset & ~size_t{kSizeClasses[size_class_].slab_mask}) >> kSlabUnitShift));
}

UnitIndex Depot::unit_of(const SlabView& slab) const {
  return static_cast<UnitIndex>(static_cast<size_t>(slab.memory - zone().arena().memory()) >> kSlabUnitShift);
}

void Depot::link(SlabView slab) {
  const UnitIndex unit = unit_of(slab);
  // At the front: a slab enters the list nearly full, and filling the fullest first lets the others run empty.
  slab.desc.next = first_;
  slab.desc.prev = kNoUnit;
  slab.desc.on_list = true;
  if (first_ != kNoUnit) view(first_).desc.prev = unit;
  first_ = unit;
}

void Depot::unlink(SlabView slab) {
  SlabDesc& d = slab.desc;
  if (d.prev != kNoUnit)
    view(d.prev).desc.next = d.next;
  else
    first_ = d.next;
  if (d.next != kNoUnit) view(d.next).desc.prev = d.prev;
  if (cursor_ == unit_of(slab)) cursor_ = d.next;
  d.on_list = false;
}

PageRequest Depot::slab_request() const {
  PageRequest request;
  request.node = node_;
  request.count = pages_of(Order(kSizeClasses[size_class_].slab_order));
  request.block = true;
  request.this_node_only = true;
  request.may_wait = false;
  return request;
}

// Under a limit, room for a slab may have to be waited for: without the lock. False: there is no object.
bool Depot::wait_for_slab() {
  for (unsigned tries = 0; tries < PageSource::kMostRetries; ++tries) {
    mutex_.unlock();
    const bool room = source_->wait_for_pages(slab_request());
    mutex_.lock();
    if (first_ != kNoUnit || (room && add_slab())) return true;
    if (!room) return false;
  }
  return false;
}

bool Depot::add_slab() {
  const SizeClass& c = kSizeClasses[size_class_];
  const PageGrant grant = source_->alloc_pages(slab_request());
  if (!grant) return false;
  char* memory = grant.zone->address(grant.run.head);
  if (!map_->set(memory, c.slab_units, size_class_)) {
    grant.zone->free_block(grant.run.head, Order(c.slab_order), 0);
    return false;
  }
  SlabView slab = view(static_cast<UnitIndex>(grant.run.head >> (kSlabUnitShift - kPageShift)));
  slab.init(size_class_);
  slab.desc.idle_since = tick_;
  // Memory that came with the pages is to go with them too, used or not.
  slab.desc.touched = grant.run.resident_mask;
  link(slab);
  ++nr_slabs_;
  ++nr_empty_;
  count_free(c.objects);
  publish_slabs();
  return true;
}

void Depot::release_slab(SlabView slab) {
  const SizeClass& c = slab.size_class();
  unlink(slab);
  --nr_slabs_;
  --nr_empty_;
  count_free(-int64_t{c.objects});
  publish_slabs();
  // Clearing never needs more of the map than setting did.
  WEIR_CHECK(map_->set(slab.memory, c.slab_units, 0));
  zone().free_block(zone().pfn_of(slab.memory), Order(c.slab_order), slab.desc.touched);
}

unsigned Depot::refill(void** out, unsigned want, bool apart) {
  LockGuard guard(mutex_);
  if (nr_transfer_ != 0 && !apart) {
    const unsigned n = want < nr_transfer_ ? want : nr_transfer_;
    nr_transfer_ = static_cast<uint16_t>(nr_transfer_ - n);
    if (nr_transfer_ < least_transfer_) least_transfer_ = nr_transfer_;
    memcpy(out, transfer_ + nr_transfer_, n * sizeof(void*));
    count_free(-int64_t{n});
    return n;
  }
  void** end = out + want;
  unsigned got = 0;
  while (got < want) {
    if (first_ == kNoUnit && (got != 0 || !(add_slab() || wait_for_slab()))) break;
    SlabView slab = view(first_);
    if (slab.desc.nr_free == slab.size_class().objects) --nr_empty_;
    const unsigned n = slab.take(end, want - got, apart);
    slab.desc.idle_since = tick_;
    end -= n;
    got += n;
    if (slab.desc.nr_free == 0) unlink(slab);
  }
  count_free(-int64_t{got});
  if (got != want) memmove(out, end, got * sizeof(void*));
  return got;
}

BadFree Depot::give_to_slabs(void* const* objects, unsigned count, bool in_use) {
  count_free(count);
  for (unsigned i = 0; i < count; ++i) {
    SlabView slab = view_of(objects[i]);
    const FreeVerdict verdict = slab.give(objects[i]);
    if (verdict != FreeVerdict::kOk) return {objects[i], verdict};
    if (in_use) slab.desc.idle_since = tick_;
    if (!slab.desc.on_list) link(slab);
    if (slab.desc.nr_free == slab.size_class().objects) {
      ++nr_empty_;
      // One empty slab stays, so that a program at the edge does not trade it with the zone at every step.
      if (nr_empty_ > 1) release_slab(slab);
    }
  }
  return {};
}

BadFree Depot::flush(void* const* objects, unsigned count) {
  LockGuard guard(mutex_);
  const unsigned room = kTransferBatches * kSizeClasses[size_class_].batch - nr_transfer_;
  const unsigned kept = count < room ? count : room;
  memcpy(transfer_ + nr_transfer_, objects, kept * sizeof(void*));
  nr_transfer_ = static_cast<uint16_t>(nr_transfer_ + kept);
  count_free(kept);
  return give_to_slabs(objects + kept, count - kept, true);
}

BadFree Depot::flush_checked(void* const* objects, unsigned count) {
  LockGuard guard(mutex_);
  return give_to_slabs(objects, count, true);
}

FreeVerdict Depot::check(const void* object) {
  LockGuard guard(mutex_);
  return view_of(object).check(object);
}

void Depot::purge_idle_pages(SlabView slab) {
  const uint64_t pages = slab.idle_pages();
  const size_t end = (size_t{slab.size_class().slab_mask} + 1) >> kPageShift;
  for (size_t p = bitmap::find_next(&pages, 0, end, true); p < end; p = bitmap::find_next(&pages, p, end, true)) {
    const size_t next = bitmap::find_next(&pages, p, end, false);
    if (!zone().drop_pages(zone().pfn_of(slab.memory + (p << kPageShift)), Pages(next - p))) return;  // mlocked
    bitmap::clear_range(&slab.desc.touched, p, next - p);
    p = next;
  }
}

// Gives back what slabs hold that were idle for that many ticks. Returns the pages of empty slabs that went to the
// zone.
Pages Depot::purge_slabs(unsigned min_idle_ticks) {
  Pages released;
  mutex_.lock();
  cursor_ = first_;
  for (unsigned seen = 1; cursor_ != kNoUnit; ++seen) {
    // A list may have a million slabs; whoever waits for the lock is let in between.
    if (seen % kSlabsPerHold == 0) {
      mutex_.unlock();
      mutex_.lock();
      if (cursor_ == kNoUnit) break;
    }
    SlabView slab = view(cursor_);
    cursor_ = slab.desc.next;
    const unsigned idle = static_cast<uint16_t>(tick_ - slab.desc.idle_since);
    if (idle < min_idle_ticks) continue;
    if (slab.desc.nr_free == slab.size_class().objects) {
      released += Pages(static_cast<uint64_t>(std::popcount(slab.desc.touched)));
      release_slab(slab);
    } else if (slab.desc.touched != 0) {
      purge_idle_pages(slab);
    }
  }
  mutex_.unlock();
  return released;
}

// What lay in the transfer cache since the last tick goes to the slabs; the oldest lie at the bottom.
BadFree Depot::age_transfer() {
  LockGuard guard(mutex_);
  ++tick_;
  const unsigned unused = least_transfer_;
  least_transfer_ = nr_transfer_;
  if (unused == 0) return {};
  count_free(-int64_t{unused});
  const BadFree bad = give_to_slabs(transfer_, unused, false);
  if (bad.object != nullptr) return bad;
  memmove(transfer_, transfer_ + unused, (nr_transfer_ - unused) * sizeof(void*));
  nr_transfer_ = static_cast<uint16_t>(nr_transfer_ - unused);
  least_transfer_ = nr_transfer_;
  return {};
}

BadFree Depot::decay_tick(Pages& released) {
  const BadFree bad = age_transfer();
  if (bad.object == nullptr) released += purge_slabs(kIdleTicks);
  return bad;
}

BadFree Depot::release_all() {
  {
    LockGuard guard(mutex_);
    const unsigned count = nr_transfer_;
    count_free(-int64_t{count});
    nr_transfer_ = least_transfer_ = 0;
    const BadFree bad = give_to_slabs(transfer_, count, false);
    if (bad.object != nullptr) return bad;
  }
  purge_slabs(0);
  return {};
}

DepotStats Depot::stats() {
  LockGuard guard(mutex_);
  DepotStats s;
  s.slabs = nr_slabs_;
  s.transfer_objects = nr_transfer_;
  s.empty_slabs = nr_empty_;
  s.free_objects = free_objects_.load(std::memory_order_relaxed) - nr_transfer_;
  return s;
}

const char* Depot::verify_locked(Pages& pages) const {
  pages += Pages(uint64_t{nr_slabs_} << kSizeClasses[size_class_].slab_order);
  uint64_t free = nr_transfer_;
  uint32_t empty = 0;
  UnitIndex prev = kNoUnit;
  for (UnitIndex unit = first_; unit != kNoUnit; unit = view(unit).desc.next) {
    const SlabView slab = view(unit);
    if (slab.desc.size_class != size_class_) return "a slab of another class is on the list";
    if (slab.desc.prev != prev || !slab.desc.on_list) return "the slab list is torn";
    if (slab.desc.nr_free != slab.count_free() || slab.desc.nr_free == 0) return "a slab's free objects are miscounted";
    free += slab.desc.nr_free;
    empty += slab.desc.nr_free == slab.size_class().objects;
    prev = unit;
  }
  if (empty != nr_empty_) return "empty slabs are miscounted";
  if (free != free_objects_.load(std::memory_order_relaxed)) return "free objects of a class are miscounted";
  return nullptr;
}

}  // namespace weir
