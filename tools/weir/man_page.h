// Purpose: the manual pages weir(1) and weir.conf(5), in the language of man(7).
// Thread safety: one thread. Invariants: weir(1) is what --help shows, weir.conf(5) is the table of options: a new
//                command or key is in them without an edit here.
#pragma once

#include <CLI/App.hpp>
#include <string>

namespace weir::tool {

[[nodiscard]] std::string man_page_of_command(const CLI::App& app);
[[nodiscard]] std::string man_page_of_conf();

}  // namespace weir::tool
