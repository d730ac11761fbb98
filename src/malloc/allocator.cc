#include "malloc/allocator.h"

#include <cstring>
#include <new>

#include "os/proc.h"
#include "os/undisturbed.h"
#include "os/vm.h"

namespace weir {
namespace {

constexpr size_t kCacheLine = 64;

// Between two looks for bins that nobody uses: often enough that a thread which changed its habits gives back within
// some thousand allocations, rare enough not to be felt.
constexpr uint32_t kSlowCallsPerScan = 64;
// Bins looked at in one go; all of them after about ten looks.
constexpr unsigned kBinsPerScan = 8;

// A thread that gave back this much without needing anything is tearing something down. Its bins then have this many
// slots: the depot's lock is still taken for some objects at a time, and 65 classes hold on to 2 MiB of pages at most.
constexpr uint64_t kOnlyFreeingBytes = uint64_t{16} << 20;
constexpr unsigned kSmallestBin = 8;

// How often reclaim is looked at again, a millisecond apart, before a difference counts: a thread that was about to
// take a lock gets a processor within a second.
constexpr unsigned kVerifyTries = 1000;

}  // namespace

unsigned Allocator::cache_slots(size_t size_class) const {
  return bin_slots(size_class, static_cast<size_t>(options_->tcache_bytes));
}

NodeId Allocator::home_node() const {
  if (nr_nodes_ == 1) return NodeId(0);
  return topology_->zonelist(topology_->cpu_to_node(os::current_cpu()))[0];
}

ThreadCache* Allocator::attach() {
  LockGuard guard(threads_mutex_);
  ThreadCache* cache = spare_;
  if (cache != nullptr) {
    spare_ = cache->next;
  } else {
    void* memory = os::vm_map(align_up(sizeof(ThreadCache), kPageSize));
    if (memory == nullptr) return nullptr;
    cache = new (memory) ThreadCache();
    cache->lane = next_lane_++ % NodeDepots::kLanes;
    for (NodeHeap* heap : nodes_)
      if (heap != nullptr) heap->depots.open_lane(cache->lane);
  }
  // Mistakes are found at once, and memory is cleared at once, only when nothing is kept in caches.
  const bool caching = options_->tcache && options_->tcache_bytes != 0 && !options_->zero_on_free;
  cache->reset(static_cast<size_t>(options_->tcache_bytes), caching);
  cache->node = home_node().v;
  cache->prev = nullptr;
  cache->next = live_;
  if (live_ != nullptr) live_->prev = cache;
  live_ = cache;
  nr_caches_.fetch_add(1, std::memory_order_relaxed);
  return cache;
}

BadPointer Allocator::detach(ThreadCache* cache) {
  BadPointer bad;
  for (unsigned c = 1; c < kNrSizeClasses && bad.misuse == Misuse::kNone; ++c)
    if (cache->count(c) != 0) bad = flush_oldest(cache, c, cache->count(c));
  for (RunBin& bin : cache->run_bins) flush_runs(bin, bin.count);
  if (cache->heap_cache != nullptr && bad.misuse == Misuse::kNone) bad = heaps()->detach(heaps()->self, cache);
  LockGuard guard(threads_mutex_);
  if (cache->prev != nullptr)
    cache->prev->next = cache->next;
  else
    live_ = cache->next;
  if (cache->next != nullptr) cache->next->prev = cache->prev;
  cache->next = spare_;
  spare_ = cache;
  nr_caches_.fetch_sub(1, std::memory_order_relaxed);
  return bad;
}

// STORY 1 for objects of several nodes, up to where it waits: what is free on any of them comes first, but for what
// zone_reclaim_mode has reclaimed on the nearest before.
unsigned Allocator::refill_without_waiting(NodeId node, size_t size_class, void** out, unsigned want, unsigned lane,
                                           bool apart) {
  PageRequest slab;
  slab.node = node;
  slab.count = pages_of(Order(kSizeClasses[size_class].slab_order));
  const std::span<const NodeId> nodes = pages_.zonelist(node);
  for (const NodeId from : nodes) {
    NodeDepots& depots = this->depots(from);
    if (const unsigned got = depots.refill(size_class, out, want, lane, apart, Depot::Grow::kAboveLow)) return got;
    if (from != nodes[0] || !pages_.node_reclaim(slab)) continue;
    if (const unsigned got = depots.refill(size_class, out, want, lane, apart, Depot::Grow::kAboveLow)) return got;
  }
  for (const NodeId from : nodes)
    if (const unsigned got = depots(from).refill(size_class, out, want, lane, apart, Depot::Grow::kAtOnce)) return got;
  return 0;
}

unsigned Allocator::refill(NodeId node, size_t size_class, void** out, unsigned want, unsigned lane, bool apart) {
  if (pages_.has_choice())
    if (const unsigned got = refill_without_waiting(node, size_class, out, want, lane, apart)) return got;
  for (const NodeId from : pages_.zonelist(node))
    if (const unsigned got = depots(from).refill(size_class, out, want, lane, apart)) return got;
  for (const NodeId from : pages_.zonelist(node))
    if (depots(from).release_empty())
      if (const unsigned got = depots(from).refill(size_class, out, want, lane, apart)) return got;
  if (pages_.compactor() == nullptr) return 0;
  // The slab that could not be had: with the depot's lock held nothing is moved.
  PageRequest slab;
  slab.node = node;
  slab.count = pages_of(Order(kSizeClasses[size_class].slab_order));
  if (!pages_.compact_for(slab)) return 0;
  for (const NodeId from : pages_.zonelist(node))
    if (const unsigned got = depots(from).refill(size_class, out, want, lane, apart)) return got;
  return 0;
}

BadFree Allocator::flush(size_t size_class, void* const* objects, unsigned count, unsigned lane) {
  // Runs of neighbours that belong to one node; on a machine with one node that is everything.
  for (unsigned i = 0; i < count;) {
    Zone* zone = pages_.zone_of(objects[i]);
    unsigned end = i + 1;
    while (end < count && (nr_nodes_ == 1 || pages_.zone_of(objects[end]) == zone)) ++end;
    const BadFree bad = depots(zone->node()).flush(size_class, objects + i, end - i, lane);
    if (bad.object != nullptr) return bad;
    i = end;
  }
  return {};
}

// Gives the bottom entries of a bin, those not used for longest, back to the depots.
BadPointer Allocator::flush_oldest(ThreadCache* cache, size_t size_class, unsigned count) {
  void* leaving[size_class_detail::kMostSlots];
  void** bottom = cache->bottom(size_class);
  Bin& bin = cache->bins[size_class];
  const size_t left = static_cast<size_t>(bin.head - bottom) - count;
  memcpy(leaving, bottom, count * sizeof(void*));
  memmove(bottom, bottom + count, left * sizeof(void*));
  bin.head = bottom + left;
  const BadFree bad = flush(size_class, leaving, count, cache->lane);
  return bad.object == nullptr ? BadPointer{} : diagnose(bad.object, bad.verdict);
}

// Halves bins that hold exactly what they held at the last look.
BadPointer Allocator::scan_bins(ThreadCache* cache) {
  cache->slow_calls = 0;
  if (nr_nodes_ > 1) cache->node = home_node().v;
  RunBin& runs = cache->run_bins[cache->next_scan % kNrRunBins];
  if (runs.count != 0 && runs.count == runs.level) flush_runs(runs, 1);
  runs.level = runs.count;
  for (unsigned i = 0; i < kBinsPerScan; ++i) {
    const unsigned c = cache->next_scan;
    cache->next_scan = static_cast<uint8_t>(c + 1 == kNrSizeClasses ? 1 : c + 1);
    const unsigned count = cache->count(c);
    if (count != 0 && count == cache->level[c]) {
      const BadPointer bad = flush_oldest(cache, c, (count + 1) / 2);
      if (bad.misuse != Misuse::kNone) return bad;
    }
    cache->level[c] = static_cast<uint16_t>(cache->count(c));
  }
  return {};
}

// Empties half of a full bin. Bins get small in a thread that does nothing but free for long: when it is done, and
// perhaps sleeps for ever, every object in them may be the last that keeps a page from going back to the system.
BadPointer Allocator::make_room(ThreadCache* cache, size_t size_class) {
  Bin& bin = cache->bins[size_class];
  unsigned slots = cache_slots(size_class);
  if (cache->freed_bytes >= kOnlyFreeingBytes && slots > kSmallestBin) slots = kSmallestBin;
  bin.limit = cache->bottom(size_class) + slots;
  const unsigned count = cache->count(size_class);
  if (count < slots) return {};
  const unsigned leaving = count - slots / 2;
  cache->freed_bytes += uint64_t{leaving} * kSizeClasses[size_class].size;
  return flush_oldest(cache, size_class, leaving);
}

void* Allocator::alloc_slow(ThreadCache* cache, size_t size_class) {
  if (cache == nullptr || !cache->caching) {
    void* object = nullptr;
    const NodeId node = cache != nullptr ? NodeId(cache->node) : home_node();
    return refill(node, size_class, &object, 1, 0, false) != 0 ? object : nullptr;
  }
  ++cache->slow_calls;
  Bin& bin = cache->bins[size_class];
  // The bin is empty, and a thread that allocates may use all of it again.
  const unsigned slots = cache_slots(size_class);
  bin.limit = cache->bottom(size_class) + slots;
  // Threads start on cache lines of their own; objects of a line or more need no care.
  const bool apart = kSizeClasses[size_class].size < kCacheLine && cache->is_fresh(size_class);
  const unsigned want = bin.fill < slots ? bin.fill : slots;
  const unsigned got = refill(NodeId(cache->node), size_class, bin.head, want, cache->lane, apart);
  if (got == 0) return nullptr;
  bin.head += got;
  cache->freed_bytes = 0;
  bin.fill = bin.fill * 2 < slots / 2 ? bin.fill * 2 : slots / 2;
  return *--bin.head;
}

BadPointer Allocator::free_to_slab(size_t size_class, void* object) {
  NodeDepots& home = depots(pages_.zone_of(object)->node());
  if (options_->zero_on_free) {
    const FreeVerdict verdict = home.check(size_class, object);
    if (verdict != FreeVerdict::kOk) return diagnose(object, verdict);
    memset(object, 0, kSizeClasses[size_class].size);
  }
  const BadFree bad = home.flush_checked(size_class, &object, 1);
  return bad.object == nullptr ? BadPointer{} : diagnose(bad.object, bad.verdict);
}

BadPointer Allocator::free_slow(ThreadCache* cache, void* object) {
  const size_t offset = map_.offset_of(object);
  if (offset >= map_.covered()) return {Misuse::kForeign, object, 0};
  const size_t size_class = map_.class_at(offset);
  if (size_class == 0) return free_large(cache, object);
  if (size_class == kHeapClass) {
    bool due = false;
    return free_in_heap(cache, object, due);
  }
  if (cache == nullptr || !cache->caching) return free_to_slab(size_class, object);
  if (cache->bins[size_class].head == cache->bins[size_class].limit) {
    const BadPointer bad = make_room(cache, size_class);
    if (bad.misuse != Misuse::kNone) return bad;
  }
  switch (cache_push(cache, size_class, object)) {
    case FreeFast::kInsideObject:
      return diagnose(object, FreeVerdict::kInsideObject);
    case FreeFast::kDoubleFree:
      return diagnose(object, FreeVerdict::kDoubleFree);
    case FreeFast::kSlow:
      return free_to_slab(size_class, object);
    case FreeFast::kDone:
      break;
  }
  return ++cache->slow_calls >= kSlowCallsPerScan ? scan_bins(cache) : BadPointer{};
}

// Of a unit's class in the map: the class of objects there; 0 for a wild pointer into a slab that is being given up.
size_t Allocator::class_of_object(const void* p, size_t in_map) const {
  if (in_map != kHeapClass) return in_map;
  const size_t size_class = slab_tag(*pages_.zone_of(p), p).size_class();
  return size_class < kNrSizeClasses ? size_class : 0;
}

OwnerTag Allocator::tag_of(const void* p) {
  const size_t offset = map_.offset_of(p);
  if (offset >= map_.covered()) return {};
  const size_t in_map = map_.class_at(offset);
  if (in_map == kHeapClass) return slab_tag(*pages_.zone_of(p), p);
  const RunView run = in_map == 0 ? find_run(p) : RunView{};
  return run.zone != nullptr ? run_tag(run.zone->desc(run.head)) : OwnerTag{};
}

const char* Allocator::heap_name(const void* p) {
  const OwnerTag tag = tag_of(p);
  return tag && heaps() != nullptr ? heaps()->name(heaps()->self, tag.owner()) : nullptr;
}

BadPointer Allocator::free_in_heap(ThreadCache* cache, void* object, bool& due) {
  const HeapHooks* hooks = heaps();
  const OwnerTag tag = tag_of(object);
  if (hooks == nullptr || !tag) return {Misuse::kNotGivenOut, object, 0};
  return hooks->free_object(hooks->self, tag, object, cache, due);
}

bool Allocator::is_accessible(const void* p) const {
  const Zone* zone = pages_.zone_of(p);
  return zone != nullptr && zone->pfn_of(p) < zone->accessible_estimate().v;
}

PointerKind Allocator::kind_of(const void* p) {
  const size_t offset = map_.offset_of(p);
  if (offset >= map_.covered()) return PointerKind::kForeign;
  if (map_.class_at(offset) != 0) return PointerKind::kSmall;
  return find_run(p).zone != nullptr ? PointerKind::kLarge : PointerKind::kNotGivenOut;
}

size_t Allocator::usable_size(const void* p) {
  const size_t offset = map_.offset_of(p);
  if (offset >= map_.covered()) return 0;
  if (const size_t in_map = map_.class_at(offset)) return kSizeClasses[class_of_object(p, in_map)].size;
  const RunView run = find_run(p);
  if (run.zone == nullptr) return 0;
  return bytes_of(Pages(run.zone->desc(run.head).count)) - 2 * guard_bytes();
}

BadPointer Allocator::diagnose(const void* p, FreeVerdict verdict) {
  const size_t offset = map_.offset_of(p);
  if (offset >= map_.covered()) return {Misuse::kForeign, p, 0};
  const size_t size_class = class_of_object(p, map_.class_at(offset));
  if (size_class == 0) return {Misuse::kNotGivenOut, p, 0};
  const Misuse misuse = verdict == FreeVerdict::kDoubleFree ? Misuse::kDoubleFree : Misuse::kInsideObject;
  return {misuse, p, kSizeClasses[size_class].size, heap_name(p)};
}

BadPointer Allocator::decay_tick() {
  BadFree bad;
  for (unsigned n = 0; n < nr_nodes_; ++n) {
    if (nodes_[n] == nullptr) continue;
    Pages released;
    if (bad.object == nullptr) bad = nodes_[n]->depots.decay_tick(released);
    if (heaps() != nullptr) heaps()->decay_tick(heaps()->self, NodeId(static_cast<uint16_t>(n)), released);
    zone(n).decay_tick(released);
  }
  return bad.object == nullptr ? BadPointer{} : diagnose(bad.object, bad.verdict);
}

BadPointer Allocator::drain(ThreadCache& own) {
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    if (own.count(c) == 0) continue;
    const BadPointer bad = flush_oldest(&own, c, own.count(c));
    if (bad.misuse != Misuse::kNone) return bad;
  }
  for (RunBin& bin : own.run_bins) flush_runs(bin, bin.count);
  return {};
}

