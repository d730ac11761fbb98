// Purpose: what the command says for other programs, not for people: completions for shells and manual pages for the
//          build. Not in --help.
// Thread safety: one thread.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace weir::tool {

// Whether `arguments` (everything behind the command's name) asked for something of that kind, which is printed then:
//   __complete WORD...   complete.h
//   __man 1|5            man_page.h
[[nodiscard]] bool generate(const CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace weir::tool
