// hwloc_topology_test.cc: hwloc and the sysfs reader say the same of this machine and of made-up ones; synthetic and
// exported machines; threads and bindings.
#include "topology/hwloc_topology.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <hwloc.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "topology/compare.h"
#include "topology/fake_machine.h"
#include "topology/sysfs.h"

namespace {
std::atomic<int> g_nr_bindings{0};
}

// In front of the C library's, for everything in this program: counts, and binds as asked.
extern "C" int sched_setaffinity(pid_t thread, size_t size, const cpu_set_t* cpus) noexcept {
  ++g_nr_bindings;
  return static_cast<int>(syscall(SYS_sched_setaffinity, thread, size, cpus));
}

namespace weir::test {
namespace {

constexpr uint64_t kGiBInKb = 1024 * 1024;

TEST(Hwloc, AgreesWithSysfsOnThisMachine) {
  Topology from_sysfs, from_hwloc;
  read_sysfs(from_sysfs);
  ASSERT_EQ(read_hwloc(from_hwloc), HwlocResult::kOk);
  expect_same(from_sysfs, from_hwloc);
}

bool write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file.good();
}

// Makes a cgroup that may use the memory of one node only, in a mount of the child's own, and enters it.
bool enter_cpuset(const std::string& folder, unsigned os_node) {
  const std::string group = folder + "/weir-cpuset-test";
  return unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("none", folder.c_str(), "cgroup2", 0, nullptr) == 0 &&
         write_file(folder + "/cgroup.subtree_control", "+cpuset") &&
         (mkdir(group.c_str(), 0755) == 0 || errno == EEXIST) &&
         write_file(group + "/cpuset.mems", std::to_string(os_node)) && write_file(group + "/cgroup.procs", "0");
}

constexpr int kNotPermitted = 77;

// The status of a child that runs `body`, which returns whether the system let it do what it wanted.
template <class Body>
int status_of_child(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(!body() ? kNotPermitted : testing::Test::HasFailure() ? 1 : 0);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Hwloc, AgreesWithSysfsInACpuset) {
  Topology all;
  read_sysfs(all);
  if (all.nr_nodes < 2) GTEST_SKIP() << "needs two nodes (tests/topology/in_vm has them)";
  FakeMachine folder;
  const unsigned last = all.nr_nodes - 1;
  const int status = status_of_child([&] {
    if (!enter_cpuset(folder.root(), all.nodes[last].os_index)) return false;
    Topology from_sysfs, from_hwloc;
    read_sysfs(from_sysfs);
    EXPECT_EQ(read_hwloc(from_hwloc), HwlocResult::kOk);
    expect_same(from_sysfs, from_hwloc);
    for (unsigned i = 0; i < all.nr_nodes; ++i) {
      EXPECT_EQ(from_sysfs.nodes[i].forbidden, i != last) << "node " << i;
      EXPECT_EQ(from_sysfs.zonelist(to_node_id(i)).size(), 1u);
      EXPECT_EQ(from_sysfs.zonelist(to_node_id(i))[0], to_node_id(last));
    }
    return true;
  });
  if (status == kNotPermitted) GTEST_SKIP() << "cpusets are not permitted here";
  EXPECT_EQ(status, 0);
}

// Both readers look at one made-up tree.
void expect_agreement(const std::vector<FakeNode>& nodes) {
  FakeMachine machine(nodes);
  ScopedEnv root("HWLOC_FSROOT", machine.root().c_str());
  Topology from_sysfs, from_hwloc;
  ASSERT_TRUE(read_sysfs_tree(from_sysfs, machine.sys().c_str()));
  ASSERT_EQ(read_hwloc(from_hwloc), HwlocResult::kOk);
  ASSERT_EQ(from_sysfs.nr_nodes, nodes.size());
  expect_same(from_sysfs, from_hwloc);
}

TEST(Hwloc, AgreesWithSysfsOnTwoSockets) {
  expect_agreement({{0, {0, 1}, 4 * kGiBInKb, {10, 12, 32, 32}},
                    {1, {2, 3}, 4 * kGiBInKb, {12, 10, 32, 32}},
                    {2, {4, 5}, 8 * kGiBInKb, {32, 32, 10, 12}},
                    {3, {6, 7}, 8 * kGiBInKb, {32, 32, 12, 10}}});
}

TEST(Hwloc, AgreesWithSysfsOnSparseIds) {
  expect_agreement({{1, {0}, kGiBInKb, {10, 40, 20}},
                    {8, {4, 2}, 2 * kGiBInKb, {40, 10, 20}},
                    {255, {1}, 3 * kGiBInKb, {20, 20, 10}}});
}

// hwloc lends such nodes the processors of their neighbours; each processor must still have its own node.
TEST(Hwloc, AgreesWithSysfsOnMemoryOnlyNodes) {
  expect_agreement({{0, {0, 1}, kGiBInKb, {10, 20, 17, 28}},
                    {1, {2, 3}, kGiBInKb, {20, 10, 28, 17}},
                    {2, {}, 16 * kGiBInKb, {17, 28, 10, 28}},
                    {3, {}, 16 * kGiBInKb, {28, 17, 28, 10}}});
}

// Where hwloc alone cannot tell whose the processors are, it asks the kernel: so the made-up nodes take the place of
// this machine's, in a child with mounts of its own.
TEST(Hwloc, AgreesWithSysfsOnMemoryOnlyNodesInFront) {
  FakeMachine machine({{0, {}, 16 * kGiBInKb, {10, 17}}, {1, {0, 1}, kGiBInKb, {17, 10}}});
  const int status = status_of_child([&] {
    const std::string from = machine.sys() + "/devices/system/node";
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount(from.c_str(), "/sys/devices/system/node", nullptr, MS_BIND, nullptr) != 0)
      return false;
    Topology from_sysfs, from_hwloc;
    EXPECT_TRUE(read_sysfs_tree(from_sysfs, "/sys"));
    EXPECT_EQ(read_hwloc(from_hwloc), HwlocResult::kOk);
    EXPECT_FALSE(from_hwloc.nodes[0].has_cpus());
    for (TopologyNode& node : from_hwloc.nodes) node.forbidden = false;  // the kernel itself has no such nodes
    EXPECT_TRUE(from_hwloc.finish());
    expect_same(from_sysfs, from_hwloc);
    return true;
  });
  if (status == kNotPermitted) GTEST_SKIP() << "mounting is not permitted here";
  EXPECT_EQ(status, 0);
}

