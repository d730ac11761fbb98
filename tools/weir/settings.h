// Purpose: the commands `weir get` and `weir set`, as the command line knows them.
// Thread safety: one thread.
#pragma once

#include <CLI/CLI.hpp>

namespace weir::tool {

// Adds them to the command line; each runs when it has been parsed, and throws Failure.
void add_settings(CLI::App& app);

}  // namespace weir::tool
