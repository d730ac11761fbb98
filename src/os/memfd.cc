#include "os/memfd.h"

#include <errno.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "os/syscall.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace weir::os {
namespace {

// A filter that was there before the program may end it for what few programs do.
bool has_syscall_filter() {
  return syscall6(SYS_prctl, PR_GET_SECCOMP) != 0;
}

// Growing a file beyond RLIMIT_FSIZE raises SIGXFSZ, which ends most programs.
bool may_have_files_of(size_t bytes) {
  struct rlimit limit = {};
  return syscall6(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, as_arg(&limit)) == 0 && limit.rlim_cur >= bytes;
}

// A descriptor, or -errno.
long open_memfd(const char* name) {
  // Without the flag, kernels from 6.3 on complain once or, by sysctl, refuse; kernels before do not know it.
  const long fd = syscall6(SYS_memfd_create, as_arg(name), MFD_CLOEXEC | MFD_NOEXEC_SEAL);
  return fd == -EINVAL ? syscall6(SYS_memfd_create, as_arg(name), MFD_CLOEXEC) : fd;
}

}  // namespace

void* map_memfd(const char* name, size_t bytes, void* place, int& fd) {
  if (has_syscall_filter() || !may_have_files_of(bytes)) return nullptr;
  const long made = open_memfd(name);
  if (made < 0) return nullptr;
  if (syscall6(SYS_ftruncate, made, static_cast<long>(bytes)) == 0) {
    const int flags = MAP_SHARED | (place != nullptr ? MAP_FIXED : 0);
    const long address =
        syscall6(SYS_mmap, as_arg(place), static_cast<long>(bytes), PROT_READ | PROT_WRITE, flags, made, 0);
    // Errors are -4095..-1; every other value is an address.
    if (address >= 0 || address < -4095) {
      fd = static_cast<int>(made);
      return reinterpret_cast<void*>(address);
    }
  }
  syscall6(SYS_close, made);
  return nullptr;
}

}  // namespace weir::os
