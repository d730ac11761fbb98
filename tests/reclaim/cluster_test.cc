// cluster_test.cc: the state of pages grows with the arena and keeps what it holds; lists of clusters beside a model.
#include "reclaim/cluster.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <list>

#include "os/vm.h"
#include "support/random.h"

namespace weir {
namespace {

// What state becomes accessible by (cluster.cc): 64 MiB of arena.
constexpr uint64_t kStep = (uint64_t{64} << 20) / kPageSize;

// Asked of the kernel, which tells without a signal.
bool accessible(const void* p) {
  int ends[2];
  if (pipe(ends) != 0) abort();
  const bool can = write(ends[1], p, 1) == 1;
  close(ends[0]);
  close(ends[1]);
  return can;
}

class ClusterMapTest : public testing::Test {
 protected:
  ~ClusterMapTest() override { map_.destroy(); }
  void mark(Pfn first, Pfn end) {
    for (Pfn p = first; p < end; ++p) map_.entry(p) = SwapEntry(SwapEntry::Kind::kFile, p + 1);
    for (ClusterId c = first / kClusterPages; c < end / kClusterPages; ++c) {
      map_[c].allocated.store(c + 1);
      map_[c].on_zswap = true;
      for (unsigned k = 0; k < 3; ++k) {
        map_.links(c).next[k] = c * 8 + k;
        map_.links(c).prev[k] = c * 8 + k + 4;
      }
    }
  }
  void expect_marked(Pfn end) {
    for (Pfn p = 0; p < end; ++p) ASSERT_EQ(map_.entry(p).handle(), p + 1u);
    for (ClusterId c = 0; c < end / kClusterPages; ++c) {
      ASSERT_EQ(map_[c].allocated.load(), c + 1);
      ASSERT_TRUE(map_[c].on_zswap);
      for (unsigned k = 0; k < 3; ++k) {
        ASSERT_EQ(map_.links(c).next[k], c * 8 + k);
        ASSERT_EQ(map_.links(c).prev[k], c * 8 + k + 4);
      }
    }
  }
  void expect_clear(Pfn first, Pfn end) {
    for (Pfn p = first; p < end; ++p) ASSERT_FALSE(map_.entry(p));
    for (ClusterId c = first / kClusterPages; c < end / kClusterPages; ++c) {
      const Cluster& m = map_[c];
      ASSERT_EQ(m.allocated | m.busy | m.standby | m.swapped | m.active | m.garbage | m.wanted, 0u);
      ASSERT_FALSE(m.owned || m.listed || m.on_standby || m.on_zswap);
    }
  }
  ClusterMap map_;
};

TEST_F(ClusterMapTest, GrowsAndKeepsWhatItHolds) {
  ASSERT_TRUE(map_.init(Pages(5 * kStep - 3)));
  EXPECT_EQ(map_.covered(), Pages(0));
  for (uint64_t step = 1; step <= 5; ++step) {
    const Pfn before = static_cast<Pfn>((step - 1) * kStep), end = static_cast<Pfn>(step * kStep);
    ASSERT_TRUE(map_.cover(Pages(before + 1)));
    ASSERT_EQ(map_.covered(), Pages(end));
    expect_clear(before, end);
    mark(before, end);
    expect_marked(end);
    if (HasFatalFailure()) return;
  }
}

TEST_F(ClusterMapTest, SeveralStepsAtOnceAndNoneBack) {
  ASSERT_TRUE(map_.init(Pages(4 * kStep)));
  ASSERT_TRUE(map_.cover(Pages(2 * kStep + 1)));
  EXPECT_EQ(map_.covered(), Pages(3 * kStep));
  mark(0, 3 * kStep);
  ASSERT_TRUE(map_.cover(Pages(1)));
  ASSERT_TRUE(map_.cover(Pages(3 * kStep)));
  EXPECT_EQ(map_.covered(), Pages(3 * kStep));
  expect_marked(3 * kStep);
}

TEST_F(ClusterMapTest, WhatIsNotCoveredCannotBeTouched) {
  ASSERT_TRUE(map_.init(Pages(4 * kStep)));
  EXPECT_FALSE(accessible(&map_[0]));
  ASSERT_TRUE(map_.cover(Pages(kStep)));
  EXPECT_TRUE(accessible(&map_[kStep / kClusterPages - 1]));
  EXPECT_TRUE(accessible(&map_.links(kStep / kClusterPages - 1)));
  EXPECT_TRUE(accessible(&map_.entry(kStep - 1)));
  EXPECT_FALSE(accessible(&map_[kStep / kClusterPages]));
  EXPECT_FALSE(accessible(&map_.entry(kStep)));
}

TEST_F(ClusterMapTest, CoverageCostsNoMemory) {
  ASSERT_TRUE(map_.init(Pages(kStep)));
  ASSERT_TRUE(map_.cover(Pages(kStep)));
  EXPECT_EQ(os::vm_resident(&map_[0], kStep / kClusterPages * sizeof(Cluster)), Pages(0));
  EXPECT_EQ(os::vm_resident(&map_.entry(0), kStep * sizeof(SwapEntry)), Pages(0));
}

TEST_F(ClusterMapTest, NoAddressSpaceIsToldAndNothingIsLeft) {
  EXPECT_FALSE(map_.init(Pages(uint64_t{1} << 46)));
  map_.destroy();
  ASSERT_TRUE(map_.init(Pages(1)));
  ASSERT_TRUE(map_.cover(Pages(1)));
  const void* first = &map_[0];
  map_.destroy();
  EXPECT_EQ(map_.covered(), Pages(0));
  EXPECT_FALSE(accessible(first));
  map_.destroy();
}

TEST(Cluster, PagesAndClusters) {
  EXPECT_EQ(cluster_of(63), 0u);
  EXPECT_EQ(cluster_of(64), 1u);
  EXPECT_EQ(page_bit(64), 1u);
  EXPECT_EQ(page_bit(127), uint64_t{1} << 63);
  EXPECT_EQ(kClustersPerPageblock, 8u);
}

// All three lists of a node over the same clusters, of which each may be on any of them.
TEST_F(ClusterMapTest, ListsBesideAModel) {
  constexpr unsigned kClusters = 40;
  ASSERT_TRUE(map_.init(Pages(kStep)));
  ASSERT_TRUE(map_.cover(Pages(kStep)));
  ClusterList lists[] = {ClusterList(ClusterList::kPresent), ClusterList(ClusterList::kStandby),
                         ClusterList(ClusterList::kZswap)};
  std::list<ClusterId> models[3];
  Random random(1);
  for (int i = 0; i < 20000; ++i) {
    const unsigned which = static_cast<unsigned>(random.below(3));
    const ClusterId c = static_cast<ClusterId>(random.below(kClusters));
    std::list<ClusterId>& model = models[which];
    const auto at = std::find(model.begin(), model.end(), c);
    if (at == model.end()) {
      model.push_back(c);
      lists[which].push(map_, c);
    } else {
      model.erase(at);
      lists[which].remove(map_, c);
    }
    for (unsigned k = 0; k < 3; ++k) {
      ASSERT_EQ(lists[k].size(), models[k].size());
      ClusterId next = lists[k].oldest(), before = kNoCluster;
      for (const ClusterId expected : models[k]) {
        ASSERT_EQ(next, expected) << "step " << i;
        ASSERT_EQ(map_.links(next).prev[k], before);
        before = next;
        next = map_.links(next).next[k];
      }
      ASSERT_EQ(next, kNoCluster);
    }
  }
}

TEST_F(ClusterMapTest, FirstInFirstOut) {
  ASSERT_TRUE(map_.init(Pages(kStep)));
  ASSERT_TRUE(map_.cover(Pages(kStep)));
  ClusterList list(ClusterList::kStandby);
  EXPECT_EQ(list.oldest(), kNoCluster);
  for (const ClusterId c : {3u, 1u, 2u}) list.push(map_, c);
  for (const ClusterId c : {3u, 1u, 2u}) {
    EXPECT_EQ(list.oldest(), c);
    list.remove(map_, c);
  }
  EXPECT_EQ(list.oldest(), kNoCluster);
  EXPECT_EQ(list.size(), 0u);
}

}  // namespace
}  // namespace weir
