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

// A call of its own at the very end, so that the functions below need no stack frame: what is called through syscall
// may return on another stack (clone).
__attribute__((noinline, cold)) long fail(long result) {
  errno = static_cast<int>(-result);
  return -1;
}

inline bool is_error(long result) {
  return __builtin_expect(result < 0 && result >= -4095, 0);
}

}  // namespace

// The C library declares both with "...", which passes integers like named parameters on x86-64 and arm64.
WEIR_EXPORT long weir_syscall(long n, long a, long b, long c, long d, long e, long f) asm("syscall");
WEIR_EXPORT int weir_prctl(int option, long a, long b, long c, long d) asm("prctl");

long weir_syscall(long n, long a, long b, long c, long d, long e, long f) {
  if (__builtin_expect(n == SYS_seccomp, 0)) weir::decay_forbid_threads();
  const long result = weir::os::syscall6(n, a, b, c, d, e, f);
  return is_error(result) ? fail(result) : result;
}

int weir_prctl(int option, long a, long b, long c, long d) {
  if (option == PR_SET_SECCOMP) weir::decay_forbid_threads();
  const long result = weir::os::syscall6(SYS_prctl, option, a, b, c, d);
  return static_cast<int>(is_error(result) ? fail(result) : result);
}