TEST(Hwloc, AgreesWithSysfsOnMemoryNearTwoNodes) {
  expect_agreement({{0, {0, 1}, kGiBInKb, {10, 20, 30, 17}},
                    {1, {2, 3}, kGiBInKb, {20, 10, 30, 17}},
                    {2, {4, 5}, kGiBInKb, {30, 30, 10, 28}},
                    {3, {}, 16 * kGiBInKb, {17, 17, 28, 10}}});
}

TEST(Hwloc, AgreesWithSysfsOnNodesWithoutMemory) {
  expect_agreement({{0, {0, 1}, kGiBInKb, {10, 20}}, {1, {2, 3}, 0, {20, 10}}});
}

TEST(Hwloc, SyntheticMachine) {
  ScopedEnv synthetic("HWLOC_SYNTHETIC", "numa:4 core:2 pu:1");
  Topology topology;
  ASSERT_EQ(read_hwloc(topology), HwlocResult::kOk);
  ASSERT_EQ(topology.nr_nodes, 4u);
  EXPECT_EQ(topology.nr_cpus, 8u);
  for (unsigned cpu = 0; cpu < 8; ++cpu) EXPECT_EQ(topology.cpu_to_node(cpu).v, cpu / 2);
  for (unsigned i = 0; i < 4; ++i) {
    EXPECT_TRUE(topology.nodes[i].usable());
    EXPECT_EQ(topology.distance(to_node_id(i), to_node_id(i)), kLocalDistance);
  }
  expect_zonelists_in_order(topology);
}

