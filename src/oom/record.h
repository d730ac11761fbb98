// Purpose: a victim as the program is told of it (weir_victims in include/weir/events.h).
// Thread safety: pure functions.
#pragma once

#include "oom/victim.h"
#include "weir/events.h"

namespace weir {

// `own_process`: the one that is told, whose heaps it knows by their handles. `asking_process`: whose allocation found
// no memory.
[[nodiscard]] weir_victim record_of(const OomCandidate& victim, int64_t points, uint64_t own_process,
                                    uint64_t asking_process);

}  // namespace weir
