#include "heap/heap.h"

#include <cstring>
#include <new>

#include "base/check.h"
#include "base/publish.h"

namespace weir {
namespace {

// The list of a heap's runs goes through the second page of each.
PageDesc& links_of(const Zone& zone, Pfn head) {
  return zone.desc(head + 1);
}

Pages length_of(const RunView& run) {
  return Pages(run.zone->desc(run.head).count);
}

static_assert(sizeof(weir_stats_heap::name) == Heap::kNameBytes);

uint64_t limit_pages(uint64_t bytes) {
  return bytes == 0 ? PageOwner::kNoLimit : bytes >> kPageShift;
}

}  // namespace

void Heap::init(Allocator& allocator, Depot* depots, uint32_t index) {
  allocator_ = &allocator;
  depots_ = depots;
  const StatsPage* page = allocator.stats_page();
  owner_.init(index, page != nullptr ? page->heap(index - 1) : nullptr);
}

void Heap::open(const HeapSettings& settings, NodeId node, const char* name, size_t length, uint64_t serial) {
  node_.store(node.v, std::memory_order_relaxed);
  for_depots([&](Depot& d, size_t) { d.move_to(node); });
  owner_.reset(limit_pages(settings.limit), settings.noswap);
  set_soft_limit(settings.soft_limit);
  set_oom_score_adj(settings.oom_score_adj);
  flags_ = settings.flags;
  oom_policy_ = settings.oom_policy;
  on_oom = settings.on_oom;
  oom_arg = settings.oom_arg;
  held_at_last_kill = Pages(0);
  serial_ = serial;
  limit_hits_.store(0, std::memory_order_relaxed);
  limit_failures_.store(0, std::memory_order_relaxed);
  memcpy(name_, name, length);
  name_[length] = '\0';
  owner_.next_generation();
  show_all();
}

void Heap::close() {
  if (weir_stats_heap* row = owner_.row()) publish(row->id, uint64_t{0});
  owner_.next_generation();
}

void Heap::set_limit(uint64_t bytes) {
  owner_.set_limit(limit_pages(bytes));
}

void Heap::make_depot(size_t size_class) {
  if (has_depot(size_class)) return;
  Depot* d = new (&depot(size_class)) Depot();
  d->init_owned(allocator_->pages(), allocator_->owned_map(), node(), size_class, owner_);
  made_.fetch_or(uint64_t{1} << (size_class - 1), std::memory_order_release);
}

// How a depot's answer is told; the object is not in it yet.
Heap::Got Heap::taken(Depot::Take how, size_t size_class) const {
  Got got;
  switch (how) {
    case Depot::Take::kTaken:
      break;
    case Depot::Take::kStale:
      got.refusal = Refusal::kStale;
      break;
    case Depot::Take::kOverLimit:
      got.refusal = Refusal::kOverLimit;
      got.wanted = pages_of(Order(kSizeClasses[size_class].slab_order));
      break;
    case Depot::Take::kNoMemory:
      got.refusal = Refusal::kNoMemory;
      break;
  }
  return got;
}

Heap::Got Heap::alloc_small(uint64_t generation, size_t size_class) {
  void* object = nullptr;
  unsigned count = 1;
  bool due = false;
  Got got = taken(depot(size_class).take_owned(generation, &object, count, due), size_class);
  got.object = object;
  got.due = due;
  return got;
}

Heap::Got Heap::alloc_cached(HeapCache& cache, size_t size_class) {
  uint8_t& count = cache.count[size_class];
  Got got;
  if (count == 0) {
    unsigned wanted = cache.fill[size_class];
    bool due = false;
    got = taken(depot(size_class).take_owned(cache.id.generation(), cache.slots[size_class], wanted, due), size_class);
    got.due = due;
    if (got.refusal != Refusal::kNone) return got;
    count = static_cast<uint8_t>(wanted);
    const unsigned most = HeapCache::slots_of(size_class) / 2;
    cache.fill[size_class] =
        static_cast<uint8_t>(2u * cache.fill[size_class] < most ? 2u * cache.fill[size_class] : most);
  }
  got.object = cache.slots[size_class][--count];
  return got;
}

BadPointer Heap::free_cached(HeapCache& cache, void* object, size_t size_class, bool& due) {
  const SizeClass& c = kSizeClasses[size_class];
  const uint64_t offset = reinterpret_cast<uintptr_t>(object) & c.slab_mask;
  const uint64_t index = offset * c.reciprocal >> 32;
  if (index * c.size != offset || index >= c.objects) return bad(Misuse::kInsideObject, object, size_class);
  uint8_t& count = cache.count[size_class];
  void** slots = cache.slots[size_class];
  // As in other caches: a second free right after the first is seen here, any other one when it reaches the slab.
  if (count != 0 && slots[count - 1] == object) return bad(Misuse::kDoubleFree, object, size_class);
  if (count == HeapCache::slots_of(size_class)) {
    due = true;
    const BadPointer wrong = flush_oldest(cache, size_class, count / 2u);
    if (wrong.misuse != Misuse::kNone) return wrong;
  }
  slots[count++] = object;
  return {};
}

BadPointer Heap::flush_oldest(HeapCache& cache, size_t size_class, unsigned count) {
  void** slots = cache.slots[size_class];
  const BadFree wrong = depot(size_class).give_kept(cache.id.generation(), slots, count);
  const unsigned left = cache.count[size_class] - count;
  memmove(slots, slots + count, left * sizeof(void*));
  cache.count[size_class] = static_cast<uint8_t>(left);
  if (wrong.object == nullptr) return {};
  return bad(wrong.verdict == FreeVerdict::kDoubleFree ? Misuse::kDoubleFree : Misuse::kInsideObject, wrong.object,
             size_class);
}

BadPointer Heap::flush(HeapCache& cache) {
  BadPointer wrong;
  for (size_t c = 1; c < HeapCache::kClasses && wrong.misuse == Misuse::kNone; ++c)
    if (cache.count[c] != 0) wrong = flush_oldest(cache, c, cache.count[c]);
  return wrong;
}

BadPointer Heap::bad(Misuse misuse, const void* object, size_t size_class) const {
  return {misuse, object, size_class != 0 ? kSizeClasses[size_class].size : 0, name_};
}

BadPointer Heap::free_small(void* object, size_t size_class, bool& due) {
  if (!has_depot(size_class)) return bad(Misuse::kNotGivenOut, object, 0);
  Depot& d = depot(size_class);
  // What was in an emptied heap is gone already.
  if (clears() && is_open()) {
    const std::optional<FreeVerdict> verdict = d.check_owned(object);
    if (verdict == FreeVerdict::kOk) memset(object, 0, kSizeClasses[size_class].size);
  }
  const std::optional<FreeVerdict> verdict = d.give_owned(object, due);
  if (!verdict) return bad(Misuse::kNotGivenOut, object, 0);
  if (*verdict == FreeVerdict::kOk) return {};
  return bad(*verdict == FreeVerdict::kDoubleFree ? Misuse::kDoubleFree : Misuse::kInsideObject, object, size_class);
}

// Charges pages that are about to be taken for a run.
bool Heap::begin(Pages count) {
  LockGuard guard(mutex_);
  if (!owner_.charge(count)) return false;
  moving_pages_ += count.v;
  return true;
}

// Of `count` pages that are charged so many belong to runs now.
void Heap::end_taking(Pages count, Pages taken) {
  LockGuard guard(mutex_);
  moving_pages_ -= count.v;
  run_pages_ += taken.v;
  owner_.uncharge(count - taken);
}

void Heap::link(const RunView& run) {
  PageDesc& links = links_of(*run.zone, run.head);
  links.next = first_run_;
  links.prev = kNoPfn;
  if (first_run_ != kNoPfn) links_of(*run.zone, first_run_).prev = run.head;
  first_run_ = run.head;
  ++nr_runs_;
}

void Heap::unlink(const RunView& run) {
  PageDesc& links = links_of(*run.zone, run.head);
  if (links.prev != kNoPfn)
    links_of(*run.zone, links.prev).next = links.next;
  else
    first_run_ = links.next;
  if (links.next != kNoPfn) links_of(*run.zone, links.next).prev = links.prev;
  --nr_runs_;
}

Heap::Got Heap::alloc_run(uint64_t generation, size_t size, size_t alignment, bool zero) {
  Got got;
  const Pages most = allocator_->owned_run_pages(size, alignment);
  if (!begin(most)) {
    got.refusal = Refusal::kOverLimit;
    got.wanted = most;
    return got;
  }
  const RunView run = allocator_->alloc_owned_run(node(), size, alignment, zero);
  if (run.zone == nullptr) {
    end_taking(most, Pages(0));
    got.refusal = owner_.is(generation) ? Refusal::kNoMemory : Refusal::kStale;
    return got;
  }
  void* object = allocator_->object_of(run);
  run.zone->own(run.head, length_of(run), owner_);
  if (owner_.noswap()) run.zone->keep(run.head, length_of(run));
  {
    LockGuard guard(mutex_);
    if (owner_.is(generation)) {
      moving_pages_ -= most.v;
      run_pages_ += length_of(run).v;
      owner_.uncharge(most - length_of(run));
      tag_run(run.zone->desc(run.head), OwnerTag::of(owner_.index(), 0));
      link(run);
      got.object = object;
      return got;
    }
  }
  static_cast<void>(allocator_->release_run(run, object));
  end_taking(most, Pages(0));
  got.refusal = Refusal::kStale;
  return got;
}

BadPointer Heap::free_run(void* object) {
  RunView run;
  Pages length;
  {
    LockGuard guard(mutex_);
    run = allocator_->find_run(object);
    // Of several threads that free it, the first one wins.
    if (run.zone == nullptr || run_tag(run.zone->desc(run.head)).bits != OwnerTag::of(owner_.index(), 0).bits)
      return bad(Misuse::kNotGivenOut, object, 0);
    length = length_of(run);
    unlink(run);
    run.zone->desc(run.head).next &= ~kOwnedRun;
    run_pages_ -= length.v;
    moving_pages_ += length.v;
  }
  const BadPointer result = allocator_->release_run(run, object);
  end_taking(length, Pages(0));
  return result;
}

Heap::Refusal Heap::grow_run(const RunView& run, Pages wanted) {
  const Pages extra = wanted - length_of(run);
  if (!begin(extra)) return Refusal::kOverLimit;
  const Pages before = length_of(run);
  const bool grown = allocator_->extend_owned_run(run, wanted);
  if (grown) run.zone->own(run.head + static_cast<Pfn>(before.v), extra, owner_);
  if (grown && owner_.noswap()) run.zone->keep(run.head + static_cast<Pfn>(before.v), extra);
  end_taking(extra, grown ? extra : Pages(0));
  return grown ? Refusal::kNone : Refusal::kNoMemory;
}

void Heap::cut_run(const RunView& run, Pages wanted) {
  const Pages tail = length_of(run) - wanted;
  {
    LockGuard guard(mutex_);
    run_pages_ -= tail.v;
    moving_pages_ += tail.v;
  }
  allocator_->shrink_run(run, wanted);
  end_taking(tail, length_of(run) - wanted);
}

// To a new run of `count` pages. It is nobody's while its pages move.
Heap::Refusal Heap::move_run(RunView& run, Pages count) {
  const Pages now = length_of(run);
  if (!begin(count)) return Refusal::kOverLimit;
  {
    LockGuard guard(mutex_);
    unlink(run);
    run.zone->desc(run.head).next &= ~kOwnedRun;
    run_pages_ -= now.v;
    moving_pages_ += now.v;
  }
  const RunView longer = allocator_->move_run(run, count);
  const bool moved = longer.zone != nullptr;
  if (moved) run = longer;
  LockGuard guard(mutex_);
  tag_run(run.zone->desc(run.head), OwnerTag::of(owner_.index(), 0));
  link(run);
  run_pages_ += length_of(run).v;
  moving_pages_ -= count.v + now.v;
  owner_.uncharge(moved ? now : count);
  return moved ? Refusal::kNone : Refusal::kNoMemory;
}

Heap::Refusal Heap::resize_run(RunView& run, size_t size) {
  if (!allocator_->can_resize_runs()) return Refusal::kNoMemory;
  Pages wanted = pages_of(size);
  if (wanted < kLeastOwnedRun) wanted = kLeastOwnedRun;
  if (wanted <= length_of(run)) {
    if (allocator_->shrinks_to(run, wanted)) cut_run(run, wanted);
    return Refusal::kNone;
  }
  const Refusal in_place = grow_run(run, wanted);
  if (in_place != Refusal::kNoMemory || !allocator_->can_move_run(run)) return in_place;
  if (move_run(run, Allocator::with_room(wanted)) == Refusal::kNone) return Refusal::kNone;
  // At the limit no more can be done: old and new pages are charged while they move.
  return move_run(run, wanted) == Refusal::kNone ? Refusal::kNone : Refusal::kNoMemory;
}

Pages Heap::trim() {
  const Pages before = owner_.charged();
  for_depots([](Depot& d, size_t) {
    if (d.free_objects_estimate() != 0) d.release_slabs();
  });
  const Pages after = owner_.charged();
  return before > after ? before - after : Pages(0);
}

void Heap::decay_tick(Pages& released) {
  for_depots([&](Depot& d, size_t) {
    if (d.free_objects_estimate() != 0) d.end_tick(released);
  });
}

size_t Heap::free_bytes() const {
  size_t total = 0;
  for_depots([&](const Depot& d, size_t c) { total += d.free_objects_estimate() * size_t{kSizeClasses[c].size}; });
  return total;
}

void Heap::add_free_objects(uint64_t* by_class) const {
  for_depots([&](const Depot& d, size_t c) { by_class[c] += d.free_objects_estimate(); });
}

Pages Heap::release_all() {
  Pages released;
  for_depots([&](Depot& d, size_t) { released += d.release_owned(clears()); });
  for (;;) {
    void* object;
    {
      LockGuard guard(mutex_);
      if (first_run_ == kNoPfn) return released;
      const RunView run{&allocator_->pages().zone(node()), first_run_};
      object = allocator_->object_of(run);
      released += length_of(run);
    }
    static_cast<void>(free_run(object));
  }
}

Pages Heap::retire_all() {
  Pages retired;
  for_depots([&](Depot& d, size_t) { retired += d.retire_owned(); });
  LockGuard guard(mutex_);
  Zone& zone = allocator_->pages().zone(node());
  for (Pfn head = first_run_; head != kNoPfn; head = links_of(zone, head).next) {
    zone.retire(head, length_of({&zone, head}));
    retired += length_of({&zone, head});
  }
  return retired;
}

// Runs that are being resized may be longer or shorter by what is on the way.
const char* Heap::verify_runs() const {
  uint64_t runs = 0, pages = 0;
  Pfn prev = kNoPfn;
  const Zone& zone = allocator_->pages().zone(node());
  for (Pfn head = first_run_; head != kNoPfn; head = links_of(zone, head).next) {
    const PageDesc& d = zone.desc(head);
    if (d.state != PageState::kRun) return "a heap's list of runs names pages that are no run";
    if (run_tag(d).bits != OwnerTag::of(owner_.index(), 0).bits) return "a run does not say whose it is";
    if (links_of(zone, head).prev != prev) return "a heap's list of runs is torn";
    ++runs;
    pages += d.count;
    prev = head;
  }
  if (runs != nr_runs_) return "a heap's runs are miscounted";
  return pages < run_pages_ || pages > run_pages_ + moving_pages_ ? "a heap's pages in runs are miscounted" : nullptr;
}

const char* Heap::verify(Pages& slab_pages) {
  Pages own;
  const char* wrong = nullptr;
  for_depots([&](const Depot& d, size_t) {
    if (wrong == nullptr) wrong = d.verify_locked(own);
  });
  if (wrong == nullptr) wrong = verify_runs();
  if (wrong != nullptr) return wrong;
  if (owner_.swapped() + owner_.standby() > owner_.charged()) return "a heap has more pages away than it has";
  if (owner_.charged().v != own.v + run_pages_ + moving_pages_) return "a heap's charged pages differ from what it has";
  slab_pages += own;
  return nullptr;
}

void Heap::lock_depots() {
  for_depots([](Depot& d, size_t) { d.mutex().lock_for_fork(); });
}

void Heap::unlock_depots() {
  for_depots([](Depot& d, size_t) { d.mutex().unlock_for_fork(); });
}

// The threads that were taking pages, or giving them back, are not there; what became of the pages is as unknown as
// what those threads had in their caches.
void Heap::after_fork_in_child() {
  owner_.uncharge(Pages(moving_pages_));
  moving_pages_ = 0;
  // Counted again when reclaim settles what was in transition.
  owner_.forget_away();
  is_being_emptied.store(false, std::memory_order_relaxed);
}

}  // namespace weir
