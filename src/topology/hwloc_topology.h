// Purpose: fills a Topology from hwloc, which knows machines of every kind, and others than this one: HWLOC_SYNTHETIC
//          ("package:2 numa:2 core:4 pu:1"), HWLOC_XMLFILE (written by lstopo) and HWLOC_FSROOT describe them.
// Thread safety: any thread, several at once. Allocates and takes milliseconds: never called from malloc's start-up.
// Invariants: the calling thread stays bound as it was; everything that hwloc allocated is released again.
#pragma once

#include "topology/topology.h"

namespace weir {

enum class HwlocResult : uint8_t {
  kOk,              // the topology is filled and finished
  kFailed,          // hwloc itself failed (no memory, mostly)
  kBadDescription,  // the machine that the environment describes cannot be understood
};

[[nodiscard]] HwlocResult read_hwloc(Topology& topology);

}  // namespace weir