TEST(Hwloc, SyntheticMemoryOfTwoKinds) {
  ScopedEnv synthetic("HWLOC_SYNTHETIC", "pack:2 [numa(memory=4294967296)] [numa(memory=1073741824)] core:2 pu:2");
  Topology topology;
  ASSERT_EQ(read_hwloc(topology), HwlocResult::kOk);
  ASSERT_EQ(topology.nr_nodes, 4u);
  EXPECT_EQ(topology.nodes[0].memory_bytes, uint64_t{4} << 30);
  EXPECT_EQ(topology.nodes[1].memory_bytes, uint64_t{1} << 30);
  EXPECT_EQ(topology.nodes[0].nr_cpus, 4u);
  EXPECT_FALSE(topology.nodes[1].has_cpus()) << "the processors belong to the first kind of memory";
}

TEST(Hwloc, SyntheticMachineLargerThanWeir) {
  ScopedEnv synthetic("HWLOC_SYNTHETIC", "numa:100 core:2 pu:1");
  Topology topology;
  ASSERT_EQ(read_hwloc(topology), HwlocResult::kOk);
  EXPECT_EQ(topology.nr_nodes, kMaxNodes);
  EXPECT_EQ(topology.nr_nodes_ignored, 100 - kMaxNodes);
  EXPECT_FALSE(topology.knows_cpu(2 * kMaxNodes));
}

TEST(Hwloc, ExportedMachineComesBack) {
  FakeMachine machine({{0, {0, 1}, kGiBInKb, {10, 21, 17}},
                       {3, {2, 3}, 2 * kGiBInKb, {21, 10, 28}},
                       {4, {}, 16 * kGiBInKb, {17, 28, 10}}});
  Topology exported, imported;
  const std::string file = machine.root() + "/machine.xml";
  {
    ScopedEnv root("HWLOC_FSROOT", machine.root().c_str());
    ASSERT_EQ(read_hwloc(exported), HwlocResult::kOk);
    hwloc_topology_t tree;
    ASSERT_EQ(hwloc_topology_init(&tree), 0);
    ASSERT_EQ(hwloc_topology_load(tree), 0);
    ASSERT_EQ(hwloc_topology_export_xml(tree, file.c_str(), 0), 0);
    hwloc_topology_destroy(tree);
  }
  ScopedEnv xml("HWLOC_XMLFILE", file.c_str());
  ASSERT_EQ(read_hwloc(imported), HwlocResult::kOk);
  expect_same(exported, imported);
}

TEST(Hwloc, UnreadableDescriptionsAreRefused) {
  Topology topology;
  for (const char* text : {"garbage:4", "numa:", "numa:4 core:x pu:1", ""}) {
    ScopedEnv synthetic("HWLOC_SYNTHETIC", text);
    EXPECT_EQ(read_hwloc(topology), HwlocResult::kBadDescription) << "'" << text << "'";
    EXPECT_EQ(topology.nr_nodes, 0u);
  }
  ScopedEnv xml("HWLOC_XMLFILE", "/nonexistent.xml");
  EXPECT_EQ(read_hwloc(topology), HwlocResult::kBadDescription);
}

TEST(Hwloc, BindingOfTheCallerIsNeverChanged) {
  hwloc_topology_t tree;
  ASSERT_EQ(hwloc_topology_init(&tree), 0);
  g_nr_bindings = 0;
  ASSERT_EQ(hwloc_topology_load(tree), 0);
  hwloc_topology_destroy(tree);
  if (g_nr_bindings == 0) GTEST_SKIP() << "this hwloc does not bind anyway, or not through the C library";
  g_nr_bindings = 0;
  Topology topology;
  EXPECT_EQ(read_hwloc(topology), HwlocResult::kOk);
  EXPECT_EQ(g_nr_bindings, 0);
}

TEST(Hwloc, SeveralThreadsAtOnce) {
  Topology wanted;
  ASSERT_EQ(read_hwloc(wanted), HwlocResult::kOk);
  std::vector<std::thread> threads;
  std::vector<Topology> topologies(4);
  std::vector<HwlocResult> results(4, HwlocResult::kFailed);
  for (size_t i = 0; i < topologies.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 3; ++round) results[i] = read_hwloc(topologies[i]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < topologies.size(); ++i) {
    EXPECT_EQ(results[i], HwlocResult::kOk);
    expect_same(topologies[i], wanted);
  }
}

}  // namespace
}  // namespace weir::test
