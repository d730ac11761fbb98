// Purpose: `weir doctor`: what this machine allows, what follows for weir, and how to turn on what is missing.
// Thread safety: one thread.
#pragma once

#include <CLI/App.hpp>
#include <optional>
#include <string>

namespace weir::tool {

struct DoctorSettings {
  std::optional<std::string> swap;  // where to look; else what WEIR_CONF says, or /var/tmp
  bool json = false;
};

CLI::App* add_doctor(CLI::App& app, DoctorSettings& settings);

// Prints the report. Returns the exit status: 0 when all of weir works here, 1 when it works with restrictions.
[[nodiscard]] int doctor(const DoctorSettings& settings);

}  // namespace weir::tool
