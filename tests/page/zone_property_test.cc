// zone_property_test.cc: random operations on a Zone beside a model: every page of every run holds content that is
// checked when the run changes or goes, and pages that are called untouched must be zeros.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "support/pattern.h"
#include "support/private_zone.h"

namespace weir {
namespace {

struct Live {
  uint64_t pages = 0;
  uint64_t seed = 0;
  bool block = false;
  bool moved = false;
};

class ZoneProperty : public testing::TestWithParam<uint64_t> {
 protected:
  uint64_t below(uint64_t n) { return random_() % n; }
  MigrateType any_type() { return static_cast<MigrateType>(below(kNrMigrateTypes)); }
  std::map<Pfn, Live>::iterator any() {
    auto at = live_.lower_bound(static_cast<Pfn>(below(kCapacity.v)));
    return at == live_.end() ? live_.begin() : at;
  }
  void fill(Pfn head, Live& live) {
    live.seed = random_();
    for (uint64_t i = 0; i < live.pages; ++i) stamp(head, i, live.seed);
  }
  void stamp(Pfn head, uint64_t page, uint64_t seed) {
    uint64_t* word = reinterpret_cast<uint64_t*>(z_->address(head + static_cast<Pfn>(page)));
    word[0] = word[kPageSize / 8 - 1] = pattern_word(seed, page);
  }
  void expect_content(Pfn head, const Live& live, uint64_t pages) {
    for (uint64_t i = 0; i < pages; ++i) {
      const uint64_t* word = reinterpret_cast<uint64_t*>(z_->address(head + static_cast<Pfn>(i)));
      ASSERT_EQ(word[0], pattern_word(live.seed, i)) << "page " << i << " of " << live.pages;
      ASSERT_EQ(word[kPageSize / 8 - 1], pattern_word(live.seed, i));
    }
  }
  void accept(const PageRun& run, Live live) {
    auto next = live_.lower_bound(run.head);
    ASSERT_TRUE(next == live_.end() || run.head + live.pages <= next->first) << "overlaps the next one";
    ASSERT_TRUE(next == live_.begin() || std::prev(next)->first + std::prev(next)->second.pages <= run.head);
    // Pages that nobody has touched since the system gave them must read as zeros: calloc builds on it.
    uint64_t maybe = 0;
    const Pfn end = run.head + static_cast<Pfn>(live.pages);
    for (Pfn p = run.head; p < end;) {
      const Zone::Stretch s = z_->find_content(p, end);
      for (; p < s.first; ++p) {
        const uint64_t* word = reinterpret_cast<uint64_t*>(z_->address(p));
        ASSERT_EQ(word[0] | word[kPageSize / 8 - 1], 0u) << "page " << p << " is called untouched";
      }
      maybe += s.end - s.first;
      p = s.end;
    }
    ASSERT_EQ(run.resident.v, maybe);
    fill(run.head, live);
    live_[run.head] = live;
    charged_ += live.pages;
  }

  void allocate() {
    Live live;
    live.block = below(3) == 0;
    if (live.block) {
      const Order order(static_cast<uint8_t>(below(7)));
      live.pages = pages_of(order).v;
      if (const PageRun run = z_->alloc_block(order, any_type())) accept(run, live);
      return;
    }
    live.pages = 1 + below(below(10) == 0 ? 5 * kMaxOrderPages : below(3) == 0 ? 1000 : 32);
    const Pages align(below(3) == 0 ? uint64_t{1} << below(13) : 1);
    const PageRun run = z_->alloc_run(Pages(live.pages), align, any_type());
    if (!run) return;
    ASSERT_EQ(reinterpret_cast<uintptr_t>(z_->address(run.head)) % bytes_of(align), 0u);
    accept(run, live);
  }

  void release() {
    if (live_.empty()) return;
    const auto at = any();
    const auto [head, live] = *at;
    expect_content(head, live, live.pages);
    charged_ -= live.pages;
    live_.erase(at);
    if (live.block) {
      const unsigned order = static_cast<unsigned>(__builtin_ctzll(live.pages));
      z_->free_block(head, Order(static_cast<uint8_t>(order)),
                     live.pages == 64 ? ~uint64_t{0} : (uint64_t{1} << live.pages) - 1);
    } else {
      ASSERT_TRUE(!live.moved || z_->renew_mapping(head, Pages(live.pages)));
      ASSERT_TRUE(z_->free_run(head, live.moved ? Touched::kNo : Touched::kYes));
    }
  }

