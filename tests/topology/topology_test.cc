// topology_test.cc: nodes, processors and zonelists of a Topology filled by hand.
#include "topology/topology.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "topology/compare.h"

namespace weir::test {
namespace {

std::vector<unsigned> zonelist_of(const Topology& topology, unsigned node) {
  std::vector<unsigned> ids;
  for (NodeId id : topology.zonelist(to_node_id(node))) ids.push_back(id.v);
  return ids;
}

// Nodes of 1 GiB each, at the default distances.
std::unique_ptr<Topology> machine(unsigned nr_nodes) {
  auto topology = std::make_unique<Topology>();
  for (unsigned i = 0; i < nr_nodes; ++i) {
    topology->add_node(i);
    topology->nodes[i].memory_bytes = uint64_t{1} << 30;
  }
  return topology;
}

using Ids = std::vector<unsigned>;

TEST(Topology, EmptyOneCannotBeFinished) {
  Topology topology;
  EXPECT_FALSE(topology.finish());
  topology.add_node(0);
  EXPECT_FALSE(topology.finish()) << "a machine without memory";
}

TEST(Topology, EqualDistancesGoById) {
  auto topology = machine(4);
  ASSERT_TRUE(topology->finish());
  EXPECT_EQ(zonelist_of(*topology, 0), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(zonelist_of(*topology, 2), (Ids{2, 0, 1, 3}));
  EXPECT_EQ(topology->distance(NodeId(1), NodeId(1)), kLocalDistance);
  EXPECT_EQ(topology->distance(NodeId(1), NodeId(3)), kRemoteDistance);
}

TEST(Topology, NearerNodesComeFirst) {
  auto topology = machine(4);
  topology->set_distance(NodeId(0), NodeId(1), 31);
  topology->set_distance(NodeId(0), NodeId(2), 30);
  topology->set_distance(NodeId(0), NodeId(3), 12);
  ASSERT_TRUE(topology->finish());
  EXPECT_EQ(zonelist_of(*topology, 0), (Ids{0, 3, 2, 1}));
}

TEST(Topology, NodeItselfIsFirstWhateverTheMatrixSays) {
  auto topology = machine(3);
  topology->set_distance(NodeId(1), NodeId(1), 200);
  topology->set_distance(NodeId(1), NodeId(0), 10);
  ASSERT_TRUE(topology->finish());
  EXPECT_EQ(zonelist_of(*topology, 1), (Ids{1, 0, 2}));
}

TEST(Topology, NodeWithoutMemoryUsesItsNearest) {
  auto topology = machine(3);
  topology->nodes[1].memory_bytes = 0;
  topology->add_cpu(5, NodeId(1));
  topology->set_distance(NodeId(1), NodeId(2), 15);
  ASSERT_TRUE(topology->finish());
  EXPECT_FALSE(topology->nodes[1].usable());
  EXPECT_EQ(zonelist_of(*topology, 1), (Ids{2, 0}));
  EXPECT_EQ(zonelist_of(*topology, 0), (Ids{0, 2}));
  EXPECT_EQ(topology->cpu_to_node(5), NodeId(1));
}

TEST(Topology, ForbiddenNodesAreInNoZonelist) {
  auto topology = machine(3);
  topology->nodes[0].forbidden = true;
  ASSERT_TRUE(topology->finish());
  for (unsigned i = 0; i < 3; ++i) {
    for (unsigned id : zonelist_of(*topology, i)) EXPECT_NE(id, 0u);
  }
}

TEST(Topology, ProhibitionOfEverythingIsDropped) {
  auto topology = machine(2);
  topology->nodes[0].forbidden = topology->nodes[1].forbidden = true;
  ASSERT_TRUE(topology->finish());
  EXPECT_EQ(zonelist_of(*topology, 1), (Ids{1, 0}));
}

TEST(Topology, ProcessorsHaveOneNode) {
  auto topology = machine(2);
  topology->add_cpu(3, NodeId(1));
  topology->add_cpu(3, NodeId(0));         // the first owner stays
  topology->add_cpu(kMaxCpus, NodeId(1));  // out of range
  topology->add_cpu(4, NodeId(2));         // no such node
  topology->add_cpu(kMaxCpus - 1, NodeId(1));
  EXPECT_EQ(topology->cpu_to_node(3), NodeId(1));
  EXPECT_EQ(topology->cpu_to_node(kMaxCpus - 1), NodeId(1));
  EXPECT_EQ(topology->nr_cpus, 2u);
  EXPECT_EQ(topology->nodes[1].nr_cpus, 2u);
  EXPECT_FALSE(topology->nodes[0].has_cpus());
  EXPECT_FALSE(topology->knows_cpu(4));
  EXPECT_EQ(topology->cpu_to_node(4), NodeId(0));
  EXPECT_EQ(topology->cpu_to_node(~0u), NodeId(0));
}

TEST(Topology, NodesBeyondTheLimitAreCounted) {
  auto topology = machine(kMaxNodes);
  EXPECT_FALSE(topology->add_node(kMaxNodes));
  EXPECT_FALSE(topology->add_node(kMaxNodes + 1));
  EXPECT_EQ(topology->nr_nodes, kMaxNodes);
  EXPECT_EQ(topology->nr_nodes_ignored, 2u);
  ASSERT_TRUE(topology->finish());
  EXPECT_EQ(topology->zonelist(NodeId(kMaxNodes - 1)).size(), kMaxNodes);
}

TEST(Topology, KernelIdsMayHaveGaps) {
  Topology topology;
  topology.add_node(3);
  topology.add_node(1000);
  NodeId id;
  ASSERT_TRUE(topology.find_os_index(1000, id));
  EXPECT_EQ(id, NodeId(1));
  EXPECT_FALSE(topology.find_os_index(0, id));
}

TEST(Topology, ClearedOneIsLikeNew) {
  auto used = machine(5);
  used->add_cpu(17, NodeId(4));
  used->set_distance(NodeId(0), NodeId(4), 99);
  ASSERT_TRUE(used->finish());
  used->clear();
  EXPECT_EQ(memcmp(static_cast<const void*>(used.get()), std::make_unique<Topology>().get(), sizeof(Topology)), 0);
}

TEST(Topology, DistancesBeyondSixteenBitsAreCut) {
  auto topology = machine(2);
  topology->set_distance(NodeId(0), NodeId(1), 1u << 20);
  EXPECT_EQ(topology->distance(NodeId(0), NodeId(1)), UINT16_MAX);
}

TEST(Topology, RandomMachinesHaveOrderedZonelists) {
  std::mt19937 random(20);
  for (int round = 0; round < 200; ++round) {
    const unsigned nr_nodes = 1 + static_cast<unsigned>(random() % kMaxNodes);
    auto topology = machine(nr_nodes);
    for (unsigned i = 0; i < nr_nodes; ++i) {
      if (random() % 4 == 0) topology->nodes[i].memory_bytes = 0;
      topology->nodes[i].forbidden = random() % 8 == 0;
      for (unsigned j = 0; j < nr_nodes; ++j) topology->set_distance(to_node_id(i), to_node_id(j), 10 + random() % 8);
    }
    topology->nodes[random() % nr_nodes].memory_bytes = 4096;
    ASSERT_TRUE(topology->finish());
    expect_zonelists_in_order(*topology);
  }
}

}  // namespace
}  // namespace weir::test
