// Purpose: fills a Topology from /sys/devices/system/node in some microseconds, at the start of a process.
// Thread safety: any thread, also inside the first malloc: it allocates nothing and keeps errno.
// Invariants: whatever stands in the files, the result is a finished topology.
#pragma once

#include <string_view>

#include "topology/topology.h"

namespace weir {

// The machine that the tree at `root` describes (any folder with a devices/system/node in it); false, and an empty
// topology, when there is no node with memory in it. Every node counts as allowed.
[[nodiscard]] bool read_sysfs_tree(Topology& topology, const char* root);

// This machine, with the nodes that the process may not use marked. `root` is where its sysfs is mounted. Where that
// does not help (a chroot, a kernel without NUMA) it is one node with all of the memory and processors.
void read_sysfs(Topology& topology, const char* root = "/sys");

// This machine taken as one node with all of the memory and the processors this thread may run on; opens no file.
void read_as_one_node(Topology& topology);

// True when the kernel says that one node is online: three system calls, where a whole tree takes twenty and more.
[[nodiscard]] bool is_one_node(std::string_view root = "/sys");

}  // namespace weir
