// sysfs_test.cc: the sysfs reader on made-up machines, and on trees that are damaged in every way.
#include "topology/sysfs.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <optional>
#include <random>

#include "topology/compare.h"
#include "topology/fake_machine.h"

namespace weir::test {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kGiBInKb = kGiB / 1024;

// Two sockets with two nodes each.
std::vector<FakeNode> two_sockets() {
  return {{0, {0, 1}, 4 * kGiBInKb, {10, 12, 32, 32}},
          {1, {2, 3}, 4 * kGiBInKb, {12, 10, 32, 32}},
          {2, {4, 5}, 8 * kGiBInKb, {32, 32, 10, 12}},
          {3, {6, 7}, 8 * kGiBInKb, {32, 32, 12, 10}}};
}

std::vector<unsigned> zonelist_of(const Topology& topology, unsigned node) {
  std::vector<unsigned> ids;
  for (NodeId id : topology.zonelist(to_node_id(node))) ids.push_back(id.v);
  return ids;
}

using Ids = std::vector<unsigned>;

TEST(Sysfs, TwoSocketsOfTwoNodes) {
  FakeMachine machine(two_sockets());
  Topology topology;
  ASSERT_TRUE(read_sysfs_tree(topology, machine.sys().c_str()));
  ASSERT_EQ(topology.nr_nodes, 4u);
  EXPECT_EQ(topology.nr_cpus, 8u);
  EXPECT_EQ(topology.nodes[2].memory_bytes, 8 * kGiB);
  EXPECT_EQ(topology.nodes[2].nr_cpus, 2u);
  for (unsigned cpu = 0; cpu < 8; ++cpu) EXPECT_EQ(topology.cpu_to_node(cpu).v, cpu / 2);
  EXPECT_EQ(topology.distance(NodeId(0), NodeId(1)), 12u);
  EXPECT_EQ(topology.distance(NodeId(1), NodeId(2)), 32u);
  EXPECT_EQ(zonelist_of(topology, 0), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(zonelist_of(topology, 3), (Ids{3, 2, 0, 1}));
}

TEST(Sysfs, SparseIdsBecomeDense) {
  FakeMachine machine({{1, {0}, kGiBInKb, {10, 40, 20}},
                       {8, {64, 2}, 2 * kGiBInKb, {40, 10, 20}},
                       {255, {1}, 3 * kGiBInKb, {20, 20, 10}}});
  Topology topology;
  ASSERT_TRUE(read_sysfs_tree(topology, machine.sys().c_str()));
  ASSERT_EQ(topology.nr_nodes, 3u);
  EXPECT_EQ(topology.nodes[1].os_index, 8);
  EXPECT_EQ(topology.nodes[2].os_index, 255);
  EXPECT_EQ(topology.cpu_to_node(64), NodeId(1));
  EXPECT_EQ(topology.distance(NodeId(0), NodeId(2)), 20u);
  EXPECT_EQ(zonelist_of(topology, 0), (Ids{0, 2, 1}));
}

TEST(Sysfs, MemoryOnlyAndProcessorOnlyNodes) {
  FakeMachine machine(
      {{0, {0, 1}, kGiBInKb, {10, 20, 17}}, {1, {2, 3}, 0, {20, 10, 28}}, {2, {}, 16 * kGiBInKb, {17, 28, 10}}});
  Topology topology;
  ASSERT_TRUE(read_sysfs_tree(topology, machine.sys().c_str()));
  EXPECT_FALSE(topology.nodes[1].usable());
  EXPECT_TRUE(topology.nodes[1].has_cpus());
  EXPECT_TRUE(topology.nodes[2].usable());
  EXPECT_FALSE(topology.nodes[2].has_cpus());
  EXPECT_EQ(zonelist_of(topology, 1), (Ids{0, 2}));
  EXPECT_EQ(zonelist_of(topology, 2), (Ids{2, 0}));
}

TEST(Sysfs, OfflineNodesDoNotExist) {
  FakeMachine machine(two_sockets());
  // Node 2 went offline: the others' rows lose a column, its folder may linger.
  machine.write("node/online", "0-1,3\n");
  machine.write("node/node0/distance", "10 12 32\n");
  machine.write("node/node1/distance", "12 10 33\n");
  machine.write("node/node3/distance", "32 33 10\n");
  Topology topology;
  ASSERT_TRUE(read_sysfs_tree(topology, machine.sys().c_str()));
  ASSERT_EQ(topology.nr_nodes, 3u);
  EXPECT_EQ(topology.nodes[2].os_index, 3);
  EXPECT_EQ(topology.distance(NodeId(1), NodeId(2)), 33u);
  EXPECT_FALSE(topology.knows_cpu(4));
}

TEST(Sysfs, ManyInterleavedProcessors) {
  std::vector<FakeNode> nodes(4);
  for (unsigned n = 0; n < 4; ++n) {
    nodes[n] = {n, {}, kGiBInKb, {10, 10, 10, 10}};
    for (unsigned cpu = n; cpu < kMaxCpus; cpu += 4) nodes[n].cpus.push_back(cpu);
  }
  FakeMachine machine;
  machine.write("node/online", "0-3\n");
  for (const FakeNode& node : nodes) {
    const std::string folder = text_of("node/node", node.os_index);
    machine.write(folder + "/cpumap", cpu_mask(node.cpus));
    machine.write(folder + "/meminfo", "Node 0 MemTotal: 1 kB\n");
  }
  Topology topology;
  ASSERT_TRUE(read_sysfs_tree(topology, machine.sys().c_str()));
  EXPECT_EQ(topology.nr_cpus, kMaxCpus);
  for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) ASSERT_EQ(topology.cpu_to_node(cpu).v, cpu % 4);
}

TEST(Sysfs, MoreNodesThanWeirHas) {
  FakeMachine machine;
  machine.write("node/online", "0-99\n");
  std::string row;
  for (unsigned n = 0; n < 100; ++n) row += text_of(11 + n, " ");
  for (unsigned n = 0; n < 100; ++n) {
    const std::string folder = text_of("node/node", n);
    machine.write(folder + "/cpumap", cpu_mask({n}));
    machine.write(folder + "/meminfo", "Node 0 MemTotal: 1024 kB\n");
    machine.write(folder + "/distance", row + "\n");
  }
  Topology topology;
  ASSERT_TRUE(read_sysfs_tree(topology, machine.sys().c_str()));
  EXPECT_EQ(topology.nr_nodes, kMaxNodes);
  EXPECT_EQ(topology.nr_nodes_ignored, 100 - kMaxNodes);
  EXPECT_EQ(topology.distance(NodeId(5), NodeId(63)), 11u + 63);
  EXPECT_FALSE(topology.knows_cpu(64));
}

TEST(Sysfs, ListOfNodesIsReplacedByTheFolders) {
  FakeMachine machine(two_sockets());
  Topology wanted;
  ASSERT_TRUE(read_sysfs_tree(wanted, machine.sys().c_str()));
  machine.write("node/nodes", "not a node\n");
  machine.write("node/node", "not a node\n");
  machine.write("node/node7x", "not a node\n");
  for (const char* online : {"", "\n", "garbage", "3-0", "0-5000000000", "1;2"}) {
    SCOPED_TRACE(online);
    machine.write("node/online", online);
    Topology topology;
    ASSERT_TRUE(read_sysfs_tree(topology, machine.sys().c_str()));
    expect_same(topology, wanted);
  }
  machine.remove("node/online");
  Topology topology;
  ASSERT_TRUE(read_sysfs_tree(topology, machine.sys().c_str()));
  expect_same(topology, wanted);
}

TEST(Sysfs, OneBadRowSpoilsTheMatrix) {
  for (const char* row : {"", "10", "10 12 32", "10 12 32 x", "10 12 0 32", "10 12 -1 32", "10 12 70000 32"}) {
    SCOPED_TRACE(row);
    FakeMachine machine(two_sockets());
    machine.write("node/node2/distance", row);
    Topology topology;
    ASSERT_TRUE(read_sysfs_tree(topology, machine.sys().c_str()));
    for (unsigned i = 0; i < 4; ++i)
      for (unsigned j = 0; j < 4; ++j)
        EXPECT_EQ(topology.distance(to_node_id(i), to_node_id(j)), i == j ? kLocalDistance : kRemoteDistance);
  }
}

TEST(Sysfs, DamagedNodeLosesWhatIsDamaged) {
  FakeMachine machine(two_sockets());
  machine.write("node/node1/meminfo", "Node 1 MemTotal: lots kB\n");
  machine.write("node/node2/cpumap", "zz\n");
  machine.remove("node/node3");
  Topology topology;
  ASSERT_TRUE(read_sysfs_tree(topology, machine.sys().c_str()));
  ASSERT_EQ(topology.nr_nodes, 4u);
  EXPECT_FALSE(topology.nodes[1].usable());
  EXPECT_EQ(topology.nodes[1].nr_cpus, 2u);
  EXPECT_TRUE(topology.nodes[2].usable());
  EXPECT_FALSE(topology.nodes[2].has_cpus());
  EXPECT_FALSE(topology.nodes[3].usable());
  expect_zonelists_in_order(topology);
}

TEST(Sysfs, TreesWithoutMemoryAreOfNoUse) {
  Topology topology;
  FakeMachine empty;
  EXPECT_FALSE(read_sysfs_tree(topology, empty.sys().c_str()));
  EXPECT_FALSE(read_sysfs_tree(topology, "/nonexistent"));
  FakeMachine machine({{0, {0}, 0, {10, 20}}, {1, {1}, 0, {20, 10}}});
  EXPECT_FALSE(read_sysfs_tree(topology, machine.sys().c_str()));
  EXPECT_EQ(topology.nr_nodes, 0u);
}

TEST(Sysfs, FilesOfRandomBytesGiveAFinishedTopologyOrNone) {
  std::mt19937 random(3);
  constexpr std::string_view kAlphabet = "0123456789abcdef,- \nMemTotal:kB";
  std::optional<FakeMachine> machine;
  for (int round = 0; round < 500; ++round) {
    if (round % 25 == 0) machine.emplace(two_sockets());  // damage adds up until then
    for (int damage = 0; damage < 2; ++damage) {
      const std::string node = text_of("node/node", random() % 4);
      const std::string files[] = {"node/online", node + "/meminfo", node + "/cpumap", node + "/distance"};
      std::string text(random() % 30, ' ');
      for (char& c : text) c = kAlphabet[random() % kAlphabet.size()];
      machine->write(files[random() % 4], text);
    }
    Topology topology;
    if (!read_sysfs_tree(topology, machine->sys().c_str())) continue;
    ASSERT_GE(topology.nr_nodes, 1u);
    expect_zonelists_in_order(topology);
  }
}

TEST(Sysfs, WithoutSysThereIsOneNode) {
  for (const char* root : {"/nonexistent", "/dev/null", ""}) {
    Topology topology;
    read_sysfs(topology, root);
    ASSERT_EQ(topology.nr_nodes, 1u);
    struct sysinfo info;
    ASSERT_EQ(sysinfo(&info), 0);
    EXPECT_EQ(topology.nodes[0].memory_bytes, uint64_t{info.totalram} * info.mem_unit);
    cpu_set_t mine;
    ASSERT_EQ(sched_getaffinity(0, sizeof(mine), &mine), 0);
    EXPECT_EQ(topology.nr_cpus, static_cast<unsigned>(CPU_COUNT(&mine)));
    EXPECT_EQ(topology.zonelist(NodeId(0)).size(), 1u);
  }
}

TEST(Sysfs, ErrnoIsKeptAndNoDescriptorIsLeft) {
  const auto nr_open = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  const auto before = nr_open();
  Topology topology;
  errno = 4711;
  read_sysfs(topology);
  read_sysfs(topology, "/nonexistent");
  EXPECT_EQ(errno, 4711);
  EXPECT_EQ(nr_open(), before);
}

TEST(Sysfs, ThisMachineHasTheProcessorThatRunsHere) {
  Topology topology;
  read_sysfs(topology);
  unsigned cpu = 0, node = 0;
  ASSERT_EQ(getcpu(&cpu, &node), 0);
  EXPECT_TRUE(topology.knows_cpu(cpu));
  EXPECT_EQ(topology.node(topology.cpu_to_node(cpu)).os_index, node);
  expect_zonelists_in_order(topology);
}

}  // namespace
}  // namespace weir::test
