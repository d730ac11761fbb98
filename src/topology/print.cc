#include "topology/print.h"

#include "base/print.h"

namespace weir {
namespace {

// "0-3,8" of the processors of a node, written on the way where the line gets long (interleaved numbering).
void append_cpus(Line& line, const Topology& topology, NodeId id, int fd) {
  const auto owned = [&](unsigned cpu) { return topology.knows_cpu(cpu) && topology.cpu_to_node(cpu) == id; };
  bool first = true;
  for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (!owned(cpu)) continue;
    const unsigned start = cpu;
    while (owned(cpu + 1)) ++cpu;
    line.text(first ? "" : ",").dec(start);
    if (cpu != start) line.text("-").dec(cpu);
    first = false;
    if (line.view().size() > Line::kCapacity / 2) line.write_to(fd);
  }
  if (first) line.text("none");
}

void print_node(const Topology& topology, NodeId id, int fd) {
  const TopologyNode& node = topology.node(id);
  Line line;
  line.text("node ").dec(id.v);
  if (node.os_index != id.v) line.text(" (kernel node ").dec(node.os_index).text(")");
  line.text(": memory ").dec(node.memory_bytes >> 10).text(" KiB, cpus ");
  append_cpus(line, topology, id, fd);
  if (node.forbidden) line.text(", not allowed");
  line.text(", zonelist");
  for (NodeId other : topology.zonelist(id)) line.text(" ").dec(other.v);
  line.text("\n");
  line.write_to(fd);
}

void print_distances(const Topology& topology, int fd) {
  constexpr unsigned kWidth = 6;  // 65535, the largest distance, and a blank
  Line line;
  line.column("distance", 9);
  for (unsigned to = 0; to < topology.nr_nodes; ++to) line.column(to, kWidth);
  line.text("\n");
  line.write_to(fd);
  for (unsigned from = 0; from < topology.nr_nodes; ++from) {
    line.text("node ").column(from, 4);
    for (unsigned to = 0; to < topology.nr_nodes; ++to)
      line.column(topology.distance(to_node_id(from), to_node_id(to)), kWidth);
    line.text("\n");
    line.write_to(fd);
  }
}

}  // namespace

void print_topology(const Topology& topology, int fd) {
  Line line;
  line.text("nodes ").dec(topology.nr_nodes).text(", cpus ").dec(topology.nr_cpus);
  if (topology.nr_nodes_ignored != 0)
    line.text(", ").dec(topology.nr_nodes_ignored).text(" nodes more than weir can use");
  line.text("\n");
  line.write_to(fd);
  for (unsigned i = 0; i < topology.nr_nodes; ++i) print_node(topology, to_node_id(i), fd);
  print_distances(topology, fd);
}

}  // namespace weir
