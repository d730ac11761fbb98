#include "base/lock.h"

#include "base/check.h"
#include "base/port.h"

namespace weir {

constinit thread_local uint32_t locks_held = 0;

namespace {

// How often a waiter looks again before it sleeps. Critical sections here last 50 to 500 ns; 100 pauses are about 2 us,
// less than the two context switches that sleeping costs.
constexpr int kSpins = 100;

inline void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void Mutex::lock_slow() {
  for (int i = 0; i < kSpins; ++i) {
    cpu_pause();
    uint32_t expected = 0;
    if (word_.load(std::memory_order_relaxed) == 0 &&
        word_.compare_exchange_weak(expected, 1, std::memory_order_acquire)) {
      return;
    }
  }
  while (word_.exchange(2, std::memory_order_acquire) != 0) port::futex_wait(word_, 2);
}

void Mutex::unlock_slow() {
  port::futex_wake(word_, 1);
}

void Mutex::lock_for_fork() {
  uint32_t expected = 0;
  if (!word_.compare_exchange_strong(expected, 1, std::memory_order_acquire)) lock_slow();
}

void Mutex::unlock_for_fork() {
  if (word_.exchange(0, std::memory_order_release) == 2) unlock_slow();
}

#ifdef WEIR_DEBUG
namespace {
// One bit per rank that this thread holds.
thread_local uint32_t held_ranks = 0;
}  // namespace

void Mutex::note_acquire() {
  const uint32_t bit = 1u << static_cast<unsigned>(rank_);
  WEIR_CHECK(held_ranks < bit);  // no lock of this rank or a higher one is held
  held_ranks |= bit;
}

void Mutex::note_release() {
  held_ranks &= ~(1u << static_cast<unsigned>(rank_));
}
#endif

}  // namespace weir
