// Purpose: compares two topologies field by field, so that a difference is named.
#pragma once

#include <gtest/gtest.h>

#include "topology/topology.h"

namespace weir::test {

// What the zonelist rules say, checked without the code that builds them: every usable node exactly once, the node
// itself first where it is usable, then by distance, equal ones by id.
inline void expect_zonelists_in_order(const Topology& topology) {
  for (unsigned i = 0; i < topology.nr_nodes; ++i) {
    const NodeId id = to_node_id(i);
    const auto list = topology.zonelist(id);
    unsigned usable = 0;
    for (unsigned n = 0; n < topology.nr_nodes; ++n) usable += topology.nodes[n].usable() ? 1 : 0;
    ASSERT_EQ(list.size(), usable) << "node " << i;
    for (size_t k = 0; k < list.size(); ++k) {
      ASSERT_TRUE(topology.node(list[k]).usable()) << "node " << i << " entry " << k;
      if (list[k] == id) {
        ASSERT_EQ(k, 0u) << "node " << i << " is not in front of its own zonelist";
      } else if (k > 0 && list[k - 1] != id) {
        const unsigned before = topology.distance(id, list[k - 1]);
        const unsigned here = topology.distance(id, list[k]);
        ASSERT_TRUE(before < here || (before == here && list[k - 1] < list[k])) << "node " << i << " entry " << k;
      }
    }
  }
}

inline void expect_same(const Topology& a, const Topology& b) {
  ASSERT_EQ(a.nr_nodes, b.nr_nodes);
  EXPECT_EQ(a.nr_cpus, b.nr_cpus);
  EXPECT_EQ(a.nr_nodes_ignored, b.nr_nodes_ignored);
  for (unsigned i = 0; i < a.nr_nodes; ++i) {
    SCOPED_TRACE(testing::Message() << "node " << i);
    const NodeId id = to_node_id(i);
    EXPECT_EQ(a.node(id).os_index, b.node(id).os_index);
    EXPECT_EQ(a.node(id).memory_bytes, b.node(id).memory_bytes);
    EXPECT_EQ(a.node(id).nr_cpus, b.node(id).nr_cpus);
    EXPECT_EQ(a.node(id).forbidden, b.node(id).forbidden);
    for (unsigned j = 0; j < a.nr_nodes; ++j)
      EXPECT_EQ(a.distance(id, to_node_id(j)), b.distance(id, to_node_id(j))) << "to node " << j;
    ASSERT_EQ(a.zonelist(id).size(), b.zonelist(id).size());
    for (size_t k = 0; k < a.zonelist(id).size(); ++k) EXPECT_EQ(a.zonelist(id)[k].v, b.zonelist(id)[k].v);
  }
  for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) {
    ASSERT_EQ(a.knows_cpu(cpu), b.knows_cpu(cpu)) << "cpu " << cpu;
    ASSERT_EQ(a.cpu_to_node(cpu).v, b.cpu_to_node(cpu).v) << "cpu " << cpu;
  }
}

}  // namespace weir::test
