// Depots whose slabs belong to somebody (the part of Depot that deals with them): a page is charged before it is taken
// and uncharged after it was given back, both under the depot's lock, so that whoever holds it sees them agree.
#include "base/check.h"
#include "malloc/depot.h"

namespace weir {
namespace {

// Calls between two looks at whether decay has something to do: as rare as with thread caches, whose bins hold up to
// 256 objects of which half go at a time.
constexpr uint8_t kOpsPerPoll = 128;
// Slabs given up before the lock is let go for a moment, as in Depot::purge_slabs.
constexpr unsigned kSlabsPerHold = 256;

}  // namespace

void Depot::init_owned(PageSource& source, AddressMap& map, NodeId node, size_t size_class, PageOwner& owner) {
  init(source, map, node, size_class, nullptr, nullptr, 0, nullptr);
  owner_ = &owner;
}

bool Depot::is_due() {
  if (++ops_ < kOpsPerPoll) return false;
  ops_ = 0;
  return true;
}

// An object that another thread freed meanwhile, or destroyed with its heap, may lie where somebody else's pages are.
bool Depot::owns(const void* object) const {
  return source_->zone_of(object) == &zone() && map_->class_at(map_->offset_of(object)) == kHeapClass &&
         slab_tag(zone(), object).bits == tag().bits;
}

Depot::Take Depot::add_owned_slab() {
  const Pages pages = pages_of(Order(kSizeClasses[size_class_].slab_order));
  if (!owner_->charge(pages)) return Take::kOverLimit;
  if (add_slab()) {
    const Pfn first = zone().pfn_of(view(first_).memory);
    zone().own(first, pages, *owner_);
    if (owner_->noswap()) zone().keep(first, pages);
    return Take::kTaken;
  }
  owner_->uncharge(pages);
  return Take::kNoMemory;
}

Depot::Take Depot::take_owned(uint64_t generation, void** out, unsigned& count, bool& due) {
  LockGuard guard(mutex_);
  for (unsigned tries = 0;; ++tries) {
    if (!owner_->is(generation)) return Take::kStale;
    if (first_ != kNoUnit) break;
    const Take added = add_owned_slab();
    if (added == Take::kTaken) break;
    if (added == Take::kOverLimit || tries >= PageSource::kMostRetries) return added;
    // Under a limit of the process, room may have to be waited for: without the lock.
    mutex_.unlock();
    const bool room = source_->wait_for_pages(slab_request());
    mutex_.lock();
    // A last look, for what came in the last moment.
    if (!room) tries = PageSource::kMostRetries;
  }
  count = take_from_slabs(out, count, false);
  due = is_due();
  return Take::kTaken;
}

std::optional<FreeVerdict> Depot::give_owned(void* object, bool& due) {
  LockGuard guard(mutex_);
  if (!owns(object)) return {};
  SlabView slab = view_of(object);
  const FreeVerdict verdict = slab.give(object);
  if (verdict != FreeVerdict::kOk) return verdict;
  count_free(1);
  note_given(slab, Use::kNow);
  due = is_due();
  return verdict;
}

BadFree Depot::give_kept(uint64_t generation, void* const* objects, unsigned count) {
  LockGuard guard(mutex_);
  if (!owner_->is(generation)) return {};
  for (unsigned i = 0; i < count; ++i) {
    // Freed by somebody else as well, and its slab with it.
    if (!owns(objects[i])) return {objects[i], FreeVerdict::kDoubleFree};
    SlabView slab = view_of(objects[i]);
    const FreeVerdict verdict = slab.give(objects[i]);
    if (verdict != FreeVerdict::kOk) return {objects[i], verdict};
    count_free(1);
    note_given(slab, Use::kNow);
  }
  return {};
}

std::optional<FreeVerdict> Depot::check_owned(const void* object) {
  LockGuard guard(mutex_);
  if (!owns(object)) return {};
  return view_of(object).check(object);
}

Pages Depot::release_owned(bool clear) {
  Pages released;
  LockGuard guard(mutex_);
  for (unsigned seen = 1; first_ != kNoUnit || full_ != kNoUnit; ++seen) {
    // A heap may have a million slabs; whoever waits for the lock is let in between.
    if (seen % kSlabsPerHold == 0) {
      mutex_.unlock();
      mutex_.lock();
      if (first_ == kNoUnit && full_ == kNoUnit) break;
    }
    const bool is_full = first_ == kNoUnit;
    SlabView slab = view(is_full ? full_ : first_);
    if (is_full) {
      remove(full_, slab);
      link(slab);
    }
    const SizeClass& c = slab.size_class();
    // As release_slab expects it: a slab whose objects all came back.
    count_free(c.objects - slab.desc.nr_free);
    if (slab.desc.nr_free != c.objects) count_empty(1);
    const Pages pages = pages_of(Order(c.slab_order));
    if (clear && zone().drop_pages(zone().pfn_of(slab.memory), pages)) slab.desc.touched = 0;
    release_slab(slab);
    released += pages;
  }
  return released;
}

Pages Depot::retire_owned() {
  Pages retired;
  LockGuard guard(mutex_);
  for (const UnitIndex list : {first_, full_}) {
    for (UnitIndex unit = list; unit != kNoUnit; unit = view(unit).desc.next) {
      SlabView slab = view(unit);
      const Pages pages = pages_of(Order(slab.size_class().slab_order));
      zone().retire(zone().pfn_of(slab.memory), pages);
      slab.desc.touched = 0;
      retired += pages;
    }
  }
  return retired;
}

void Depot::move_to(NodeId node) {
  LockGuard guard(mutex_);
  WEIR_CHECK(nr_slabs_ == 0);
  node_ = node;
}

}  // namespace weir
