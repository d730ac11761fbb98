// heap_soft_limit_test.cc: the heap that is furthest above its soft limit, of a few and of thousands.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "support/private_heaps.h"
#include "support/random.h"

namespace weir {
namespace {

constexpr size_t kCapacity = size_t{1} << 30;

class HeapSoftLimit : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(h_.start(kCapacity)); }
  HeapId make(size_t pages, uint64_t soft_pages) {
    HeapSettings s;
    s.soft_limit = soft_pages * kPageSize;
    const HeapId id = h_.create(nullptr, s);
    EXPECT_NE(h_.malloc(id, pages * kPageSize), nullptr);
    return id;
  }
  // Its index, and how far it is above.
  std::pair<uint32_t, uint64_t> most() {
    Pages excess;
    const PageOwner* owner = h_.registry->most_over_soft_limit(NodeId(0), excess);
    return owner == nullptr ? std::pair{0u, uint64_t{0}} : std::pair{owner->index(), excess.v};
  }
  PrivateHeaps h_;
};

TEST_F(HeapSoftLimit, OnlyWhoIsAboveItsOwn) {
  EXPECT_EQ(most(), std::pair(0u, uint64_t{0}));
  make(100, 0);
  make(100, 200);
  EXPECT_EQ(most(), std::pair(0u, uint64_t{0})) << "one has none, the other is below";
  const HeapId above = make(100, 90), far_above = make(50, 10);
  EXPECT_EQ(most(), std::pair(far_above.index(), uint64_t{40}));
  h_.destroy(far_above);
  EXPECT_EQ(most(), std::pair(above.index(), uint64_t{10}));
  ASSERT_EQ(h_.registry->set_soft_limit(above, 0), 0);
  EXPECT_EQ(most(), std::pair(0u, uint64_t{0}));
}

// One after the other comes below its own: at each moment the one that is named is really the furthest above.
TEST_F(HeapSoftLimit, OfThousandsInTheirOrder) {
  Random random(17);
  struct Made {
    HeapId id;
    uint64_t excess;
  };
  std::vector<Made> made;
  for (unsigned i = 0; i < 2000; ++i) {
    const size_t pages = 5 + random.below(60);
    const uint64_t soft = 1 + random.below(60);
    const HeapId id = make(pages, soft);
    const uint64_t charged = h_.charged(id);
    made.push_back({id, charged > soft ? charged - soft : 0});
  }
  std::stable_sort(made.begin(), made.end(), [](const Made& a, const Made& b) { return a.excess > b.excess; });
  for (const Made& each : made) {
    const auto [index, excess] = most();
    ASSERT_EQ(excess, each.excess);
    if (excess == 0) break;
    const auto named = std::find_if(made.begin(), made.end(), [&](const Made& m) { return m.id.index() == index; });
    ASSERT_EQ(named->excess, excess);
    // Those that are as far above stand beside it: which of them goes first is nobody's business.
    ASSERT_EQ(h_.registry->set_soft_limit(named->id, 0), 0);
    named->excess = each.excess;
  }
  EXPECT_EQ(most().second, 0u);
}

}  // namespace
}  // namespace weir
