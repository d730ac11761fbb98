// Purpose: `weir heaps`: the registered heaps of a process, as a table or JSON.
// Thread safety: one thread.
#pragma once

#include <CLI/CLI.hpp>

namespace weir::tool {

void add_heaps(CLI::App& app);

}  // namespace weir::tool
