// hwloc_api_test.cc: weir/topology.h on a synthetic machine of known shape.
#include <errno.h>
#include <gtest/gtest.h>

#include <memory>

#include "topology/fake_machine.h"
#include "topology/sysfs.h"
#include "weir/topology.h"

namespace weir::test {
namespace {

struct Free {
  void operator()(weir_topology* topology) const { weir_topology_free(topology); }
};
using Handle = std::unique_ptr<weir_topology, Free>;

Handle load(const char* synthetic) {
  ScopedEnv env("HWLOC_SYNTHETIC", synthetic);
  return Handle(weir_topology_load());
}

TEST(TopologyApi, TellsTheMachine) {
  Handle topology = load("numa:3(memory=2147483648) core:2 pu:2");
  ASSERT_NE(topology, nullptr);
  EXPECT_EQ(weir_topology_nr_nodes(topology.get()), 3u);
  weir_topology_node node = {};
  ASSERT_EQ(weir_topology_node_info(topology.get(), 2, &node), 0);
  EXPECT_EQ(node.memory_bytes, uint64_t{2} << 30);
  EXPECT_EQ(node.os_index, 2u);
  EXPECT_EQ(node.nr_cpus, 4u);
  EXPECT_EQ(node.allowed, 1);
  EXPECT_EQ(weir_topology_cpu_to_node(topology.get(), 4), 1);
  EXPECT_EQ(weir_topology_distance(topology.get(), 0, 0), 10u);
  EXPECT_EQ(weir_topology_distance(topology.get(), 0, 2), 20u);
}

TEST(TopologyApi, ZonelistFillsWhatFits) {
  Handle topology = load("numa:3 core:1 pu:1");
  ASSERT_NE(topology, nullptr);
  unsigned nodes[4] = {99, 99, 99, 99};
  EXPECT_EQ(weir_topology_zonelist(topology.get(), 1, nullptr, 0), 3u);
  EXPECT_EQ(weir_topology_zonelist(topology.get(), 1, nodes, 2), 3u);
  EXPECT_EQ(nodes[0], 1u);
  EXPECT_EQ(nodes[1], 0u);
  EXPECT_EQ(nodes[2], 99u);
  EXPECT_EQ(weir_topology_zonelist(topology.get(), 1, nodes, 4), 3u);
  EXPECT_EQ(nodes[2], 2u);
  EXPECT_EQ(nodes[3], 99u);
}

TEST(TopologyApi, WrongNumbersAreEinval) {
  Handle topology = load("numa:2 core:1 pu:1");
  ASSERT_NE(topology, nullptr);
  weir_topology_node node;
  const auto is_einval = [](bool failed) {
    const bool expected = failed && errno == EINVAL;
    errno = 0;
    return expected;
  };
  errno = 0;
  EXPECT_TRUE(is_einval(weir_topology_node_info(topology.get(), 2, &node) == -1));
  EXPECT_TRUE(is_einval(weir_topology_cpu_to_node(topology.get(), 2) == -1));
  EXPECT_TRUE(is_einval(weir_topology_cpu_to_node(topology.get(), ~0u) == -1));
  EXPECT_TRUE(is_einval(weir_topology_distance(topology.get(), 0, 2) == 0));
  EXPECT_TRUE(is_einval(weir_topology_distance(topology.get(), 2, 0) == 0));
  EXPECT_TRUE(is_einval(weir_topology_zonelist(topology.get(), 2, nullptr, 0) == 0));
}

TEST(TopologyApi, BadDescriptionIsEinval) {
  errno = 0;
  EXPECT_EQ(load("no such machine"), nullptr);
  EXPECT_EQ(errno, EINVAL);
  weir_topology_free(nullptr);
}

TEST(TopologyApi, ThisMachineIsTheOneOfSysfs) {
  Handle topology(weir_topology_load());
  ASSERT_NE(topology, nullptr);
  Topology from_sysfs;
  read_sysfs(from_sysfs);
  EXPECT_EQ(weir_topology_nr_nodes(topology.get()), from_sysfs.nr_nodes);
}

TEST(TopologyApi, PrintsEveryNode) {
  Handle topology = load("numa:2(memory=1073741824) core:2 pu:1");
  ASSERT_NE(topology, nullptr);
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  weir_topology_print(topology.get(), pipe_ends[1]);
  close(pipe_ends[1]);
  char text[2048];
  const ssize_t size = read(pipe_ends[0], text, sizeof(text));
  close(pipe_ends[0]);
  ASSERT_GT(size, 0);
  EXPECT_EQ(std::string(text, static_cast<size_t>(size)),
            "nodes 2, cpus 4\n"
            "node 0: memory 1048576 KiB, cpus 0-1, zonelist 0 1\n"
            "node 1: memory 1048576 KiB, cpus 2-3, zonelist 1 0\n"
            "distance      0     1\n"
            "node    0    10    20\n"
            "node    1    20    10\n");
}

}  // namespace
}  // namespace weir::test
