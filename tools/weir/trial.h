// Purpose: starts a program under a limit, as `weir run` does, to see the mode that it gets.
// Thread safety: one thread at a time. Invariants: the program is gone when the function returns.
#pragma once

#include <string>

namespace weir::tool {

struct Trial {
  std::string mode;     // "swap", "pageout", "purge"; "" when that could not be found out
  std::string problem;  // what the library said of the swap file or of itself, or why the trial failed; "" nothing
};

// `swap`: where to swap to, "none" for nowhere.
[[nodiscard]] Trial try_limit(const std::string& swap);

}  // namespace weir::tool
