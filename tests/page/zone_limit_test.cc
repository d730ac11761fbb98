// zone_limit_test.cc: what a zone with a limit counts as memory, page by page, beside a model of it, and what it tells
// the reclaimer, which is a notebook here.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "support/private_zone.h"
#include "support/random.h"

namespace weir {
namespace {

constexpr Pages kCapacity(8 * kMaxOrderPages);
constexpr MigrateType kMovable = MigrateType::kMovable;
constexpr unsigned kClusterPages = 64;  // a word of the residency map

Order order_of(unsigned o) {
  return Order(static_cast<uint8_t>(o));
}

class ZoneLimit : public testing::Test {
 protected:
  ZoneLimit() {
    ZoneConfig config;
    config.place = space_[0];
    config.managed = kCapacity;
    config.huge_pages = HugePages::kNever;
    config.hooks = {this, cover, allocated, forget, drop};
    EXPECT_TRUE(zone_->init(config));
    notes_.clear();
  }
  const char* verify() {
    Pages block_pages;
    LockGuard guard(zone_->mutex());
    return zone_->verify_locked(block_pages);
  }
  void recount() {
    LockGuard guard(zone_->mutex());
    zone_->recount();
  }
  static std::string note(const char* what, Pfn first, uint64_t count) {
    return std::string(what) + " " + std::to_string(first) + "+" + std::to_string(count);
  }

  PrivateSpace space_{1, kCapacity, true};
  std::unique_ptr<Zone> zone_ = std::make_unique<Zone>();
  std::vector<std::string> notes_;
  Pages most_covered_{kCapacity};

