// Purpose: finds the library to preload, and puts it into LD_PRELOAD.
// Thread safety: functions of the file system and the environment.
#pragma once

#include <string>

namespace weir::tool {

// The absolute path of libweir-malloc.so: WEIR_LIBRARY, else beside this command, in the build tree and installed.
// Throws Failure when it is not there or when LD_PRELOAD cannot hold its path.
[[nodiscard]] std::string find_library();

// `library`, then what `old_value` had, without a second mention of the library.
[[nodiscard]] std::string preload_value(const std::string& library, const std::string& old_value);

}  // namespace weir::tool
