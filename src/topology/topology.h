// Purpose: the machine as the allocator needs it: NUMA nodes with their memory and processors, how far they are from
//          each other, and for each node the order in which to try the others (its zonelist).
// Thread safety: none while it is filled (one thread, then finish()); constant and shared by all afterwards.
// Invariants: node ids are dense, in the order of the kernel's ids (os_index), which may have gaps. After finish()
// there
//             is at least one node, and every zonelist has at least one entry. All zero bytes is the empty topology, so
//             that one in .bss costs only the pages that its nodes and processors touch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/units.h"

namespace weir {

// As many as Linux on x86-64 can be built for (NR_CPUS with MAXSMP); one byte each.
inline constexpr unsigned kMaxCpus = 8192;

// What the kernel says where the firmware says nothing (LOCAL_DISTANCE and REMOTE_DISTANCE of linux/topology.h).
inline constexpr uint16_t kLocalDistance = 10;
inline constexpr uint16_t kRemoteDistance = 20;

constexpr NodeId to_node_id(unsigned index) {
  return NodeId(static_cast<uint16_t>(index));
}

struct TopologyNode {
  uint64_t memory_bytes = 0;
  uint32_t nr_cpus = 0;
  uint16_t os_index = 0;
  bool forbidden = false;                   // the process's cpuset does not let it use this node's memory
  uint16_t distances[kMaxNodes] = {};       // by id
  NodeId zonelist_entries[kMaxNodes] = {};  // as many as zonelist_length of the topology

  bool has_cpus() const { return nr_cpus != 0; }
  // Whether the node gets an arena.
  bool usable() const { return memory_bytes != 0 && !forbidden; }
};

struct Topology {
  // -- Asking ---------------------------------------------------------------------------------------------------------

  // Node id + 1, 0 for unknown; from the end, so that the first processors lie in one page with the first node.
  uint8_t cpu_entries[kMaxCpus] = {};
  unsigned nr_nodes = 0;
  unsigned nr_cpus = 0;           // processors with a known node
  unsigned nr_nodes_ignored = 0;  // nodes beyond kMaxNodes: left out, with their processors
  unsigned zonelist_length = 0;
  TopologyNode nodes[kMaxNodes] = {};

  const TopologyNode& node(NodeId id) const { return nodes[id.v]; }

  // The node a processor belongs to; node 0 for a processor that is not known (it came online later).
  NodeId cpu_to_node(unsigned cpu) const {
    const unsigned entry = cpu < kMaxCpus ? cpu_entry(cpu) : 0u;
    return to_node_id(entry == 0 ? 0 : entry - 1);
  }
  bool knows_cpu(unsigned cpu) const { return cpu < kMaxCpus && cpu_entry(cpu) != 0; }

  unsigned distance(NodeId from, NodeId to) const { return nodes[from.v].distances[to.v]; }

  // The usable nodes, nearest first: the node itself, then by distance, equal ones by id. A node without memory of its
  // own finds its nearest memory in front.
  std::span<const NodeId> zonelist(NodeId id) const { return {nodes[id.v].zonelist_entries, zonelist_length}; }

  // The node with this kernel id; false when there is none.
  [[nodiscard]] bool find_os_index(unsigned os_index, NodeId& id) const;

  // -- Filling: add_node in ascending order of os_index, then the rest in any order, then finish
  // -------------------------

  void clear();
  // Adds a node without memory and processors, at the default distances. False when there is no room: it is counted.
  bool add_node(unsigned os_index);
  // Gives an unowned processor to a node; one that is out of range or has a node is ignored.
  void add_cpu(unsigned cpu, NodeId id);
  void set_distance(NodeId from, NodeId to, unsigned value);
  // Puts all distances back to the defaults, for a matrix that turned out to be incomplete.
  void reset_distances();
  // Computes the zonelists. False when no node has memory: the topology is of no use. Where memory exists but is all
  // forbidden, the prohibition cannot be right and is dropped.
  [[nodiscard]] bool finish();

 private:
  uint8_t cpu_entry(unsigned cpu) const { return cpu_entries[kMaxCpus - 1 - cpu]; }
  void build_zonelist(NodeId id);
};

static_assert(kMaxNodes < 255, "cpu_entries holds a node id + 1 in a byte");

}  // namespace weir
