#include "topology/topology.h"

#include <cstring>

namespace weir {

bool Topology::find_os_index(unsigned os_index, NodeId& id) const {
  for (unsigned i = 0; i < nr_nodes; ++i) {
    if (nodes[i].os_index != os_index) continue;
    id = to_node_id(i);
    return true;
  }
  return false;
}

void Topology::clear() {
  // Only what is in use, so that clearing an empty one touches nothing.
  if (nr_nodes + nr_cpus + nr_nodes_ignored + zonelist_length == 0) return;
  for (unsigned i = 0; i < nr_nodes; ++i) nodes[i] = {};
  if (nr_cpus != 0) memset(cpu_entries, 0, sizeof(cpu_entries));
  nr_nodes = nr_cpus = nr_nodes_ignored = zonelist_length = 0;
}

bool Topology::add_node(unsigned os_index) {
  if (nr_nodes == kMaxNodes || os_index > UINT16_MAX) {
    ++nr_nodes_ignored;
    return false;
  }
  nodes[nr_nodes] = {};
  nodes[nr_nodes].os_index = static_cast<uint16_t>(os_index);
  for (unsigned i = 0; i < nr_nodes; ++i) nodes[i].distances[nr_nodes] = nodes[nr_nodes].distances[i] = kRemoteDistance;
  nodes[nr_nodes].distances[nr_nodes] = kLocalDistance;
  ++nr_nodes;
  return true;
}

void Topology::add_cpu(unsigned cpu, NodeId id) {
  if (cpu >= kMaxCpus || id.v >= nr_nodes || cpu_entry(cpu) != 0) return;
  cpu_entries[kMaxCpus - 1 - cpu] = static_cast<uint8_t>(id.v + 1);
  ++nodes[id.v].nr_cpus;
  ++nr_cpus;
}

void Topology::set_distance(NodeId from, NodeId to, unsigned value) {
  if (from.v >= nr_nodes || to.v >= nr_nodes) return;
  nodes[from.v].distances[to.v] = static_cast<uint16_t>(value < UINT16_MAX ? value : UINT16_MAX);
}

void Topology::reset_distances() {
  for (unsigned i = 0; i < nr_nodes; ++i)
    for (unsigned j = 0; j < nr_nodes; ++j) nodes[i].distances[j] = i == j ? kLocalDistance : kRemoteDistance;
}

void Topology::build_zonelist(NodeId id) {
  NodeId* list = nodes[id.v].zonelist_entries;
  unsigned length = 0;
  // Insertion sort, stable over ascending ids. The node itself goes first even where the firmware's matrix disagrees.
  const auto key = [&](NodeId n) { return n == id ? 0u : distance(id, n) + 1u; };
  for (unsigned i = 0; i < nr_nodes; ++i) {
    const NodeId candidate = to_node_id(i);
    if (!nodes[i].usable()) continue;
    unsigned at = length++;
    for (; at > 0 && key(list[at - 1]) > key(candidate); --at) list[at] = list[at - 1];
    list[at] = candidate;
  }
  zonelist_length = length;
}

bool Topology::finish() {
  bool any_memory = false;
  bool any_usable = false;
  for (unsigned i = 0; i < nr_nodes; ++i) {
    any_memory |= nodes[i].memory_bytes != 0;
    any_usable |= nodes[i].usable();
  }
  if (!any_memory) return false;
  for (unsigned i = 0; i < nr_nodes && !any_usable; ++i) nodes[i].forbidden = false;
  for (unsigned i = 0; i < nr_nodes; ++i) build_zonelist(to_node_id(i));
  return true;
}

}  // namespace weir
