// buddy_property_test.cc: random operations on a Buddy beside a model that knows the owner of every page.
#include <gtest/gtest.h>

#include <bit>
#include <map>
#include <random>

#include "page/buddy.h"
#include "support/bare_buddy.h"

namespace weir {
namespace {

class BuddyProperty : public testing::TestWithParam<uint64_t> {
 protected:
  static constexpr uint64_t kCapacity = 12 * kMaxOrderPages;

  uint64_t below(uint64_t n) { return random_() % n; }
  MigrateType any_type() { return static_cast<MigrateType>(below(kNrMigrateTypes)); }

  void own(Pfn first, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      ASSERT_LT(first + i, managed_);
      ASSERT_FALSE(taken_[first + i]) << "page " << first + i << " was given out twice";
      taken_[first + i] = true;
    }
    live_[first] = count;
  }
  void disown(Pfn first, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) taken_[first + i] = false;
    b_->give_range(first, Pages(count));
  }
  // True when the model has free pages at some multiple of `align`.
  bool has_free(uint64_t count, uint64_t align) const {
    for (uint64_t first = 0; first + count <= managed_; first += align) {
      uint64_t i = 0;
      while (i < count && !taken_[first + i]) ++i;
      if (i == count) return true;
    }
    return false;
  }

  void take_block() {
    const unsigned order = static_cast<unsigned>(below(kNrOrders));
    const Pfn pfn = b_->take_block(order_of(order), any_type());
    if (pfn == kNoPfn) {
      ASSERT_FALSE(has_free(uint64_t{1} << order, uint64_t{1} << order)) << "order " << order << " was there";
      return;
    }
    ASSERT_EQ(pfn % (uint64_t{1} << order), 0u);
    own(pfn, uint64_t{1} << order);
  }

  void take_run() {
    const uint64_t count = 1 + below(below(8) == 0 ? 3 * kMaxOrderPages : below(4) == 0 ? kMaxOrderPages : 64);
    const uint64_t align = below(2) == 0 ? 1 : uint64_t{1} << below(kNrOrders);
    const Pfn pfn = b_->take_run(Pages(count), Pages(align), any_type());
    const uint64_t widest = count > align ? count : align;
    if (pfn == kNoPfn) {
      // Up to a largest block, any free block of the next power of two must do; beyond, any whole largest blocks.
      const uint64_t block = std::bit_ceil(widest);
      if (widest <= kMaxOrderPages)
        ASSERT_FALSE(has_free(block, block)) << count << " at " << align << " was there";
      else
        ASSERT_FALSE(has_free(align_up(count, kMaxOrderPages), kMaxOrderPages));
      return;
    }
    ASSERT_EQ(pfn % align, 0u);
    own(pfn, count);
  }

  void give_back() {
    if (live_.empty()) return;
    auto at = live_.lower_bound(static_cast<Pfn>(below(managed_)));
    if (at == live_.end()) at = live_.begin();
    const auto [first, count] = *at;
    live_.erase(at);
    // Some owners touch all of it, some a part, some nothing.
    const uint64_t touched = below(3) == 0 ? 0 : below(2) == 0 ? count : below(count);
    b_.touch(first + static_cast<Pfn>(below(count - touched + 1)), touched);
    disown(first, count);
  }

  void extend() {
    if (live_.empty()) return;
    auto at = live_.lower_bound(static_cast<Pfn>(below(managed_)));
    if (at == live_.end() || b_.pages[at->first].state != PageState::kRun) return;
    const uint64_t extra = 1 + below(100);
    const Pfn next = at->first + static_cast<Pfn>(at->second);
    uint64_t free = 0;
    while (free < extra && next + free < managed_ && !taken_[next + free]) ++free;
    ASSERT_EQ(b_->free_at(next, Pages(extra)).v, free);
    ASSERT_EQ(b_->take_following(next, Pages(extra)), free == extra);
    if (free != extra) return;
    for (uint64_t i = 0; i < extra; ++i) taken_[next + i] = true;
    at->second += extra;
    b_.pages[at->first].count = static_cast<uint32_t>(at->second);
  }

  void shrink() {
    if (live_.empty()) return;
    auto at = live_.lower_bound(static_cast<Pfn>(below(managed_)));
    if (at == live_.end() || b_.pages[at->first].state != PageState::kRun || at->second < 2) return;
    const uint64_t keep = 1 + below(at->second - 1);
    b_.pages[at->first].count = static_cast<uint32_t>(keep);
    disown(at->first + static_cast<Pfn>(keep), at->second - keep);
    at->second = keep;
  }

  void purge() {
    Pfn isolated[8];
    unsigned n = 0;
    const Order largest = order_of(static_cast<unsigned>(below(kNrOrders)));
    while (n < 8 && (isolated[n] = b_->isolate_warm(largest)) != kNoPfn) {
      ASSERT_LE(b_.pages[isolated[n]].order, largest.v);
      ++n;
    }
    ASSERT_EQ(b_.verify(), nullptr);
    for (unsigned i = 0; i < n; ++i) {
      const uint64_t pages = uint64_t{1} << b_.pages[isolated[i]].order;
      if (below(4) != 0) b_.drop(isolated[i], pages);
      b_->putback(isolated[i]);
    }
  }

  void grow() {
    const uint64_t more = 16 * (1 + below(64));
    if (managed_ + more > kCapacity) return;
    b_->add_range(static_cast<Pfn>(managed_), Pages(more));
    managed_ += more;
  }

  void check() {
    ASSERT_EQ(b_.verify(), nullptr);
    uint64_t free = 0, resident = 0;
    for (uint64_t p = 0; p < managed_; ++p) {
      free += !taken_[p];
      resident += !taken_[p] && bitmap::test(b_.residency.data(), p);
    }
    ASSERT_EQ(b_->nr_free().v, free);
    ASSERT_EQ(b_->nr_free_resident().v, resident);
  }

  std::mt19937_64 random_{GetParam()};
  uint64_t managed_ = 256;
  BareBuddy b_{kCapacity, managed_};
  std::vector<bool> taken_ = std::vector<bool>(kCapacity);
  std::map<Pfn, uint64_t> live_;
};

TEST_P(BuddyProperty, AgreesWithTheModel) {
  for (unsigned step = 0; step < 8000; ++step) {
    // The mix drifts, so that the zone is nearly full and nearly empty in turns.
    const bool filling = step / 500 % 2 == 0;
    const uint64_t what = below(100);
    if (what < (filling ? 30u : 15u))
      take_block();
    else if (what < (filling ? 55u : 30u))
      take_run();
    else if (what < 80)
      give_back();
    else if (what < 88)
      extend();
    else if (what < 94)
      shrink();
    else if (what < 97)
      purge();
    else
      grow();
    if (HasFatalFailure()) FAIL() << "in step " << step;
    if (step % 16 == 0) check();
  }
  while (!live_.empty()) give_back();
  check();
  EXPECT_EQ(b_->nr_free().v, managed_);
  uint64_t blocks = 0;
  const BuddyStats stats = b_.stats();
  for (unsigned t = 0; t < kNrMigrateTypes; ++t) blocks += stats.free_blocks[t][kMaxOrder];
  EXPECT_EQ(blocks, managed_ / kMaxOrderPages) << "all is merged again";
}

INSTANTIATE_TEST_SUITE_P(Seeds, BuddyProperty, testing::Range<uint64_t>(1, 9));

}  // namespace
}  // namespace weir
