// Purpose: threads of weir's own, and what must be known about the calling one.
// Thread safety: any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir::os {

// On top of what the C library itself needs: the decay thread's deepest call is a few kilobytes.
inline constexpr size_t kSmallStackBytes = size_t{64} << 10;

// Starts a detached thread with all signals blocked and this much stack. False when the system refuses. May allocate
// (through whatever malloc the process has), so no weir lock may be held.
[[nodiscard]] bool start_thread(void (*run)(), size_t stack_bytes = kSmallStackBytes);
// What the calling thread is called in /proc and by debuggers; at most 15 characters.
void name_thread(const char* name);

// True when `code` lies in the dynamic linker. It frees thread-local storage while it holds locks of the C library that
// starting a thread needs too (nptl's stack cache), so a free() from there must not start one.
[[nodiscard]] bool in_dynamic_linker(const void* code);

// Blocks these signals of the calling thread (bit n - 1 for signal n) and no others; returns which were blocked before.
// The C library's own two, for setuid in all threads and for cancellation, can be among them.
uint64_t exchange_signal_mask(uint64_t blocked);
// Blocks those that SignalsHeldBack does, in addition; returns which were blocked before.
uint64_t hold_back_signals();
inline constexpr uint64_t kAllSignals = ~uint64_t{0};
// The C library's own (32 and 33).
inline constexpr uint64_t kLibrarySignals = uint64_t{3} << 31;

// No handler of the program runs in the calling thread while this lives, but for signals that a fault of the thread
// itself raises, and the C library's own. For what must not be interrupted by a touch of memory that is away, because
// bringing it back takes what the thread holds. Two system calls: 0.2 us.
class SignalsHeldBack {
 public:
  SignalsHeldBack() : before_(hold_back_signals()) {}
  ~SignalsHeldBack() { exchange_signal_mask(before_); }
  SignalsHeldBack(const SignalsHeldBack&) = delete;
  SignalsHeldBack& operator=(const SignalsHeldBack&) = delete;

 private:
  uint64_t before_;
};

int process_id();
// The user whose rights the process has.
unsigned effective_user_id();
// The real one.
uint32_t user_id();

}  // namespace weir::os
