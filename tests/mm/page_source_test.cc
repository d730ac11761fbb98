// page_source_test.cc: which zone an address belongs to.
#include "mm/page_source.h"

#include <gtest/gtest.h>

#include "support/private_nodes.h"

namespace weir {
namespace {

TEST(PageSource, AnAddressNamesItsZone) {
  PrivateNodes n(4, 0b0100);
  const size_t span = bytes_of(PrivateNodes::kCapacity);
  for (unsigned i = 0; i < 4; ++i) {
    char* first = n.base() + i * span;
    Zone* expected = i == 2 ? nullptr : &n.zone(i);
    EXPECT_EQ(n.source.zone_of(first), expected) << "node " << i;
    EXPECT_EQ(n.source.zone_of(first + span - 1), expected) << "node " << i;
  }
}

TEST(PageSource, ForeignAddressesNameNone) {
  PrivateNodes n(2, 0);
  int local = 0;
  EXPECT_EQ(n.source.zone_of(&local), nullptr);
  EXPECT_EQ(n.source.zone_of(nullptr), nullptr);
  EXPECT_EQ(n.source.zone_of(n.base() - 1), nullptr);
  EXPECT_EQ(n.source.zone_of(n.base() + 2 * bytes_of(PrivateNodes::kCapacity)), nullptr);
  EXPECT_EQ(n.source.zone_of(reinterpret_cast<void*>(~uintptr_t{0})), nullptr);
}

TEST(PageSource, KeepsTheZonelists) {
  PrivateNodes n(3, 0);
  const NodeId order[] = {NodeId(2), NodeId(0), NodeId(1)};
  n.source.set_zonelist(NodeId(2), order);
  ASSERT_EQ(n.source.zonelist(NodeId(2)).size(), 3u);
  EXPECT_EQ(n.source.zonelist(NodeId(2))[0], NodeId(2));
  EXPECT_EQ(n.source.zonelist(NodeId(2))[2], NodeId(1));
  EXPECT_EQ(n.source.nr_nodes(), 3u);
  EXPECT_EQ(n.source.zone(NodeId(1)).node(), NodeId(1));
}

}  // namespace
}  // namespace weir
