#include "malloc/decay.h"

#include "base/port.h"
#include "malloc/misuse.h"
#include "malloc/process.h"
#include "os/proc.h"
#include "os/service_thread.h"
#include "os/thread.h"

namespace weir {

constinit std::atomic<bool> decay_detail::threads_forbidden{false};

namespace {

using decay_detail::threads_forbidden;

// Freed memory below this much is not worth a thread: it is what a program's allocations swing by all the time.
constexpr size_t kStartBytes = size_t{4} << 20;
// Adding up what all depots hold is done at every so many slow frees only; each of them frees half a bin.
constexpr uint32_t kPollsPerCount = 16;
// The thread ends when this many ticks passed with nothing left to do: two decay times, so that a program that works in
// bursts keeps its thread.
constexpr unsigned kQuietTicks = 2 * UnusedWindow::kTicksPerDecay;
// After a refusal (RLIMIT_NPROC, say) the next attempt waits.
constexpr uint64_t kRetryMs = 1000;
// Without a thread, slow paths look at the clock at every so many calls.
constexpr uint32_t kPollsPerClock = 64;

// The thread looks at what others ask of the process at least as often, whatever the decay time: who waits for an
// answer waits for some seconds. A thread that runs at all wakes twice a second by default.
constexpr uint64_t kLongestSleepMs = 500;

enum class Thread : uint32_t { kNone, kStarting, kRunning };

constinit std::atomic<Thread> thread{Thread::kNone};
constinit std::atomic<bool> threads_allowed{false};
constinit std::atomic<uint32_t> polls{0};
constinit std::atomic<uint64_t> retry_at_ms{0};
constinit std::atomic<uint64_t> next_tick_ms{0};
// What could not be given back when the last thread ended: free objects on pages that others share.
constinit std::atomic<size_t> leftover{0};
constinit std::atomic<int> owner_pid{0};
// Changes when decay_ms does.
constinit std::atomic<uint32_t> changes{0};

int64_t decay_ms() {
  return process_allocator().options().decay_ms;
}

uint64_t tick_ms(int64_t decay) {
  const uint64_t tick = static_cast<uint64_t>(decay) / UnusedWindow::kTicksPerDecay;
  return tick == 0 ? 1 : tick;
}

// Until the tick is over, and false when there are none any more. What others ask of the process is answered, and
// another decay time holds for this tick already.
bool sleep_until_tick() {
  for (const uint64_t start = os::now_ms();;) {
    const uint32_t word = changes.load(std::memory_order_acquire);
    process_poll_requests();
    const int64_t decay = decay_ms();
    if (decay <= 0) return false;
    const uint64_t tick = tick_ms(decay), passed = os::now_ms() - start;
    if (passed >= tick) return true;
    os::futex_wait_ms(changes, word, tick - passed < kLongestSleepMs ? tick - passed : kLongestSleepMs);
  }
}

void run() {
  os::name_thread("weir-decay");
  thread.store(Thread::kRunning, std::memory_order_relaxed);
  Allocator& allocator = process_allocator();
  size_t before = allocator.decayable_bytes();
  bool ticking = true;
  for (unsigned quiet = 0; quiet < kQuietTicks && (ticking = sleep_until_tick());) {
    report_misuse(allocator.decay_tick(), "free");
    const size_t now = allocator.decayable_bytes();
    quiet = now == before ? quiet + 1 : 0;
    before = now;
  }
  // Of what is there when decay was switched off, nothing was tried.
  leftover.store(ticking ? before : 0, std::memory_order_relaxed);
  thread.store(Thread::kNone, std::memory_order_release);
}

bool may_start_by(const void* caller) {
  if (!threads_allowed.load(std::memory_order_relaxed) || os::in_dynamic_linker(caller)) return false;
  // The child of a vfork shares our memory but is another process; a thread of its own would outlive its use.
  return owner_pid.load(std::memory_order_relaxed) == os::process_id();
}

void start_thread(const void* caller) {
  if (!may_start_by(caller)) return;
  if (os::now_ms() < retry_at_ms.load(std::memory_order_relaxed)) return;
  Thread expected = Thread::kNone;
  if (!thread.compare_exchange_strong(expected, Thread::kStarting, std::memory_order_acquire)) return;
  if (!os::start_thread(run)) {
    retry_at_ms.store(os::now_ms() + kRetryMs, std::memory_order_relaxed);
    thread.store(Thread::kNone, std::memory_order_release);
  }
}

bool may_start_threads() {
  return process_allocator().options().background_thread && !threads_forbidden.load(std::memory_order_relaxed);
}

// Ticks by the clock, from whichever thread comes by, where there is no thread.
void poll_clock(int64_t decay) {
  if (polls.fetch_add(1, std::memory_order_relaxed) % kPollsPerClock != 0) return;
  const uint64_t now = os::now_ms();
  uint64_t due = next_tick_ms.load(std::memory_order_relaxed);
  if (now < due || !next_tick_ms.compare_exchange_strong(due, now + tick_ms(decay), std::memory_order_relaxed)) return;
  report_misuse(process_allocator().decay_tick(), "free");
}

}  // namespace

void decay_poll_on_free(const void* caller) {
  Allocator& allocator = process_allocator();
  const int64_t decay = decay_ms();
  process_poll_requests();
  if (decay < 0) return;
  if (decay == 0) {
    size_t bytes;
    if (polls.fetch_add(1, std::memory_order_relaxed) % kPollsPerCount == 0)
      report_misuse(allocator.trim(nullptr, bytes), "free");
    return;
  }
  if (!may_start_threads()) return poll_clock(decay);
  if (thread.load(std::memory_order_relaxed) != Thread::kNone) return;
  if (polls.fetch_add(1, std::memory_order_relaxed) % kPollsPerCount != 0) return;
  if (allocator.decayable_bytes() > leftover.load(std::memory_order_relaxed) + kStartBytes) start_thread(caller);
}

void decay_poll_on_alloc() {
  const int64_t decay = decay_ms();
  process_poll_requests();
  if (!may_start_threads() && decay > 0) poll_clock(decay);
}

bool decay_may_start_threads(const void* caller) {
  return may_start_threads() && may_start_by(caller);
}

void decay_options_changed() {
  changes.fetch_add(1, std::memory_order_release);
  port::futex_wake(changes, 1);
  next_tick_ms.store(0, std::memory_order_relaxed);
  size_t bytes;
  if (decay_ms() == 0) report_misuse(process_allocator().trim(nullptr, bytes), "free");
}

void decay_allow_threads() {
  owner_pid.store(os::process_id(), std::memory_order_relaxed);
  threads_allowed.store(true, std::memory_order_relaxed);
}

void decay_after_fork_in_child() {
  owner_pid.store(os::process_id(), std::memory_order_relaxed);
  thread.store(Thread::kNone, std::memory_order_relaxed);
}

}  // namespace weir
