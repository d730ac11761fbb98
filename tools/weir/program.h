// Purpose: the program to be run: where it is, whether it can be executed, and whether a preloaded library will have an
//          effect in it.
// Thread safety: functions of the file system and the environment.
#pragma once

#include <optional>
#include <string>

namespace weir::tool {

// The path that execvp would execute. Throws Failure kNotFound or kNotExecutable.
[[nodiscard]] std::string find_program(const std::string& name);

// Why the dynamic linker will not load a library into the program at `path` ("it is statically linked"), or nothing.
// Of a script, its interpreter is looked at.
[[nodiscard]] std::optional<std::string> reason_against_preload(const std::string& path);

}  // namespace weir::tool
