// Purpose: writes a Topology for people to read.
// Thread safety: reads a finished topology only. Allocates nothing.
#pragma once

#include "topology/topology.h"

namespace weir {

// One line per node (its memory, processors and zonelist), then the distance matrix.
void print_topology(const Topology& topology, int fd);

}  // namespace weir
