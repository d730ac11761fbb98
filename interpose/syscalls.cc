// System calls of the program that weir must know of; everything is passed on as the C library does.
// - It is about to filter its system calls, so that weir starts no thread from then on, for which a filter may end the
//   process. prctl and syscall are the ways there (libseccomp uses the latter).
// - It gives up content of its heap, which may lie elsewhere: madvise, also through syscall.
// - It protects or locks its heap, which may be on its way out or back: mprotect, pkey_mprotect, mlock, mlock2 and
//   munlock, also through syscall.
// - It maps files, which count where the limit is one of the whole process: mmap, munmap and mremap, also through
//   syscall.
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "malloc/decay.h"
#include "malloc/file_calls.h"
#include "malloc/process.h"
#include "os/syscall.h"
#include "os/vm.h"

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

__attribute__((noinline)) long advise(long address, long bytes, long advice) {
  const long result =
      weir::process_madvise(reinterpret_cast<void*>(address), static_cast<size_t>(bytes), static_cast<int>(advice));
  return is_error(result) ? fail(result) : result;
}

__attribute__((noinline)) long protect(long address, long bytes, long protection, long key) {
  const long result = weir::process_mprotect(reinterpret_cast<void*>(address), static_cast<size_t>(bytes),
                                             static_cast<int>(protection), static_cast<int>(key));
  return is_error(result) ? fail(result) : result;
}

__attribute__((noinline)) long lock(long address, long bytes, long flags) {
  const long result =
      weir::process_mlock(reinterpret_cast<void*>(address), static_cast<size_t>(bytes), static_cast<int>(flags));
  return is_error(result) ? fail(result) : result;
}

__attribute__((noinline)) long unlock(long address, long bytes) {
  const long result = weir::process_munlock(reinterpret_cast<void*>(address), static_cast<size_t>(bytes));
  return is_error(result) ? fail(result) : result;
}

__attribute__((noinline)) long map(long address, long bytes, long protection, long flags, long fd, long offset) {
  const long result =
      weir::process_mmap(reinterpret_cast<void*>(address), static_cast<size_t>(bytes), static_cast<int>(protection),
                         static_cast<int>(flags), static_cast<int>(fd), offset);
  return is_error(result) ? fail(result) : result;
}

__attribute__((noinline)) long unmap(long address, long bytes) {
  const long result = weir::process_munmap(reinterpret_cast<void*>(address), static_cast<size_t>(bytes));
  return is_error(result) ? fail(result) : result;
}

__attribute__((noinline)) long remap(long address, long bytes, long new_bytes, long flags, long new_address) {
  const long result =
      weir::process_mremap(reinterpret_cast<void*>(address), static_cast<size_t>(bytes), static_cast<size_t>(new_bytes),
                           static_cast<int>(flags), reinterpret_cast<void*>(new_address));
  return is_error(result) ? fail(result) : result;
}

}  // namespace

// The C library declares these with "...", which passes integers like named parameters on x86-64 and arm64.
WEIR_EXPORT long weir_syscall(long n, long a, long b, long c, long d, long e, long f) asm("syscall");
WEIR_EXPORT int weir_prctl(int option, long a, long b, long c, long d) asm("prctl");
WEIR_EXPORT void* weir_mremap(void* address, size_t bytes, size_t new_bytes, int flags,
                              void* new_address) asm("mremap");

long weir_syscall(long n, long a, long b, long c, long d, long e, long f) {
  if (__builtin_expect(n == SYS_madvise, 0)) return advise(a, b, c);
  if (__builtin_expect(n == SYS_mprotect, 0)) return protect(a, b, c, weir::os::kNoKey);
  if (__builtin_expect(n == SYS_pkey_mprotect, 0)) return protect(a, b, c, d);
  if (__builtin_expect(n == SYS_mlock, 0)) return lock(a, b, 0);
  if (__builtin_expect(n == SYS_mlock2, 0)) return lock(a, b, c);
  if (__builtin_expect(n == SYS_munlock, 0)) return unlock(a, b);
  if (__builtin_expect(n == SYS_mmap, 0)) return map(a, b, c, d, e, f);
  if (__builtin_expect(n == SYS_munmap, 0)) return unmap(a, b);
  if (__builtin_expect(n == SYS_mremap, 0)) return remap(a, b, c, d, e);
  if (__builtin_expect(n == SYS_seccomp, 0)) weir::decay_forbid_threads();
  const long result = weir::os::syscall6(n, a, b, c, d, e, f);
  return is_error(result) ? fail(result) : result;
}

int weir_prctl(int option, long a, long b, long c, long d) {
  if (option == PR_SET_SECCOMP) weir::decay_forbid_threads();
  const long result = weir::os::syscall6(SYS_prctl, option, a, b, c, d);
  return static_cast<int>(is_error(result) ? fail(result) : result);
}

WEIR_EXPORT int madvise(void* address, size_t bytes, int advice) noexcept {
  return static_cast<int>(advise(reinterpret_cast<long>(address), static_cast<long>(bytes), advice));
}

WEIR_EXPORT int mprotect(void* address, size_t bytes, int protection) noexcept {
  return static_cast<int>(
      protect(reinterpret_cast<long>(address), static_cast<long>(bytes), protection, weir::os::kNoKey));
}

WEIR_EXPORT int pkey_mprotect(void* address, size_t bytes, int protection, int key) noexcept {
  return static_cast<int>(protect(reinterpret_cast<long>(address), static_cast<long>(bytes), protection, key));
}

WEIR_EXPORT int mlock(const void* address, size_t bytes) noexcept {
  return static_cast<int>(lock(reinterpret_cast<long>(address), static_cast<long>(bytes), 0));
}

WEIR_EXPORT int mlock2(const void* address, size_t bytes, unsigned flags) noexcept {
  return static_cast<int>(lock(reinterpret_cast<long>(address), static_cast<long>(bytes), static_cast<long>(flags)));
}

WEIR_EXPORT int munlock(const void* address, size_t bytes) noexcept {
  return static_cast<int>(unlock(reinterpret_cast<long>(address), static_cast<long>(bytes)));
}

WEIR_EXPORT void* mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) noexcept {
  return reinterpret_cast<void*>(
      map(reinterpret_cast<long>(address), static_cast<long>(bytes), protection, flags, fd, offset));
}

// The same where addresses have 64 bits.
WEIR_EXPORT void* mmap64(void* address, size_t bytes, int protection, int flags, int fd, off64_t offset) noexcept {
  return mmap(address, bytes, protection, flags, fd, offset);
}

WEIR_EXPORT int munmap(void* address, size_t bytes) noexcept {
  return static_cast<int>(unmap(reinterpret_cast<long>(address), static_cast<long>(bytes)));
}

void* weir_mremap(void* address, size_t bytes, size_t new_bytes, int flags, void* new_address) {
  return reinterpret_cast<void*>(remap(reinterpret_cast<long>(address), static_cast<long>(bytes),
                                       static_cast<long>(new_bytes), flags, reinterpret_cast<long>(new_address)));
}
