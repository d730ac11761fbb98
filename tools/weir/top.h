// Purpose: `weir top`: the processes on weir, or one of them, on the whole terminal, with keys as in htop(1).
// Thread safety: one thread. Invariants: the terminal is as it was before however the command ends, SIGKILL aside.
#pragma once

#include <CLI/CLI.hpp>

namespace weir::tool {

// Adds the command to the command line.
void add_top(CLI::App& app);

}  // namespace weir::tool
