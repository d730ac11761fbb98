// print_test.cc: a Topology in words, also where a line does not fit the buffer.
#include "topology/print.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

namespace weir {
namespace {

std::string printed(const Topology& topology) {
  std::unique_ptr<FILE, int (*)(FILE*)> file(tmpfile(), fclose);
  print_topology(topology, fileno(file.get()));
  std::string text(static_cast<size_t>(lseek(fileno(file.get()), 0, SEEK_END)), ' ');
  EXPECT_EQ(pread(fileno(file.get()), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  return text;
}

TEST(PrintTopology, NamesWhatIsUnusual) {
  Topology topology;
  for (unsigned os_index : {0u, 4u, 5u}) topology.add_node(os_index);
  topology.nodes[0].memory_bytes = 1 << 20;
  topology.nodes[1].memory_bytes = 2 << 20;
  topology.nodes[1].forbidden = true;
  for (unsigned cpu : {0u, 1u, 2u, 7u}) topology.add_cpu(cpu, NodeId(2));
  ASSERT_TRUE(topology.finish());
  const std::string text = printed(topology);
  EXPECT_NE(text.find("node 0: memory 1024 KiB, cpus none, zonelist 0\n"), std::string::npos) << text;
  EXPECT_NE(text.find("node 1 (kernel node 4): memory 2048 KiB, cpus none, not allowed, zonelist 0\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("node 2 (kernel node 5): memory 0 KiB, cpus 0-2,7, zonelist 0\n"), std::string::npos) << text;
}

TEST(PrintTopology, LongLinesAreComplete) {
  auto topology = std::make_unique<Topology>();
  for (unsigned i = 0; i < kMaxNodes + 3; ++i) topology->add_node(i);
  for (TopologyNode& node : topology->nodes) node.memory_bytes = 1 << 20;
  for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) topology->add_cpu(cpu, to_node_id(cpu % 2));
  ASSERT_TRUE(topology->finish());
  const std::string text = printed(*topology);
  EXPECT_NE(text.find(", 3 nodes more than weir can use\n"), std::string::npos);
  EXPECT_NE(text.find(",8186,8188,8190, zonelist 0 1 2 "), std::string::npos);
  EXPECT_NE(text.find("\ndistance      0     1     2"), std::string::npos);
  // Each node has its line and its row of distances, besides the two headings.
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2 + 2 * static_cast<ptrdiff_t>(kMaxNodes));
}

}  // namespace
}  // namespace weir
