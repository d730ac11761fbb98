// Purpose: `weir plot`: a recording as a picture: how free memory moved between the watermarks, where memory was, and
// what was swapped. Thread safety: one thread.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "recording.h"

namespace weir::tool {

// Adds the command to the command line.
void add_plot(CLI::App& app);

// The picture, as SVG, with the maps of the arena that were recorded nearest to those times. The recording has a limit
// and at least one sample.
[[nodiscard]] std::string picture_of(const Recording& recording, const std::vector<double>& map_seconds);

}  // namespace weir::tool
