// Purpose: a process's numbers in the formats of the kernel's files (/proc/zoneinfo and so on), and as JSON.
// Thread safety: functions of values. Invariants: what reads the kernel's file of a name reads this.
#pragma once

#include <span>
#include <string>

#include "snapshot.h"

namespace weir::tool {

struct KernelFile {
  const char* name;   // of the file and the command
  const char* about;  // one line
  const char* help;   // what the numbers mean here
  std::string (*text)(const Snapshot&);
  std::string (*json)(const Snapshot&);
};

[[nodiscard]] std::span<const KernelFile> kernel_files();

}  // namespace weir::tool