BadPointer Allocator::release_caches(ThreadCache* own) {
  if (own != nullptr) {
    const BadPointer bad = drain(*own);
    if (bad.misuse != Misuse::kNone) return bad;
  }
  if (heaps() != nullptr)
    if (const BadPointer bad = heaps()->trim(heaps()->self, own); bad.misuse != Misuse::kNone) return bad;
  for (unsigned n = 0; n < nr_nodes_; ++n) {
    if (nodes_[n] == nullptr) continue;
    const BadFree bad = nodes_[n]->depots.release_all();
    if (bad.object != nullptr) return diagnose(bad.object, bad.verdict);
  }
  return {};
}

BadPointer Allocator::trim(ThreadCache* own, size_t& bytes) {
  uint64_t purged_before = 0, purged = 0;
  for (unsigned n = 0; n < nr_nodes_; ++n)
    if (nodes_[n] != nullptr) purged_before += zone(n).stats().pgpurged;
  const BadPointer bad = release_caches(own);
  if (bad.misuse != Misuse::kNone) return bad;
  for (unsigned n = 0; n < nr_nodes_; ++n) {
    if (nodes_[n] == nullptr) continue;
    zone(n).purge(Pages(~uint64_t{0}), Order(kMaxOrder), Zone::Metadata::kAlso);
    purged += zone(n).stats().pgpurged;
  }
  bytes = bytes_of(Pages(purged - purged_before));
  return {};
}

