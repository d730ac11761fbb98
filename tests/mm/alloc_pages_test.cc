// alloc_pages_test.cc: the order in which zones are asked for pages.
#include <gtest/gtest.h>

#include "support/private_nodes.h"

namespace weir {
namespace {

PageRequest request(unsigned node, uint64_t count) {
  PageRequest r;
  r.node = NodeId(static_cast<uint16_t>(node));
  r.count = Pages(count);
  return r;
}

TEST(AllocPages, FromThePreferredNodeWhileItHasAny) {
  PrivateNodes n(3, 0);
  for (unsigned node = 0; node < 3; ++node) {
    const PageGrant grant = n.source.alloc_pages(request(node, 5));
    ASSERT_TRUE(grant);
    EXPECT_EQ(grant.zone, &n.zone(node));
    EXPECT_EQ(n.charged(node), 5u);
  }
}

TEST(AllocPages, BlocksAndRuns) {
  PrivateNodes n(1, 0);
  PageRequest r = request(0, 8);
  const PageGrant run = n.source.alloc_pages(r);
  EXPECT_EQ(run.zone->desc(run.run.head).state, PageState::kRun);
  r.block = true;
  const PageGrant block = n.source.alloc_pages(r);
  EXPECT_EQ(block.zone->desc(block.run.head).state, PageState::kBlock);
  EXPECT_EQ(block.zone->desc(block.run.head).order, 3);
  r.block = false;
  r.align = Pages(256);
  const PageGrant aligned = n.source.alloc_pages(r);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(aligned.zone->address(aligned.run.head)) % (256 * kPageSize), 0u);
}

TEST(AllocPages, FallsBackInTheZonelistsOrder) {
  PrivateNodes n(3, 0);
  const NodeId order[] = {NodeId(1), NodeId(2), NodeId(0)};
  n.source.set_zonelist(NodeId(1), order);
  for (const unsigned expected : {1u, 2u, 0u}) {
    for (uint64_t taken = 0; taken < PrivateNodes::kCapacity.v; taken += kMaxOrderPages) {
      const PageGrant grant = n.source.alloc_pages(request(1, kMaxOrderPages));
      ASSERT_TRUE(grant);
      EXPECT_EQ(grant.zone, &n.zone(expected));
    }
  }
  EXPECT_FALSE(n.source.alloc_pages(request(1, 1))) << "all nodes are full";
  EXPECT_FALSE(n.source.alloc_pages(request(0, 1)));
}

// A request that does not fit the first node any more must not stop small ones from being served there.
TEST(AllocPages, FallsBackByRequest) {
  PrivateNodes n(2, 0);
  ASSERT_TRUE(n.source.alloc_pages(request(0, 3 * kMaxOrderPages)));
  EXPECT_EQ(n.source.alloc_pages(request(0, 2 * kMaxOrderPages)).zone, &n.zone(1));
  EXPECT_EQ(n.source.alloc_pages(request(0, 16)).zone, &n.zone(0));
}

TEST(AllocPages, ThisNodeOnlyDoesNotFallBack) {
  PrivateNodes n(2, 0);
  PageRequest r = request(0, kMaxOrderPages);
  r.this_node_only = true;
  for (uint64_t taken = 0; taken < PrivateNodes::kCapacity.v; taken += kMaxOrderPages)
    ASSERT_TRUE(n.source.alloc_pages(r));
  r.count = Pages(1);
  EXPECT_FALSE(n.source.alloc_pages(r));
  EXPECT_EQ(n.charged(1), 0u);
  r.this_node_only = false;
  EXPECT_EQ(n.source.alloc_pages(r).zone, &n.zone(1));
}

TEST(AllocPages, ANodeWithoutMemoryTakesFromItsNearest) {
  PrivateNodes n(3, 0b010);
  const NodeId order[] = {NodeId(2), NodeId(0)};
  n.source.set_zonelist(NodeId(1), order);
  EXPECT_EQ(n.source.alloc_pages(request(1, 1)).zone, &n.zone(2));
}

}  // namespace
}  // namespace weir
