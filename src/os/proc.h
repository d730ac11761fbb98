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
// The processor this thread runs on, now. Through the rseq area where glibc registered it, else getcpu.
unsigned current_cpu();
// Soft limits in bytes; SIZE_MAX when unlimited.
size_t address_space_limit();
size_t data_limit();
// A number that differs from process to process (AT_RANDOM); no system call.
uint64_t process_random();
// Sleeps; returns early when interrupted.
void sleep_ms(uint64_t ms);
// Ends the process at once, running no handlers.
[[noreturn]] void exit_now(int status);

}  // namespace weir::os
