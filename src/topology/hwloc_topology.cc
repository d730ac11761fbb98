#include "topology/hwloc_topology.h"

#include <hwloc.h>
#include <hwloc/distances.h>
#include <hwloc/linux.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/env.h"

namespace weir {
namespace {

// An hwloc_topology_t that is destroyed with its scope.
class HwlocTree {
 public:
  HwlocTree() = default;
  ~HwlocTree() {
    if (tree_ != nullptr) hwloc_topology_destroy(tree_);
  }
  HwlocTree(const HwlocTree&) = delete;
  HwlocTree& operator=(const HwlocTree&) = delete;

  // INCLUDE_DISALLOWED: nodes outside the cpuset are told, so that they can be told apart from those that do not exist.
  // DONT_CHANGE_BINDING: no discovery that walks the calling thread over all processors.
  bool load() {
    constexpr unsigned long kFlags = HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED | HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING;
    if (hwloc_topology_init(&tree_) != 0) {
      tree_ = nullptr;
      return false;
    }
    return hwloc_topology_set_flags(tree_, kFlags) == 0 && hwloc_topology_load(tree_) == 0;
  }

  hwloc_topology_t get() const { return tree_; }

 private:
  hwloc_topology_t tree_ = nullptr;
};

void add_nodes(hwloc_topology_t tree, Topology& topology) {
  hwloc_const_nodeset_t allowed = hwloc_topology_get_allowed_nodeset(tree);
  hwloc_const_nodeset_t all = hwloc_topology_get_topology_nodeset(tree);
  for (int os_index = hwloc_bitmap_first(all); os_index >= 0; os_index = hwloc_bitmap_next(all, os_index)) {
    const auto index = static_cast<unsigned>(os_index);
    hwloc_obj_t object = hwloc_get_numanode_obj_by_os_index(tree, index);
    if (object == nullptr || !topology.add_node(index)) continue;
    TopologyNode& node = topology.nodes[topology.nr_nodes - 1];
    node.memory_bytes = object->attr->numanode.local_memory;
    node.forbidden = !hwloc_bitmap_isset(allowed, index);
  }
}

void add_cpus_of(hwloc_const_cpuset_t set, Topology& topology, NodeId id) {
  for (int cpu = hwloc_bitmap_first(set); cpu >= 0; cpu = hwloc_bitmap_next(set, cpu))
    topology.add_cpu(static_cast<unsigned>(cpu), id);
}

// What the kernel says of each node, where it is this machine's kernel that the topology came from.
void add_cpus_of_kernel(hwloc_topology_t tree, Topology& topology) {
  if (!hwloc_topology_is_thissystem(tree)) return;
  hwloc_bitmap_t set = hwloc_bitmap_alloc();
  if (set == nullptr) return;
  for (unsigned i = 0; i < topology.nr_nodes; ++i) {
    char path[64];
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/cpumap", unsigned{topology.nodes[i].os_index});
    if (hwloc_linux_read_path_as_cpumask(path, set) == 0) add_cpus_of(set, topology, to_node_id(i));
  }
  hwloc_bitmap_free(set);
}

// hwloc lends a memory-only node the processors of its nearest nodes, and does not tell so. A smaller set that is part
// of a larger one is the owner; of equal sets it is the first in hwloc's order, that is, the lowest kernel id, which is
// a guess (a good one: memory added to a machine is numbered last) and why the kernel is asked first.
void add_cpus(hwloc_topology_t tree, Topology& topology) {
  add_cpus_of_kernel(tree, topology);
  const unsigned nr_objects = static_cast<unsigned>(hwloc_get_nbobjs_by_type(tree, HWLOC_OBJ_NUMANODE));
  for (int weight = 1, next = 0; weight > 0; weight = next) {
    next = 0;
    for (unsigned i = 0; i < nr_objects; ++i) {
      hwloc_obj_t object = hwloc_get_obj_by_type(tree, HWLOC_OBJ_NUMANODE, i);
      const int here = hwloc_bitmap_weight(object->cpuset);
      if (here > weight && (next == 0 || here < next)) next = here;
      NodeId id;
      if (here == weight && topology.find_os_index(object->os_index, id)) add_cpus_of(object->cpuset, topology, id);
    }
  }
}

void copy_distances(const hwloc_distances_s& matrix, Topology& topology) {
  for (unsigned i = 0; i < matrix.nbobjs; ++i) {
    NodeId from;
    if (matrix.objs[i] == nullptr || !topology.find_os_index(matrix.objs[i]->os_index, from)) continue;
    for (unsigned j = 0; j < matrix.nbobjs; ++j) {
      NodeId to;
      if (matrix.objs[j] == nullptr || !topology.find_os_index(matrix.objs[j]->os_index, to)) continue;
      const hwloc_uint64_t value = matrix.values[i * matrix.nbobjs + j];
      topology.set_distance(from, to, value < UINT16_MAX ? static_cast<unsigned>(value) : UINT16_MAX);
    }
  }
}

// The operating system's latencies; without them (synthetic machines have none) the kernel's defaults stay.
void add_distances(hwloc_topology_t tree, Topology& topology) {
  hwloc_distances_s* matrix = nullptr;
  unsigned count = 1;
  if (hwloc_distances_get_by_name(tree, "NUMALatency", &count, &matrix, 0) != 0 || count == 0) return;
  copy_distances(*matrix, topology);
  hwloc_distances_release(tree, matrix);
}

bool is_set(const char* variable) {
  return getenv(variable) != nullptr;
}

bool is_described() {
  return is_set("HWLOC_SYNTHETIC") || is_set("HWLOC_XMLFILE");
}

// An only node has all memory. Where memory was added to a running machine, the kernel counts it in the whole and not
// in the node's own file, which hwloc reads.
void correct_only_node(hwloc_topology_t tree, Topology& topology) {
  if (topology.nr_nodes != 1 || is_described() || !hwloc_topology_is_thissystem(tree)) return;
  if (const uint64_t all = os::total_memory_bytes(); all != 0) topology.nodes[0].memory_bytes = all;
}

// hwloc goes on with this machine, silently, when it cannot read the one that it was told of.
bool ignored_description(hwloc_topology_t tree) {
  if (!is_described()) return false;
  // HWLOC_THISSYSTEM=1 makes hwloc say yes for a described machine as well: then nothing can be told.
  return hwloc_topology_is_thissystem(tree) && !is_set("HWLOC_THISSYSTEM");
}

}  // namespace

HwlocResult read_hwloc(Topology& topology) {
  topology.clear();
  HwlocTree tree;
  if (!tree.load()) return HwlocResult::kFailed;
  if (ignored_description(tree.get())) return HwlocResult::kBadDescription;
  add_nodes(tree.get(), topology);
  correct_only_node(tree.get(), topology);
  add_cpus(tree.get(), topology);
  add_distances(tree.get(), topology);
  if (topology.finish()) return HwlocResult::kOk;
  topology.clear();
  return HwlocResult::kBadDescription;
}

}  // namespace weir
