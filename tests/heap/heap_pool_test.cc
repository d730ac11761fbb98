// heap_pool_test.cc: what the heaps of a process tell the other members of its pool, and what they do when one of them
// is chosen there.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "oom/badness.h"
#include "support/private_heaps.h"
#include "support/random.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{1} << 30;
constexpr Pages kTotal(100000);

class HeapPool : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(h_.start(kCapacity)); }
  HeapId make(const std::string& name, int adj, size_t pages, OomKill policy = OomKill::kRelease) {
    HeapSettings s;
    s.oom_score_adj = adj;
    s.oom_policy = policy;
    const HeapId id = h_.create(name.c_str(), s);
    EXPECT_NE(h_.malloc(id, pages * kPageSize), nullptr);
    return id;
  }
  std::vector<weir_pool_row> rows(uint64_t held) {
    std::vector<weir_pool_row> rows(WEIR_POOL_ROWS);
    rows[0].pages = held;
    rows.resize(h_.registry->pool_rows(rows.data(), WEIR_POOL_ROWS, kTotal));
    return rows;
  }
  weir_pool_order order(HeapId id, weir_pool_kill kill, uint64_t wanted) {
    weir_pool_order o = {};
    o.heap = id.bits;
    o.kill = kill;
    o.wanted = wanted;
    return o;
  }
  weir_pool_order_result carry_out(const weir_pool_order& o) { return h_.registry->carry_out(o, o.state); }
  PrivateHeaps h_;
};

TEST_F(HeapPool, TheProcessKeepsWhatIsInNoHeap) {
  const HeapId a = make("a", 5, 100), b = make("b", -1000, 50, OomKill::kAbort);
  const std::vector<weir_pool_row> all = rows(400);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].pages, 250u);
  EXPECT_EQ(all[0].heap, 0u);
  const weir_pool_row& first = all[1].heap == a.bits ? all[1] : all[2];
  const weir_pool_row& second = all[1].heap == a.bits ? all[2] : all[1];
  EXPECT_EQ(first.pages, 100u);
  EXPECT_EQ(first.oom_score_adj, 5);
  EXPECT_EQ(first.kill, WEIR_POOL_KILL_RELEASE);
  EXPECT_STREQ(first.name, "a");
  EXPECT_EQ(second.heap, b.bits);
  EXPECT_EQ(second.kill, WEIR_POOL_KILL_ABORT);
  EXPECT_LT(first.serial, second.serial);
  // More than there is, as of another moment, is nothing.
  EXPECT_EQ(rows(100)[0].pages, 0u);
}

// Of many, the ones that could be chosen, and who has grown most of the exempt ones; whatever the order they come in.
TEST_F(HeapPool, OfManyTheOnesWithMostPoints) {
  Random random(3);
  for (unsigned round = 0; round < 20; ++round) {
    struct Made {
      HeapId id;
      int64_t points;
    };
    std::vector<Made> made;
    HeapId grown;
    uint64_t growth = 0;
    for (unsigned i = 0; i < 60 + round; ++i) {
      const int adj = random.below(8) == 0 ? -1000 : static_cast<int>(random.below(2001)) - 1000;
      const size_t pages = 5 + random.below(200);
      const HeapId id = make("r" + std::to_string(round) + "-" + std::to_string(i), adj, pages);
      const uint64_t held = h_.charged(id);
      made.push_back({id, oom_badness(Pages(held), Pages(0), adj, kTotal)});
      if (adj == -1000 && held > growth) {
        growth = held;
        grown = id;
      }
    }
    std::stable_sort(made.begin(), made.end(), [](const Made& a, const Made& b) { return a.points < b.points; });
    const std::vector<weir_pool_row> all = rows(1 << 20);
    ASSERT_EQ(all.size(), size_t{WEIR_POOL_ROWS});
    const auto has = [&](HeapId id) {
      return std::count_if(all.begin(), all.end(), [&](const weir_pool_row& row) { return row.heap == id.bits; }) == 1;
    };
    if (grown) {
      EXPECT_TRUE(has(grown));
    }
    // One place may be the exempt one's.
    for (size_t i = 0; i < WEIR_POOL_ROWS - 2; ++i) EXPECT_TRUE(has(made[made.size() - 1 - i].id)) << i;
    for (const Made& each : made) h_.destroy(each.id);
  }
}

