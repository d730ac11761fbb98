#include "malloc/node_depots.h"

#include <new>

#include "malloc/stats_page.h"

namespace weir {
namespace {

// What a lane may have free before other lanes take from it instead of from the node's pages: so many slabs, of 32 KiB
// at most, may lie unused in each lane of a class until they decay.
constexpr unsigned kSurplusSlabs = 2;
// Objects on their way from a transfer cache to their slabs, at a time.
constexpr unsigned kBuffered = size_class_detail::kMostSlots / 2;

}  // namespace

void NodeDepots::init(PageSource& source, AddressMap& map, NodeId node, const StatsPage* published, size_t keep_bytes) {
  source_ = &source;
  map_ = &map;
  node_ = node;
  published_ = published;
  keep_bytes_ = keep_bytes;
  nr_lanes_.store(1, std::memory_order_relaxed);
  init_lane(0);
}

void NodeDepots::init_lane(unsigned lane) {
  for (unsigned c = 1; c < kNrSizeClasses && (lane == 0 || kSizeClasses[c].size <= kLargestInLanes); ++c) {
    Depot& depot = *new (&depots_[lane][c]) Depot();
    depot.init(*source_, *map_, node_, c, transfer_[lane][c],
               published_ != nullptr ? published_->slab(node_, lane, c) : nullptr, static_cast<uint8_t>(lane),
               &kept_[lane]);
  }
}

void NodeDepots::open_lane(unsigned lane) {
  for (unsigned next = nr_lanes_.load(std::memory_order_relaxed); next <= lane; ++next) {
    init_lane(next);
    nr_lanes_.store(next + 1, std::memory_order_release);
    for (unsigned each = 0; each <= next; ++each) kept_[each].most.store(keep_bytes_, std::memory_order_relaxed);
  }
}

// `plenty`: only from lanes whose threads free more than they allocate, or that have more free than they may keep.
unsigned NodeDepots::refill_from_others(size_t size_class, void** out, unsigned want, unsigned lane, bool plenty) {
  const unsigned lanes = lanes_of(size_class);
  const uint64_t surplus = uint64_t{kSurplusSlabs} * kSizeClasses[size_class].objects;
  for (unsigned other = 0; other < lanes; ++other) {
    Depot& depot = depots_[other][size_class];
    if (other == lane || depot.free_objects_estimate() == 0) continue;
    if (plenty && !depot.transfer_is_full() && depot.free_objects_estimate() <= surplus) continue;
    if (const unsigned got = depot.refill(out, want, Depot::Grow::kNo)) return got;
  }
  return 0;
}

unsigned NodeDepots::refill(size_t size_class, void** out, unsigned want, unsigned lane, bool apart, Depot::Grow most) {
  const unsigned lanes = lanes_of(size_class);
  if (lanes == 1) return depots_[0][size_class].refill(out, want, most, apart);
  lane %= lanes;
  Depot& own = depots_[lane][size_class];
  if (own.free_objects_estimate() != 0)
    if (const unsigned got = own.refill(out, want, Depot::Grow::kNo, apart)) return got;
  if (const unsigned got = refill_from_others(size_class, out, want, lane, true)) return got;
  const Depot::Grow at_once = most == Depot::Grow::kOrWait ? Depot::Grow::kAtOnce : most;
  if (const unsigned got = own.refill(out, want, at_once, apart)) return got;
  if (const unsigned got = refill_from_others(size_class, out, want, lane, false)) return got;
  return most == Depot::Grow::kOrWait ? own.refill(out, want, most, apart) : 0;
}

// Objects in a row that belong to the same lane go to its slabs together.
BadFree NodeDepots::give(size_t size_class, void* const* objects, unsigned count, Depot::Use use) {
  for (unsigned i = 0, here = 0; i < count; i += here) {
    here = count - i;
    const BadFree bad = owner(size_class, objects[i]).give(objects + i, here, use);
    if (bad.object != nullptr) return bad;
  }
  return {};
}

BadFree NodeDepots::flush(size_t size_class, void* const* objects, unsigned count, unsigned lane) {
  const unsigned kept = depots_[lane % lanes_of(size_class)][size_class].keep(objects, count);
  return give(size_class, objects + kept, count - kept, Depot::Use::kNow);
}

BadFree NodeDepots::flush_checked(size_t size_class, void* const* objects, unsigned count) {
  return give(size_class, objects, count, Depot::Use::kNow);
}

BadFree NodeDepots::empty_transfer(size_t size_class, Depot& depot, Depot::Transfer which) {
  void* objects[kBuffered];
  while (const unsigned count = depot.take_oldest(objects, kBuffered, which)) {
    const BadFree bad = give(size_class, objects, count, Depot::Use::kBefore);
    if (bad.object != nullptr) return bad;
  }
  return {};
}

BadFree NodeDepots::decay_tick(Pages& released) {
  BadFree bad;
  for_each([&](Depot& depot, size_t c) {
    // A class that was never used costs a look at one word.
    if (bad.object != nullptr || depot.free_objects_estimate() == 0) return;
    bad = empty_transfer(c, depot, Depot::Transfer::kUnused);
    if (bad.object == nullptr) depot.end_tick(released);
  });
  return bad;
}

BadFree NodeDepots::release(size_t size_class) {
  // All transfer caches first: what they hold may keep the slabs of any lane.
  for (unsigned lane = 0; lane < lanes_of(size_class); ++lane) {
    const BadFree bad = empty_transfer(size_class, depots_[lane][size_class], Depot::Transfer::kAll);
    if (bad.object != nullptr) return bad;
  }
  for (unsigned lane = 0; lane < lanes_of(size_class); ++lane) depots_[lane][size_class].release_slabs();
  return {};
}

BadFree NodeDepots::release_all() {
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    // A class that was never used costs a look at a few words.
    if (free_objects_estimate(c) == 0) continue;
    const BadFree bad = release(c);
    if (bad.object != nullptr) return bad;
  }
  return {};
}

