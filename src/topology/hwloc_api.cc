// hwloc_api.cc: weir/topology.h over read_hwloc. Thread safety: as that header says.
#include <errno.h>
#include <stdlib.h>

#include <new>

#include "topology/hwloc_topology.h"
#include "topology/print.h"
#include "weir/topology.h"

struct weir_topology {
  weir::Topology topology;
};

namespace {

bool exists(const weir_topology* handle, unsigned node) {
  if (node < handle->topology.nr_nodes) return true;
  errno = EINVAL;
  return false;
}

}  // namespace

weir_topology* weir_topology_load(void) {
  // Not operator new: the library has none, and the program's own throws.
  void* memory = malloc(sizeof(weir_topology));
  if (memory == nullptr) return nullptr;
  auto* handle = new (memory) weir_topology();
  const weir::HwlocResult result = weir::read_hwloc(handle->topology);
  if (result == weir::HwlocResult::kOk) return handle;
  free(memory);
  errno = result == weir::HwlocResult::kBadDescription ? EINVAL : ENOMEM;
  return nullptr;
}

void weir_topology_free(weir_topology* topology) {
  free(topology);
}

unsigned weir_topology_nr_nodes(const weir_topology* topology) {
  return topology->topology.nr_nodes;
}

int weir_topology_node_info(const weir_topology* topology, unsigned node, weir_topology_node* info) {
  if (!exists(topology, node)) return -1;
  const weir::TopologyNode& from = topology->topology.node(weir::to_node_id(node));
  *info = {from.memory_bytes, from.os_index, from.nr_cpus, from.forbidden ? 0 : 1};
  return 0;
}

int weir_topology_cpu_to_node(const weir_topology* topology, unsigned cpu) {
  if (topology->topology.knows_cpu(cpu)) return topology->topology.cpu_to_node(cpu).v;
  errno = EINVAL;
  return -1;
}

unsigned weir_topology_distance(const weir_topology* topology, unsigned from, unsigned to) {
  if (!exists(topology, from) || !exists(topology, to)) return 0;
  return topology->topology.distance(weir::to_node_id(from), weir::to_node_id(to));
}

size_t weir_topology_zonelist(const weir_topology* topology, unsigned node, unsigned* nodes, size_t capacity) {
  if (!exists(topology, node)) return 0;
  const auto list = topology->topology.zonelist(weir::to_node_id(node));
  for (size_t i = 0; i < list.size() && i < capacity; ++i) nodes[i] = list[i].v;
  return list.size();
}

void weir_topology_print(const weir_topology* topology, int fd) {
  weir::print_topology(topology->topology, fd);
}
