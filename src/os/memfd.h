// Purpose: memory that other processes can open by its name in /proc: a memfd.
// Thread safety: any thread. Invariants: errno is never touched; nothing outlives the process and its children.
#pragma once

#include <cstddef>

namespace weir::os {

// Maps `bytes` of zeros, shared with the children of forks, as a memfd: at `place` instead of what is mapped there, or
// anywhere when that is null. `fd` gets its descriptor, close-on-exec. Null, and nothing changed, when it cannot be
// had: system calls are filtered, files may not be that large, there are no descriptors or no memory.
[[nodiscard]] void* map_memfd(const char* name, size_t bytes, void* place, int& fd);

}  // namespace weir::os
