// Notices that the program is about to filter its system calls, so that weir starts no thread from then on: a filter
// may end the process for clone(2). prctl and syscall are the ways there (libseccomp uses the latter); both pass
// everything on as the C library does.
#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "malloc/decay.h"
#include "os/syscall.h"

#define WEIR_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

long with_errno(long result) {
  if (__builtin_expect(result >= 0 || result < -4095, 1)) return result;
  errno = static_cast<int>(-result);
  return -1;
}

}  // namespace

// The C library declares both with "...", which passes integers like named parameters on x86-64 and arm64.
WEIR_EXPORT long weir_syscall(long n, long a, long b, long c, long d, long e, long f) asm("syscall");
WEIR_EXPORT int weir_prctl(int option, long a, long b, long c, long d) asm("prctl");

long weir_syscall(long n, long a, long b, long c, long d, long e, long f) {
  if (__builtin_expect(n == SYS_seccomp, 0)) weir::decay_forbid_threads();
  return with_errno(weir::os::syscall6(n, a, b, c, d, e, f));
}

int weir_prctl(int option, long a, long b, long c, long d) {
  if (option == PR_SET_SECCOMP) weir::decay_forbid_threads();
  return static_cast<int>(with_errno(weir::os::syscall6(SYS_prctl, option, a, b, c, d)));
}
