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
                 weir_stats_slab* published, uint8_t lane, KeptSlabs* kept) {
  kept_ = kept;
  lane_ = lane;
  published_ = published;
  transfer_ = transfer;
  source_ = &source;
  map_ = &map;
  node_ = node;
  size_class_ = static_cast<uint8_t>(size_class);
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

void Depot::insert(UnitIndex& list, SlabView slab) {
  const UnitIndex unit = unit_of(slab);
  slab.desc.next = list;
  slab.desc.prev = kNoUnit;
  if (list != kNoUnit) view(list).desc.prev = unit;
  list = unit;
}

void Depot::remove(UnitIndex& list, SlabView slab) {
  SlabDesc& d = slab.desc;
  if (d.prev != kNoUnit)
    view(d.prev).desc.next = d.next;
  else
    list = d.next;
  if (d.next != kNoUnit) view(d.next).desc.prev = d.prev;
}

void Depot::link(SlabView slab) {
  // At the front: a slab enters the list nearly full, and filling the fullest first lets the others run empty.
  insert(first_, slab);
  slab.desc.on_list = true;
}

void Depot::unlink(SlabView slab) {
  remove(first_, slab);
  if (cursor_ == unit_of(slab)) cursor_ = slab.desc.next;
  slab.desc.on_list = false;
}

PageRequest Depot::slab_request(Mark lowest) const {
  PageRequest request;
  request.node = node_;
  request.count = pages_of(Order(kSizeClasses[size_class_].slab_order));
  request.block = true;
  request.this_node_only = true;
  request.may_wait = false;
  request.lowest = lowest;
  return request;
}

// Under a limit, room for a slab may have to be waited for: without the lock. False: there is no object.
bool Depot::wait_for_slab() {
  for (unsigned tries = 0; tries < PageSource::kMostRetries; ++tries) {
    mutex_.unlock();
    const bool room = source_->wait_for_pages(slab_request());
    mutex_.lock();
    // Something may have come in the last moment.
    if (first_ != kNoUnit || add_slab()) return true;
    if (!room) return false;
  }
  return false;
}

bool Depot::add_slab(Mark lowest) {
  const SizeClass& c = kSizeClasses[size_class_];
  const PageGrant grant = source_->alloc_pages(slab_request(lowest));
  if (!grant) return false;
  char* memory = grant.zone->address(grant.run.head);
  // Whoever finds the class in the map finds the tag.
  if (owner_ != nullptr) tag_slab(*grant.zone, grant.run.head, c.slab_units, tag());
  if (!map_->set(memory, c.slab_units, owner_ != nullptr ? kHeapClass : size_class_)) {
    grant.zone->free_block(grant.run.head, Order(c.slab_order), 0);
    return false;
  }
  SlabView slab = view(static_cast<UnitIndex>(grant.run.head >> (kSlabUnitShift - kPageShift)));
  slab.init(size_class_, lane_);
  slab.desc.idle_since = tick_;
  // Memory that came with the pages is to go with them too, used or not.
  slab.desc.touched = grant.run.resident_mask;
  link(slab);
  ++nr_slabs_;
  count_empty(1);
  count_free(c.objects);
  publish_slabs();
  return true;
}

void Depot::count_empty(int change) {
  nr_empty_ += static_cast<uint32_t>(change);
  if (kept_ == nullptr) return;
  const uint64_t bytes = uint64_t{kSizeClasses[size_class_].slab_mask} + 1;
  kept_->bytes.fetch_add(change > 0 ? bytes : -bytes, std::memory_order_relaxed);
}

void Depot::release_slab(SlabView slab) {
  const SizeClass& c = slab.size_class();
  unlink(slab);
  --nr_slabs_;
  count_empty(-1);
  count_free(-int64_t{c.objects});
  publish_slabs();
  // Clearing never needs more of the map than setting did.
  WEIR_CHECK(map_->set(slab.memory, c.slab_units, 0));
  zone().free_block(zone().pfn_of(slab.memory), Order(c.slab_order), slab.desc.touched);
  if (owner_ != nullptr) owner_->uncharge(pages_of(Order(c.slab_order)));
}

unsigned Depot::take_transfer(void** out, unsigned want) {
  const unsigned n = want < nr_transfer_ ? want : nr_transfer_;
  set_transfer(nr_transfer_ - n);
  if (nr_transfer_ < least_transfer_) least_transfer_ = nr_transfer_;
  memcpy(out, transfer_ + nr_transfer_, n * sizeof(void*));
  count_free(-int64_t{n});
  return n;
}

unsigned Depot::take_from_slabs(void** out, unsigned want, bool apart) {
  void** end = out + want;
  unsigned got = 0;
  while (got < want && first_ != kNoUnit) {
    SlabView slab = view(first_);
    if (slab.desc.nr_free == slab.size_class().objects) count_empty(-1);
    const unsigned n = slab.take(end, want - got, apart);
    slab.desc.idle_since = tick_;
    end -= n;
    got += n;
    if (slab.desc.nr_free != 0) continue;
    unlink(slab);
    if (owner_ != nullptr) insert(full_, slab);
  }
  count_free(-int64_t{got});
  if (got != want) memmove(out, end, got * sizeof(void*));
  return got;
}

unsigned Depot::refill(void** out, unsigned want, Grow grow, bool apart) {
  LockGuard guard(mutex_);
  if (!apart && nr_transfer_ != 0) return take_transfer(out, want);
  const Mark lowest = grow == Grow::kAboveLow ? Mark::kLow : Mark::kMin;
  if (first_ != kNoUnit || (grow != Grow::kNo && add_slab(lowest))) return take_from_slabs(out, want, apart);
  if (nr_transfer_ != 0) return take_transfer(out, want);
  return grow == Grow::kOrWait && wait_for_slab() ? take_from_slabs(out, want, apart) : 0;
}

unsigned Depot::keep(void* const* objects, unsigned count) {
  LockGuard guard(mutex_);
  const unsigned room = transfer_room() - nr_transfer_;
  const unsigned kept = count < room ? count : room;
  memcpy(transfer_ + nr_transfer_, objects, kept * sizeof(void*));
  set_transfer(nr_transfer_ + kept);
  count_free(kept);
  return kept;
}

BadFree Depot::give(void* const* objects, unsigned& count, Use use) {
  LockGuard guard(mutex_);
  unsigned given = 0;
  BadFree bad;
  while (given < count && bad.object == nullptr) {
    SlabView slab = view_of(objects[given]);
    if (slab.desc.lane != lane_) break;
    const unsigned here = slab.give_many(objects + given, count - given, bad.verdict);
    given += here;
    if (bad.verdict != FreeVerdict::kOk) bad.object = objects[given];
    count_free(here);
    if (here != 0) note_given(slab, use);
  }
  count = given;
  return bad;
}

// A slab has got objects back.
void Depot::note_given(SlabView slab, Use use) {
  if (use == Use::kNow) slab.desc.idle_since = tick_;
  if (!slab.desc.on_list) {
    if (owner_ != nullptr) remove(full_, slab);
    link(slab);
  }
  if (slab.desc.nr_free == slab.size_class().objects) {
    count_empty(1);
    // One empty slab stays at least, so that a program at the edge does not trade it with the zone at every step.
    if (!keeps_empty()) release_slab(slab);
  }
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

// The oldest lie at the bottom.
unsigned Depot::take_oldest(void** out, unsigned most, Transfer which) {
  LockGuard guard(mutex_);
  const unsigned unused = which == Transfer::kAll ? nr_transfer_ : least_transfer_;
  const unsigned n = unused < most ? unused : most;
  if (n == 0) return 0;
  memcpy(out, transfer_, n * sizeof(void*));
  memmove(transfer_, transfer_ + n, (nr_transfer_ - n) * sizeof(void*));
  set_transfer(nr_transfer_ - n);
  least_transfer_ = static_cast<uint16_t>(least_transfer_ < n ? 0 : least_transfer_ - n);
  count_free(-int64_t{n});
  return n;
}

void Depot::end_tick(Pages& released) {
  {
    LockGuard guard(mutex_);
    ++tick_;
    least_transfer_ = nr_transfer_;
  }
  released += purge_slabs(kIdleTicks);
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

// Adds what is on a list: of slabs with free objects, or of those without.
const char* Depot::verify_list(UnitIndex list, bool with_free, uint64_t& free, uint32_t& slabs) const {
  UnitIndex prev = kNoUnit;
  for (UnitIndex unit = list; unit != kNoUnit; unit = view(unit).desc.next) {
    const SlabView slab = view(unit);
    if (slab.desc.size_class != size_class_) return "a slab of another class is on the list";
    if (slab.desc.prev != prev || slab.desc.on_list != with_free) return "the slab list is torn";
    if (slab.desc.nr_free != slab.count_free() || (slab.desc.nr_free != 0) != with_free)
      return "a slab's free objects are miscounted";
    if (owner_ != nullptr)
      for (unsigned i = 0; i < slab.size_class().slab_units; ++i)
        if (!owns(slab.memory + i * kSlabUnitSize)) return "a slab does not say whose it is";
    free += slab.desc.nr_free;
    ++slabs;
    prev = unit;
  }
  return nullptr;
}

const char* Depot::verify_locked(Pages& pages) const {
  pages += Pages(uint64_t{nr_slabs_} << kSizeClasses[size_class_].slab_order);
  uint64_t free = nr_transfer_;
  uint32_t empty = 0, slabs = 0;
  if (const char* wrong = verify_list(first_, true, free, slabs)) return wrong;
  for (UnitIndex unit = first_; unit != kNoUnit; unit = view(unit).desc.next)
    empty += view(unit).desc.nr_free == kSizeClasses[size_class_].objects;
  if (empty != nr_empty_) return "empty slabs are miscounted";
  if (owner_ != nullptr) {
    if (const char* wrong = verify_list(full_, false, free, slabs)) return wrong;
    if (slabs != nr_slabs_) return "slabs of an owner are miscounted";
  }
  if (free != free_objects_.load(std::memory_order_relaxed)) return "free objects of a class are miscounted";
  return nullptr;
}

}  // namespace weir
