// Purpose: `weir run`: checks everything, sets LD_PRELOAD and WEIR_CONF, starts a recorder if one is wished for, and
// becomes the program. Thread safety: one thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace weir::tool {

struct RunSettings {
  std::optional<std::string> limit;
  std::optional<std::string> rss_limit;
  std::optional<std::string> pool;
  std::optional<std::string> swap;
  std::optional<std::string> swap_size;
  std::optional<std::string> zswap;
  std::vector<std::string> set;  // key=value, stronger than the options above
  bool summary = false;
  std::optional<std::string> record;  // the file
  double record_interval_ms = 100;
  std::vector<std::string> command;  // the program and its arguments
};

// Does not return; throws Failure.
[[noreturn]] void run(const RunSettings& settings);

}  // namespace weir::tool