TEST_F(HeapPool, OrdersAreCarriedOut) {
  const HeapId kept = make("kept", 0, 100), capped = make("capped", 0, 100);
  const HeapId gone = make("gone", 0, 100);
  h_.destroy(gone);
  EXPECT_EQ(carry_out(order(gone, WEIR_POOL_KILL_RELEASE, 4)), WEIR_POOL_FREED);
  EXPECT_EQ(carry_out(order(capped, WEIR_POOL_KILL_FAIL, 100)), WEIR_POOL_DONE);
  EXPECT_TRUE(h_.stats(capped).capped);
  EXPECT_EQ(h_.malloc(capped, 8 * kPageSize), nullptr);
  const HeapId chosen = make("chosen", 0, 100);
  EXPECT_EQ(carry_out(order(chosen, WEIR_POOL_KILL_RELEASE, 4)), WEIR_POOL_DONE);
  HeapStats s;
  EXPECT_FALSE(h_.registry->stats(chosen, s));
  EXPECT_EQ(carry_out(order(chosen, WEIR_POOL_KILL_RELEASE, 4)), WEIR_POOL_FREED);
  EXPECT_EQ(h_.charged(kept), 100u);
  EXPECT_EQ(h_.allocator->verify(), nullptr);
}

// An owner that does not agree keeps what it has, and one that frees enough by itself loses nothing else.
TEST_F(HeapPool, OwnersAreAsked) {
  HeapSettings s;
  s.oom_policy = OomKill::kRelease;
  s.on_oom = [](weir_heap_t, size_t wanted, void* asked) {
    *static_cast<size_t*>(asked) = wanted;
    return int{WEIR_HEAP_STAYS};
  };
  size_t asked = 0;
  s.oom_arg = &asked;
  const HeapId stays = h_.create("stays", s);
  ASSERT_NE(h_.malloc(stays, 100 * kPageSize), nullptr);
  EXPECT_EQ(carry_out(order(stays, WEIR_POOL_KILL_RELEASE, 4)), WEIR_POOL_STAYS);
  EXPECT_EQ(asked, 4 * kPageSize);
  EXPECT_EQ(h_.charged(stays), 100u);
  // One that thinks until nobody wants it any more keeps what it has, whatever it says.
  static uint64_t state;
  s.on_oom = [](weir_heap_t, size_t, void*) {
    ++state;
    return int{WEIR_HEAP_MAY_GO};
  };
  const HeapId late = h_.create("late", s);
  ASSERT_NE(h_.malloc(late, 100 * kPageSize), nullptr);
  EXPECT_EQ(h_.registry->carry_out(order(late, WEIR_POOL_KILL_RELEASE, 4), state), WEIR_POOL_STAYS);
  EXPECT_EQ(h_.charged(late), 100u);
}

TEST_F(HeapPool, GrowthIsMeasuredFromTheLastKill) {
  const HeapId id = make("a", 0, 100);
  EXPECT_EQ(rows(400)[1].held_at_last_kill, 0u);
  Pages held;
  h_.registry->note_kill_of_all(held);
  EXPECT_EQ(held, Pages(100));
  EXPECT_NE(h_.malloc(id, 30 * kPageSize), nullptr);
  const weir_pool_row row = rows(400)[1];
  EXPECT_EQ(row.held_at_last_kill, 100u);
  EXPECT_EQ(row.pages, 130u);
}

}  // namespace
}  // namespace weir