  void resize() {
    if (live_.empty()) return;
    const auto at = any();
    const Pfn head = at->first;
    Live& live = at->second;
    if (live.block || live.moved) return;
    if (below(2) == 0 && live.pages > 1) {
      const uint64_t keep = 1 + below(live.pages - 1);
      z_->shrink_run(head, Pages(live.pages), Pages(keep));
      charged_ -= live.pages - keep;
      live.pages = keep;
    } else {
      const uint64_t extra = 1 + below(200);
      if (!z_->extend_run(head, Pages(live.pages), Pages(extra))) return;
      expect_content(head, live, live.pages);
      live.pages += extra;
      charged_ += extra;
      fill(head, live);
    }
    expect_content(head, live, live.pages);
  }

  void move() {
    if (live_.empty() || kTsan) return;
    const auto at = any();
    const auto [head, live] = *at;
    if (live.block || live.pages < 8) return;
    const uint64_t longer = live.pages + below(live.pages);
    const PageRun to = z_->alloc_run(Pages(longer), Pages(1), MigrateType::kMovable);
    if (!to) return;
    if (z_->move_run(head, Pages(live.pages), to.head) == Zone::Move::kFailed) {
      // The range may span mappings that the system did not merge.
      ASSERT_TRUE(z_->free_run(to.head, Touched::kNo));
      expect_content(head, live, live.pages);
      return;
    }
    ++moves_;
    live_.erase(at);
    expect_content(to.head, live, live.pages);
    Live grown = live;
    charged_ += longer - live.pages;
    grown.pages = longer;
    grown.moved = true;
    fill(to.head, grown);
    live_[to.head] = grown;
  }

  void check() {
    ASSERT_EQ(z_.verify(), nullptr);
    const ZoneStats s = z_->stats();
    ASSERT_EQ(s.charged.v, charged_);
    ASSERT_LE(s.free_resident.v, s.accessible.v - s.charged.v);
  }

  static constexpr Pages kCapacity{48 * kMaxOrderPages};
  std::mt19937_64 random_{GetParam()};
  PrivateZone z_{kCapacity, GetParam() % 4 != 0};
  std::map<Pfn, Live> live_;
  uint64_t charged_ = 0;
  uint64_t moves_ = 0;
};

TEST_P(ZoneProperty, KeepsContentAndCounts) {
  for (unsigned step = 0; step < 2000; ++step) {
    const bool filling = step / 400 % 2 == 0;
    const uint64_t what = below(100);
    if (what < (filling ? 45u : 25u))
      allocate();
    else if (what < 70)
      release();
    else if (what < 90)
      resize();
    else if (what < 93)
      move();
    else if (what < 97)
      z_->decay_tick(Pages(below(64)));
    else
      z_->purge(Pages(below(4 * kMaxOrderPages)), Order(static_cast<uint8_t>(below(kNrOrders))), Zone::Metadata::kAlso);
    if (HasFatalFailure()) FAIL() << "in step " << step;
    if (step % 16 == 0) check();
  }
  while (!live_.empty() && !HasFatalFailure()) release();
  z_->purge(Pages(~uint64_t{0}), Order(kMaxOrder), Zone::Metadata::kAlso);
  check();
  const ZoneStats s = z_->stats();
  EXPECT_EQ(s.charged, Pages(0));
  EXPECT_EQ(s.free_resident, Pages(0));
  EXPECT_EQ(z_.resident(0, s.accessible), Pages(0)) << "and the system agrees";
  EXPECT_TRUE(GetParam() % 4 == 0 || kTsan || moves_ != 0) << "no run was moved: the test does not test that";
}

INSTANTIATE_TEST_SUITE_P(Seeds, ZoneProperty, testing::Range<uint64_t>(1, 7));

}  // namespace
}  // namespace weir
