// Purpose: what `weir doctor` says of the machine and of the limits around the process: kernel, memory, settings,
//          resource limits, control groups.
// Thread safety: functions of /proc and /sys.
#pragma once

#include <weir/doctor.h>

#include "finding.h"

namespace weir::tool {

void add_machine_findings(const weir_capabilities& capabilities, Findings& findings);

}  // namespace weir::tool
