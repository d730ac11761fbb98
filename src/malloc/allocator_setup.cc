// How an allocator comes to its address space, its nodes' zones and their share of memory, and what changes when
// options do (the part of Allocator that does it).
//
// Thread safety: init and destroy by one thread, while nobody else has the allocator; options_changed by one at a time.
// Invariants: what init sets up is constant, but for budgets and watermarks.
#include <new>

#include "malloc/allocator.h"
#include "os/proc.h"
#include "os/undisturbed.h"
#include "os/vm.h"

namespace weir {
namespace {

void keep_present(void* reclaimer, const char* begin, const char* end) {
  static_cast<Reclaimer*>(reclaimer)->keep_present(const_cast<char*>(begin), const_cast<char*>(end));
}

// What a lane of depots keeps of slabs without objects: about what a processor's own cache holds. With half of it,
// trees that are built and dropped by two threads take a third longer; twice as much saves nothing. Not under a limit,
// where reclaim would write to the swap file what nobody needs.
constexpr size_t kKeptInLane = size_t{1} << 20;

// Somebody else may be where an arena should lie: another copy of weir, say. Places are tried at odd distances.
constexpr unsigned kBareTries = 4;
constexpr uint64_t kNextPlace = 7919;

// Linux calls this much of a 47-bit address space one process's; arenas of many nodes share it.
constexpr size_t kMostAddressSpace = size_t{1} << 45;

// The staging addresses of a bare arena mirror it at this distance, in the same stretch of address space that the
// kernel puts nothing into by itself. For another arena they are reserved, as it was: what is free beside it may not
// stay so.
constexpr size_t kStagingDistance = size_t{1} << 44;
constexpr uintptr_t kStagingEnd = uintptr_t{0x5000} << 32;

StagingPlace place_staging(const ArenaPlace& arena) {
  if (!arena.bare) return {static_cast<char*>(os::vm_reserve(bytes_of(arena.capacity))), false};
  const bool above = reinterpret_cast<uintptr_t>(arena.memory) + kStagingDistance < kStagingEnd;
  return {above ? arena.memory + kStagingDistance : arena.memory - kStagingDistance, true};
}

}  // namespace

// Unmapped space in the middle of the address space where that works, else reserved space, as much as there is.
bool Allocator::init(const AllocatorSetup& setup) {
  options_ = setup.options;
  topology_ = setup.topology;
  stats_ = setup.stats;
  if (setup.fault_story.handle_fault != nullptr && (options_->limit != 0 || options_->rss_limit != 0)) {
    void* memory = os::vm_map(align_up(sizeof(Reclaimer), kPageSize));
    if (memory == nullptr) return false;
    reclaimer_ = new (memory) Reclaimer();
    if (!reclaimer_->init(*options_, setup.fault_story)) reclaimer_ = nullptr;
    if (reclaimer_ != nullptr) reclaimer_->count_threads_in(nr_caches_);
    if (reclaimer_ != nullptr && stats_ != nullptr) reclaimer_->publish_in(stats_->page());
  }
  nr_nodes_ = options_->numa ? topology_->nr_nodes : 1;
  size_t capacity = setup.capacity.v != 0 ? bytes_of(setup.capacity) : static_cast<size_t>(options_->arena_size);
  if (capacity > kMostAddressSpace / nr_nodes_) capacity = kMostAddressSpace / nr_nodes_;
  constexpr size_t kGrain = kMaxOrderPages * kPageSize;
  // More than the limit of the address space can never be used; the map of a larger arena would only take from it.
  const size_t limit = os::address_space_limit();
  if (limit < capacity) capacity = limit;
  capacity = align_up(capacity, kGrain);
  for (unsigned tries = 0; setup.bare && tries < kBareTries; ++tries)
    if (init_at(Pages(capacity >> kPageShift), true, setup.random + tries * kNextPlace)) return true;
  // Half of what RLIMIT_AS leaves, at most: the program maps memory of its own too.
  for (size_t bytes = limit == SIZE_MAX ? capacity : align_up(limit / 2, kGrain); bytes >= kGrain; bytes /= 2)
    if (init_at(Pages(align_up(bytes, kGrain) >> kPageShift), false, 0)) return true;
  return false;
}

bool Allocator::init_at(Pages capacity, bool bare, uint64_t random) {
  ArenaPlace places[kMaxNodes];
  if (!place_arenas(nr_nodes_, capacity, bare, random, places)) return false;
  first_place_ = places[0];
  const size_t span = bytes_of(capacity);
  pages_.init(first_place_.memory, span, nr_nodes_);
  if (map_.init(first_place_.memory, span * nr_nodes_)) {
    if (init_zones(*topology_, places)) return true;
    map_.destroy();
  }
  forget_arenas();
  return false;
}

void Allocator::forget_arenas() {
  for (NodeHeap*& heap : nodes_) {
    if (heap == nullptr) continue;
    if (first_place_.bare) heap->zone.unmap();
    os::vm_unmap(heap, align_up(sizeof(NodeHeap), kPageSize));
    heap = nullptr;
  }
  release_arenas(nr_nodes_, first_place_);
}

bool Allocator::init_zones(const Topology& topology, const ArenaPlace* places) {
  constexpr size_t kSlabsPerUnit = kUnitSize / kSlabUnitSize;
  const MetadataStrides strides{kSlabsPerUnit * sizeof(SlabDesc), kSlabsPerUnit * kBitmapBytesPerUnit};
  uint64_t total = 0;
  for (unsigned i = 0; i < topology.nr_nodes; ++i)
    if (topology.nodes[i].usable()) total += topology.nodes[i].memory_bytes;
  total_managed_ = Pages(total >> kPageShift);
  if (nr_nodes_ == 1) {
    // One node, or one arena for all of them.
    const NodeId all[] = {NodeId(0)};
    pages_.set_zonelist(NodeId(0), all);
    return init_zone(NodeId(0), topology, places[0], strides);
  }
  for (unsigned i = 0; i < nr_nodes_; ++i) {
    const NodeId node(static_cast<uint16_t>(i));
    pages_.set_zonelist(node, topology.zonelist(node));
    if (topology.nodes[i].usable() && !init_zone(node, topology, places[i], strides)) return false;
  }
  return true;
}

// Under RLIMIT_AS or RLIMIT_DATA: as much as leaves the program a quarter for its own mappings, such as the stacks of
// threads, in equal parts for the nodes.
Pages Allocator::share_of_limits() const {
  const size_t address_space = os::address_space_limit(), data = os::data_limit();
  const size_t least = address_space < data ? address_space : data;
  if (least == SIZE_MAX) return Pages(~uint64_t{0});
  return Pages(align_down(least - least / 4, kUnitSize) / nr_nodes_ >> kPageShift);
}

// Of a zone that has so much of the limit, or of the machine's memory.
Watermarks Allocator::watermarks_for(Pages managed) const {
  return compute_watermarks(managed, reclaimer_ != nullptr ? reclaimer_->limit() : total_managed_,
                            static_cast<uint64_t>(options_->min_free_kbytes),
                            static_cast<uint64_t>(options_->watermark_scale_factor));
}

bool Allocator::options_changed(Reclaimer::Budget budget) {
  if (reclaimer_ != nullptr && !reclaimer_->options_changed(budget)) return false;
  for (unsigned n = 0; n < nr_nodes_; ++n) {
    if (nodes_[n] == nullptr) continue;
    const NodeId node(static_cast<uint16_t>(n));
    zone(n).set_watermarks(
        watermarks_for(reclaimer_ != nullptr ? reclaimer_->share_of(node, reclaimer_->limit()) : zone(n).managed()));
  }
  if (reclaimer_ == nullptr) return true;
  reclaimer_->wake_all_kswapds();
  reclaimer_->publish();
  return true;
}

bool Allocator::init_zone(NodeId node, const Topology& topology, const ArenaPlace& place, MetadataStrides strides) {
  ZoneConfig config;
  config.node = node;
  config.place = place;
  config.extra = strides;
  if (stats_ != nullptr) config.published = stats_->node(node);
  if (nr_nodes_ == 1) {
    config.managed = total_managed_;
  } else {
    config.os_node = topology.nodes[node.v].os_index;
    config.managed = Pages(topology.nodes[node.v].memory_bytes >> kPageShift);
  }
  config.most_accessible = share_of_limits();
  config.huge_pages = options_->thp == Thp::kNever    ? HugePages::kNever
                      : options_->thp == Thp::kAlways ? HugePages::kAlways
                                                      : HugePages::kDense;
  if (reclaimer_ != nullptr && !init_reclaim(node, config, total_managed_)) return false;
  config.watermarks = watermarks_for(config.managed);
  void* memory = os::vm_map(align_up(sizeof(NodeHeap), kPageSize));
  if (memory == nullptr) return false;
  NodeHeap* heap = nodes_[node.v] = static_cast<NodeHeap*>(memory);
  new (&heap->zone) Zone();
  if (reclaimer_ != nullptr) reclaimer_->node(node.v)->set_zone(heap->zone);
  if (!heap->zone.init(config)) return false;
  if (const Arena& arena = heap->zone.arena(); reclaimer_ != nullptr)
    os::swappable_memory(arena.memory(), bytes_of(arena.capacity()), {keep_present, reclaimer_});
  pages_.set_zone(node, heap->zone);
  heap->depots.init(pages_, map_, node, stats_, reclaimer_ == nullptr ? kKeptInLane : 0);
  return true;
}

// A node's part of the limit is as its part of the memory.
bool Allocator::init_reclaim(NodeId node, ZoneConfig& config, Pages total) {
  const uint64_t limit = reclaimer_->limit().v;
  const uint64_t share =
      nr_nodes_ == 1 ? limit
                     : static_cast<uint64_t>(static_cast<unsigned __int128>(limit) * config.managed.v / total.v);
  config.managed = Pages(share);
  // Memory is counted page by page.
  config.huge_pages = HugePages::kNever;
  const StagingPlace staging = place_staging(config.place);
  if (staging.memory == nullptr) return false;
  NodeReclaim* reclaim = reclaimer_->add_node(node, config.place.capacity, config.managed, staging);
  if (reclaim == nullptr) return false;
  config.hooks = reclaim->hooks();
  pages_.set_reclaimer(reclaimer_);
  return true;
}

void Allocator::destroy() {
  if (Compactor* made = compactor()) {
    pages_.set_compactor(nullptr);
    made->table().destroy();
    os::vm_unmap(made, align_up(sizeof(Compactor), kPageSize));
  }
  forget_arenas();
  map_.destroy();
  LockGuard guard(threads_mutex_);
  for (ThreadCache** list : {&live_, &spare_}) {
    while (ThreadCache* cache = *list) {
      *list = cache->next;
      os::vm_unmap(cache, align_up(sizeof(ThreadCache), kPageSize));
    }
  }
}

}  // namespace weir
