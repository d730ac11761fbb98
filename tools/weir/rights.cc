#include "rights.h"

#include <linux/capability.h>

#include <cstdint>
#include <sstream>
#include <string>

#include "system_files.h"

namespace weir::tool {

Rights read_rights() {
  constexpr const char* kStatus = "/proc/self/status";
  Rights rights;
  uint64_t effective = 0;
  std::istringstream(field_of(kStatus, "CapEff")) >> std::hex >> effective;
  rights.ptrace = (effective >> CAP_SYS_PTRACE & 1) != 0;
  // The first namespace maps every user to itself.
  uint64_t inside = 1, outside = 1, count = 0;
  std::istringstream(read_file("/proc/self/uid_map")) >> inside >> outside >> count;
  rights.own_user_namespace = count != 0 && (inside != 0 || outside != 0 || count != UINT32_MAX);
  rights.filtered = field_of(kStatus, "Seccomp") == "2";
  return rights;
}

}  // namespace weir::tool
