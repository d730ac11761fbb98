// Purpose: the command `weir pool`: the budgets that processes of one user share (weir/pool.h).
// Thread safety: one thread.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

namespace weir::tool {

inline constexpr uint64_t kPoolPageBytes = 4096;

[[nodiscard]] bool is_pool_name(const std::string& name);
// The limit of this user's pool of that name, in pages; nothing when there is none.
[[nodiscard]] std::optional<uint64_t> pool_limit(const std::string& name);

// Adds the command to the command line; it runs when it has been parsed, and throws Failure.
void add_pool(CLI::App& app);

}  // namespace weir::tool
