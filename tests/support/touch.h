// Purpose: touches of memory that may not be there.
// Thread safety: one thread at a time in a process: SIGBUS is handled here meanwhile.
#pragma once

#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>

#include <cstdint>

#include "base/units.h"

namespace weir {

inline void touch(const char* p) {
  static_cast<void>(*static_cast<const volatile char*>(p));
}

struct CaughtSigbus {
  static inline sigjmp_buf here;
  static inline const void* volatile address;
};

// Whether a touch raises SIGBUS, which must name that page.
inline bool touch_fails(const char* p) {
  struct sigaction action = {}, before;
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    CaughtSigbus::address = info->si_addr;
    siglongjmp(CaughtSigbus::here, 1);
  };
  sigaction(SIGBUS, &action, &before);
  const bool failed = sigsetjmp(CaughtSigbus::here, 1) != 0;
  if (!failed) touch(p);
  sigaction(SIGBUS, &before, nullptr);
  const auto page_number = [](const void* at) { return reinterpret_cast<uintptr_t>(at) / kPageSize; };
  if (!failed) return false;
  EXPECT_EQ(page_number(CaughtSigbus::address), page_number(p));
  return true;
}

}  // namespace weir