bool NodeDepots::release_empty() {
  uint64_t before = 0, after = 0;
  for (const KeptSlabs& kept : kept_) before += kept.bytes.load(std::memory_order_relaxed);
  if (before == 0) return false;
  for_each([&](Depot& depot, size_t) {
    if (depot.free_objects_estimate() != 0) depot.release_slabs();
  });
  for (const KeptSlabs& kept : kept_) after += kept.bytes.load(std::memory_order_relaxed);
  return after < before;
}

uint64_t NodeDepots::free_objects_estimate(size_t size_class) const {
  uint64_t sum = 0;
  for (unsigned lane = 0; lane < lanes_of(size_class); ++lane) sum += depots_[lane][size_class].free_objects_estimate();
  return sum;
}

size_t NodeDepots::free_bytes_estimate() const {
  size_t sum = 0;
  for (unsigned c = 1; c < kNrSizeClasses; ++c) sum += free_objects_estimate(c) * size_t{kSizeClasses[c].size};
  return sum;
}

DepotStats NodeDepots::stats(size_t size_class) {
  DepotStats sum;
  for (unsigned lane = 0; lane < lanes_of(size_class); ++lane) {
    const DepotStats s = depots_[lane][size_class].stats();
    sum.slabs += s.slabs;
    sum.free_objects += s.free_objects;
    sum.transfer_objects += s.transfer_objects;
    sum.empty_slabs += s.empty_slabs;
  }
  return sum;
}

void NodeDepots::lock_for_fork() {
  for_each([](Depot& depot, size_t) WEIR_NO_TSA { depot.mutex().lock_for_fork(); });
}

void NodeDepots::unlock_for_fork() {
  for_each([](Depot& depot, size_t) WEIR_NO_TSA { depot.mutex().unlock_for_fork(); });
}

const char* NodeDepots::verify_locked(Pages& pages) const {
  for (unsigned lane = 0; lane < kLanes; ++lane)
    for (unsigned c = 1; c < kNrSizeClasses && lane < lanes_of(c); ++c)
      if (const char* wrong = depots_[lane][c].verify_locked(pages)) return wrong;
  return nullptr;
}

void NodeDepots::publish_all() {
  for_each([](Depot& depot, size_t) WEIR_NO_TSA { depot.publish_all(); });
}

}  // namespace weir
