// Purpose: what `weir doctor` says of the kernel's services that a limit needs: each was tried.
// Thread safety: pure functions of what they are given, and of /proc.
#pragma once

#include <weir/doctor.h>

#include "finding.h"
#include "rights.h"

namespace weir::tool {

// Whether a userfaultfd for all faults can be had.
[[nodiscard]] inline bool sees_faults(const weir_capabilities& c) {
  return c.uffd_syscall == 0 || c.uffd_device == 0;
}

void add_kernel_findings(const weir_capabilities& capabilities, const Rights& rights, Findings& findings);

}  // namespace weir::tool
