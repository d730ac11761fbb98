// Purpose: what `weir doctor` says of the place to swap to: it is tried as a program that starts with it would.
// Thread safety: functions of the file system.
#pragma once

#include <string>

#include "finding.h"

namespace weir::tool {

// Returns whether pages can be written to `path`.
bool add_swap_findings(const std::string& path, Findings& findings);

}  // namespace weir::tool