 private:
  static bool cover(void* self, Pages accessible) {
    auto& test = *static_cast<ZoneLimit*>(self);
    // A page must not become accessible before its state can be noted.
    EXPECT_LT(test.zone_->accessible_estimate(), accessible);
    return accessible <= test.most_covered_;
  }
  static void allocated(void* self, Pfn first, Pages count) {
    static_cast<ZoneLimit*>(self)->notes_.push_back(note("allocated", first, count.v));
  }
  static void forget(void* self, Pfn first, Pages count) {
    static_cast<ZoneLimit*>(self)->notes_.push_back(note("forget", first, count.v));
  }
  static void drop(void* self, Pfn first, Pages count, bool begin) {
    static_cast<ZoneLimit*>(self)->notes_.push_back(note(begin ? "drop" : "dropped", first, count.v));
  }
};

TEST_F(ZoneLimit, ARunIsCountedByTouchOrAtOnce) {
  EXPECT_TRUE(zone_->limited());
  EXPECT_EQ(zone_->total(), Pages(0));
  ASSERT_TRUE(zone_->alloc_run(Pages(200), Pages(1), kMovable, Charge::kOnTouch));
  EXPECT_EQ(zone_->total(), Pages(0));
  EXPECT_EQ(zone_->free_budget(), kCapacity);
  ASSERT_TRUE(zone_->alloc_run(Pages(100), Pages(1), kMovable, Charge::kNow));
  ASSERT_TRUE(zone_->alloc_block(order_of(4), kMovable));
  EXPECT_EQ(zone_->total(), Pages(116));
  EXPECT_EQ(zone_->used(), Pages(116));
  EXPECT_EQ(zone_->free_budget(), kCapacity - Pages(116));
  EXPECT_EQ(zone_->stats().free, kCapacity - Pages(116));
  EXPECT_EQ(verify(), nullptr);
}

TEST_F(ZoneLimit, ChargingTellsWhatChanged) {
  const PageRun run = zone_->alloc_run(Pages(128), Pages(64), kMovable, Charge::kOnTouch);
  ASSERT_TRUE(run);
  const uint32_t cluster = run.head / kClusterPages;
  EXPECT_EQ(zone_->charge(cluster, 0b1111), 0b1111u);
  EXPECT_EQ(zone_->charge(cluster, 0b111100), 0b110000u) << "two of them were counted";
  EXPECT_EQ(zone_->charge(cluster + 1, uint64_t{1} << 63), uint64_t{1} << 63);
  EXPECT_EQ(zone_->resident_mask(cluster), 0b111111u);
  EXPECT_EQ(zone_->total(), Pages(7));
  EXPECT_EQ(zone_->uncharge(cluster, 0b11000001), 0b1u);
  EXPECT_EQ(zone_->uncharge(cluster, 0b11000001), 0u);
  EXPECT_EQ(zone_->resident_mask(cluster), 0b111110u);
  EXPECT_EQ(zone_->total(), Pages(6));
  EXPECT_EQ(verify(), nullptr);
}

TEST_F(ZoneLimit, FreePagesWithMemoryAreNotUsed) {
  const PageRun run = zone_->alloc_run(Pages(64), Pages(64), kMovable, Charge::kOnTouch);
  zone_->charge(run.head / kClusterPages, 0xff);
  // Whatever its owner says about it: the map knows which pages have memory.
  ASSERT_TRUE(zone_->free_run(run.head, Touched::kYes));
  EXPECT_EQ(zone_->total(), Pages(8));
  EXPECT_EQ(zone_->free_resident_estimate(), Pages(8));
  EXPECT_EQ(zone_->used(), Pages(0));
  EXPECT_EQ(zone_->free_budget(), kCapacity);
  EXPECT_EQ(zone_->purge(Pages(8), order_of(kMaxOrder), Zone::Metadata::kStays), Pages(8));
  EXPECT_EQ(zone_->total(), Pages(0));
  EXPECT_EQ(verify(), nullptr);
}

TEST_F(ZoneLimit, AFreedBlockIsCountedAsTheMapSays) {
  const PageRun block = zone_->alloc_block(order_of(3), kMovable);
  ASSERT_TRUE(block);
  EXPECT_EQ(zone_->total(), Pages(8));
  zone_->uncharge(block.head / kClusterPages, uint64_t{0b111} << block.head % kClusterPages);
  zone_->free_block(block.head, order_of(3), ~uint64_t{0} >> 56);
  EXPECT_EQ(zone_->total(), Pages(5));
  EXPECT_EQ(zone_->free_resident_estimate(), Pages(5));
  EXPECT_EQ(verify(), nullptr);
}

TEST_F(ZoneLimit, MemoryOutsideTheArenaCounts) {
  ASSERT_TRUE(zone_->alloc_run(Pages(10), Pages(1), kMovable, Charge::kNow));
  zone_->add_outside(25);
  EXPECT_EQ(zone_->total(), Pages(35));
  zone_->add_outside(-5);
  EXPECT_EQ(zone_->used(), Pages(30));
  EXPECT_EQ(zone_->free_budget(), kCapacity - Pages(30));
  zone_->set_managed(Pages(31));
  EXPECT_EQ(zone_->free_budget(), Pages(1));
  zone_->set_managed(Pages(30));
  EXPECT_EQ(zone_->free_budget(), Pages(0));
  zone_->set_managed(Pages(7));
  EXPECT_EQ(zone_->free_budget(), Pages(0)) << "never less than nothing";
  EXPECT_EQ(zone_->stats().free, Pages(0));
  EXPECT_EQ(zone_->stats().managed, Pages(7));
}

TEST_F(ZoneLimit, TheReclaimerHearsOfEveryRange) {
  const PageRun run = zone_->alloc_run(Pages(80), Pages(1), kMovable, Charge::kOnTouch);
  ASSERT_TRUE(zone_->extend_run(run.head, Pages(80), Pages(20), Charge::kOnTouch));
  zone_->shrink_run(run.head, Pages(100), Pages(90));
  const Pfn rest = zone_->split_run(run.head, Pages(90), Pages(30));
  ASSERT_TRUE(zone_->drop_pages(rest, Pages(5)));
  ASSERT_TRUE(zone_->renew_mapping(rest, Pages(6)));
  EXPECT_FALSE(zone_->free_run(run.head)) << "split off";
  ASSERT_TRUE(zone_->free_run(rest));
  EXPECT_EQ(notes_, (std::vector<std::string>{note("allocated", run.head, 80), note("allocated", run.head + 80, 20),
                                              note("forget", run.head + 90, 10), note("forget", run.head, 30),
                                              note("drop", rest, 5), note("dropped", rest, 5), note("drop", rest, 6),
                                              note("dropped", rest, 6), note("forget", rest, 60)}));
  notes_.clear();
  const PageRun block = zone_->alloc_block(order_of(2), kMovable);
  zone_->free_block(block.head, order_of(2), 0);
  EXPECT_EQ(notes_, (std::vector<std::string>{note("allocated", block.head, 4), note("forget", block.head, 4)}));
}

TEST_F(ZoneLimit, DroppedPagesStayCounted) {
  const PageRun run = zone_->alloc_run(Pages(64), Pages(64), kMovable, Charge::kNow);
  zone_->address(run.head)[0] = 'x';
  ASSERT_TRUE(zone_->drop_pages(run.head, Pages(64)));
  EXPECT_EQ(zone_->address(run.head)[0], 0);
  EXPECT_EQ(zone_->total(), Pages(64)) << "nobody is told when they are touched again";
  EXPECT_EQ(verify(), nullptr);
}

TEST_F(ZoneLimit, NoGrowthWithoutStateOfThePages) {
  most_covered_ = zone_->accessible_estimate();
  EXPECT_FALSE(zone_->alloc_run(most_covered_ + Pages(1), Pages(1), kMovable, Charge::kOnTouch));
  EXPECT_EQ(zone_->accessible_estimate(), most_covered_);
  EXPECT_EQ(zone_->total(), Pages(0));
  most_covered_ = kCapacity;
  EXPECT_TRUE(zone_->alloc_run(Pages(kMaxOrderPages), Pages(1), kMovable, Charge::kOnTouch));
}

TEST_F(ZoneLimit, ARecountGoesByTheMap) {
  const PageRun run = zone_->alloc_run(Pages(64), Pages(64), kMovable, Charge::kNow);
  // As in the child of a fork, where a count and its bit may be of different moments.
  zone_->arena().residency()[run.head / kClusterPages] &= ~uint64_t{0b1011};
  EXPECT_NE(verify(), nullptr);
  recount();
  EXPECT_EQ(zone_->total(), Pages(61));
  EXPECT_EQ(verify(), nullptr);
}

TEST_F(ZoneLimit, ChargesOfManyThreadsAddUp) {
  const PageRun run = zone_->alloc_run(Pages(128), Pages(64), kMovable, Charge::kOnTouch);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> threads;
  for (uint64_t id = 1; id <= 4; ++id) {
    threads.emplace_back([&, id] {
      Random random(id);
      int64_t own = 0;
      for (int i = 0; i < 20000; ++i) {
        const uint32_t cluster = run.head / kClusterPages + static_cast<uint32_t>(random.below(2));
        const uint64_t pages = random.next();
        own += random.below(2) == 0 ? std::popcount(zone_->charge(cluster, pages))
                                    : -std::popcount(zone_->uncharge(cluster, pages));
      }
      sum += own;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(zone_->total(), Pages(static_cast<uint64_t>(sum.load())));
  EXPECT_EQ(verify(), nullptr);
}

// -- beside a model --------------------------------------------------------------------------------------------------

class ZoneLimitModel : public ZoneLimit, public testing::WithParamInterface<uint64_t> {
 protected:
  struct Live {
    uint64_t pages;
    bool block;
  };

  void step() {
    const uint64_t what = random_.below(100);
    if (what < 25 || live_.empty()) return allocate();
    if (what < 40) return release(any());
    if (what < 65) return change_charge(any());
    if (what < 85) return resize(any());
    if (what < 92) {
      const int64_t by = static_cast<int64_t>(random_.below(100)) - 50;
      if (outside_ + by < 0) return;
      zone_->add_outside(by);
      outside_ += by;
    } else if (what < 96) {
      managed_ = random_.below(kCapacity.v);
      zone_->set_managed(Pages(managed_));
    } else {
      zone_->purge(Pages(random_.below(300)), order_of(kMaxOrder), Zone::Metadata::kStays);
      absorb_purge();
    }
  }

  // The counts follow from two sets of pages alone: those that have memory and those that were given out.
  void expect_agreement() {
    uint64_t resident = 0, unused = 0;
    for (size_t pfn = 0; pfn < kCapacity.v; ++pfn) {
      resident += resident_[pfn];
      unused += resident_[pfn] && !owned_[pfn];
    }
    const uint64_t total = resident + static_cast<uint64_t>(outside_), used = total - unused;
    ASSERT_EQ(zone_->total().v, total);
    ASSERT_EQ(zone_->free_resident_estimate().v, unused);
    ASSERT_EQ(zone_->used().v, used);
    ASSERT_EQ(zone_->free_budget().v, managed_ > used ? managed_ - used : 0);
    for (uint32_t c = 0; c < zone_->accessible_estimate().v / kClusterPages; ++c) {
      uint64_t mask = 0;
      for (unsigned i = 0; i < kClusterPages; ++i) mask |= uint64_t{resident_[c * kClusterPages + i]} << i;
      ASSERT_EQ(zone_->resident_mask(c), mask) << "cluster " << c;
    }
  }

  Random random_{GetParam()};

 private:
  void mark(std::vector<bool>& set, Pfn first, uint64_t count, bool to) { std::fill_n(set.begin() + first, count, to); }
  std::map<Pfn, Live>::iterator any() {
    auto at = live_.lower_bound(static_cast<Pfn>(random_.below(kCapacity.v)));
    return at == live_.end() ? live_.begin() : at;
  }
  // A purge, also one that an allocation makes, takes memory of free pages and of nothing else.
  void absorb_purge() {
    for (Pfn pfn = 0; pfn < zone_->accessible_estimate().v; ++pfn)
      if (!owned_[pfn] && (zone_->resident_mask(pfn / kClusterPages) >> pfn % kClusterPages & 1) == 0)
        resident_[pfn] = false;
  }
  void take(Pfn first, uint64_t count, Charge charge) {
    for (uint64_t i = 0; i < count; ++i) ASSERT_FALSE(owned_[first + i]) << "given out twice";
    mark(owned_, first, count, true);
    if (charge == Charge::kNow) mark(resident_, first, count, true);
    absorb_purge();
  }
  Charge any_charge() { return random_.below(2) == 0 ? Charge::kNow : Charge::kOnTouch; }
  void allocate() {
    const bool block = random_.below(2) == 0;
    const unsigned order = static_cast<unsigned>(random_.below(7));
    const uint64_t count = block ? uint64_t{1} << order : 1 + random_.below(random_.below(4) == 0 ? 1500 : 40);
    const Charge charge = block ? Charge::kNow : any_charge();
    const PageRun run = block ? zone_->alloc_block(order_of(order), kMovable)
                              : zone_->alloc_run(Pages(count), Pages(1), kMovable, charge);
    if (!run) return absorb_purge();
    take(run.head, count, charge);
    live_[run.head] = {count, block};
  }
  void release(std::map<Pfn, Live>::iterator at) {
    const auto [head, live] = *at;
    const Touched touched = random_.below(2) == 0 ? Touched::kYes : Touched::kNo;
    if (live.block)
      zone_->free_block(head, order_of(static_cast<unsigned>(std::countr_zero(live.pages))), random_.next());
    else
      ASSERT_TRUE(zone_->free_run(head, touched));
    mark(owned_, head, live.pages, false);
    live_.erase(at);
  }
  void change_charge(std::map<Pfn, Live>::iterator at) {
    const Pfn pfn = at->first + static_cast<Pfn>(random_.below(at->second.pages));
    const uint64_t bit = uint64_t{1} << pfn % kClusterPages;
    const bool to = random_.below(2) == 0, changes = resident_[pfn] != to;
    const uint64_t changed = to ? zone_->charge(pfn / kClusterPages, bit) : zone_->uncharge(pfn / kClusterPages, bit);
    ASSERT_EQ(changed, changes ? bit : 0);
    resident_[pfn] = to;
  }
  void resize(std::map<Pfn, Live>::iterator at) {
    auto& [head, live] = *at;
    const uint64_t by = 1 + random_.below(50);
    if (live.block) return;
    if (random_.below(2) == 0) {
      const Charge charge = any_charge();
      const Pfn next = head + static_cast<Pfn>(live.pages);
      if (!zone_->extend_run(head, Pages(live.pages), Pages(by), charge)) return;
      take(next, by, charge);
      live.pages += by;
    } else if (live.pages > by) {
      zone_->shrink_run(head, Pages(live.pages), Pages(live.pages - by));
      live.pages -= by;
      mark(owned_, head + static_cast<Pfn>(live.pages), by, false);
    }
  }

  std::map<Pfn, Live> live_;
  std::vector<bool> owned_ = std::vector<bool>(kCapacity.v);
  std::vector<bool> resident_ = std::vector<bool>(kCapacity.v);
  int64_t outside_ = 0;
  uint64_t managed_ = kCapacity.v;
};

TEST_P(ZoneLimitModel, EveryCountIsExact) {
  for (int i = 0; i < 3000; ++i) {
    step();
    if (i % 8 == 0) expect_agreement();
    if (i % 200 == 0) {
      ASSERT_EQ(verify(), nullptr) << "step " << i;
    }
    if (HasFatalFailure()) FAIL() << "step " << i;
  }
  EXPECT_EQ(verify(), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ZoneLimitModel, testing::Range<uint64_t>(1, 5));

}  // namespace
}  // namespace weir
