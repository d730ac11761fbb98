// Purpose: mlock and munlock without the C library, because the sanitizers make those do nothing.
// Thread safety: any thread.
#pragma once

#include <cstddef>

#include "os/syscall.h"

namespace weir {

// False where the system does not let memory be locked.
inline bool lock_memory(void* p, size_t bytes) {
  return os::syscall6(SYS_mlock, os::as_arg(p), static_cast<long>(bytes)) == 0;
}
inline bool unlock_memory(void* p, size_t bytes) {
  return os::syscall6(SYS_munlock, os::as_arg(p), static_cast<long>(bytes)) == 0;
}

}  // namespace weir