size_t Allocator::decayable_bytes() {
  size_t total = heaps() != nullptr ? heaps()->free_bytes(heaps()->self) : 0;
  for (unsigned n = 0; n < nr_nodes_; ++n) {
    if (nodes_[n] == nullptr) continue;
    total += bytes_of(zone(n).free_resident_estimate());
    total += nodes_[n]->depots.free_bytes_estimate();
  }
  return total;
}

Pages Allocator::taken() {
  Pages total(0);
  for (unsigned n = 0; n < nr_nodes_; ++n)
    if (nodes_[n] != nullptr) total += zone(n).taken();
  return total;
}

const char* Allocator::verify() {
  const char* wrong = nullptr;
  os::undisturbed([this, &wrong] { wrong = verify_all(); });
  return wrong;
}

const char* Allocator::verify_all() {
  if (reclaimer_ != nullptr) reclaimer_->stop_evictions();
  take_locks();
  // Whoever has a lock may need a page brought back before giving it up, and a handler a lock: so neither is kept while
  // waiting for the other; and who wants a lock gets a processor to take it.
  while (reclaimer_ != nullptr && !reclaimer_->stop_faults()) {
    give_up_locks();
    os::sleep_ms(1);
    take_locks();
  }
  const char* wrong = reclaimer_ != nullptr ? verify_reclaim() : nullptr;
  for (unsigned n = 0; n < nr_nodes_ && wrong == nullptr; ++n)
    if (nodes_[n] != nullptr) wrong = verify_node(NodeId(static_cast<uint16_t>(n)));
  if (wrong == nullptr && compactor() != nullptr) wrong = compactor()->verify_locked();
  give_up_locks();
  if (reclaimer_ != nullptr) reclaimer_->go_on();
  return wrong;
}

// A thread that gives memory back tells reclaim of it before it takes the zone's lock. With the locks taken, each can
// do so once.
const char* Allocator::verify_reclaim() {
  const char* wrong = reclaimer_->verify();
  for (unsigned tries = kVerifyTries; wrong != nullptr && tries != 0; --tries) {
    os::sleep_ms(1);
    wrong = reclaimer_->verify();
  }
  return wrong;
}

const char* Allocator::verify_node(NodeId node) {
  Pages slab_pages, block_pages;
  if (const char* wrong = depots(node).verify_locked(slab_pages)) return wrong;
  if (locked_heaps_ != nullptr)
    if (const char* wrong = locked_heaps_->verify(locked_heaps_->self, node, slab_pages)) return wrong;
  if (const char* wrong = zone(node.v).verify_locked(block_pages)) return wrong;
  return slab_pages == block_pages ? nullptr : "pages of slabs differ from the allocated blocks";
}

}  // namespace weir
