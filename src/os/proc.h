// Purpose: what weir asks of the process it lives in: time, processor, limits, randomness.
// Thread safety: any thread, also before constructors. Invariants: errno is never touched.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir::os {

// Milliseconds of a clock that never goes back; coarse (a kernel tick, 1 to 10 ms), a few nanoseconds a call.
uint64_t now_ms();
// Nanoseconds of the same clock, exact.
uint64_t now_ns();
// The same by a system call, for who asks once: a program's first use of the C library's clock is two page faults.
uint64_t now_ns_once();
// The processor this thread runs on, now. Through the rseq area where glibc registered it, else getcpu.
unsigned current_cpu();
// Soft limits in bytes; SIZE_MAX when unlimited.
size_t address_space_limit();
size_t data_limit();
// Raises the process's limit of open files for a while: to the hard limit, or beyond it where the process may.
class DescriptorRoom {
 public:
  // False: it cannot be raised. Once until close.
  [[nodiscard]] bool open();
  // Restores what was, also in the child of a fork.
  void close();
  // Whether the limit leaves no room for `count` descriptors even in an empty table.
  static bool is_short_of(uint64_t count);

 private:
  bool open_ = false;
  uint64_t soft_ = 0, hard_ = 0;
};
// A number that differs from process to process (AT_RANDOM); no system call.
uint64_t process_random();
// Sleeps; returns early when interrupted.
void sleep_ms(uint64_t ms);
// Ends the process at once, running no handlers.
[[noreturn]] void exit_now(int status);

}  // namespace weir::os
