// Purpose: asks a process on weir to tell or change a setting, and waits for its answer (weir/control_box.h).
// Thread safety: one thread: SIGINT, SIGTERM and SIGHUP wait while it does, until the request is withdrawn.
// Invariants: what the process has not begun with when the caller stops waiting is never done.
#pragma once

#include <sys/types.h>

#include <string>

namespace weir::tool {

struct Answer {
  int error = 0;  // of weir_sysctl; 0: done
  std::string old_value, new_value;
  std::string report;  // why it was not done
};

// Throws Failure: kNoStats when the process cannot be asked, kNotTaken when it does not answer within `seconds`.
[[nodiscard]] Answer ask_to_set(pid_t pid, const std::string& name, const std::string& value, double seconds);

// What is longer cannot be asked for.
[[nodiscard]] bool fits_request(const std::string& name, const std::string& value);

}  // namespace weir::tool
