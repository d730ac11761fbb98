// Purpose: system calls that neither touch errno nor any other thread-local state, so that they work in the first
// malloc
//          of a process, in fork handlers and in threads that have no libc state of their own.
// Thread safety: as the system calls. Invariants: a failure is returned as -errno, as the kernel does.
#pragma once

#include <sys/syscall.h>

namespace weir::os {

#if defined(__x86_64__)
inline long syscall6(long n, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
inline long syscall6(long n, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  register long x8 asm("x8") = n;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
#else
#error "weir needs x86-64 or arm64"
#endif

// Also for memory that the call fills: behind a pointer to const the compiler takes it for read.
inline long as_arg(void* p) {
  return reinterpret_cast<long>(p);
}
inline long as_arg(const void* p) {
  return reinterpret_cast<long>(p);
}

}  // namespace weir::os
