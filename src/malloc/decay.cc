#include "malloc/decay.h"

#include "malloc/misuse.h"
#include "malloc/process.h"
#include "os/proc.h"
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

enum class Thread : uint32_t { kNone, kStarting, kRunning };

constinit std::atomic<Thread> thread{Thread::kNone};
constinit std::atomic<bool> threads_allowed{false};
constinit std::atomic<uint32_t> polls{0};
constinit std::atomic<uint64_t> retry_at_ms{0};
constinit std::atomic<uint64_t> next_tick_ms{0};
// What could not be given back when the last thread ended: free objects on pages that others share.
constinit std::atomic<size_t> leftover{0};
constinit std::atomic<int> owner_pid{0};

uint64_t tick_ms() {
  const uint64_t tick = static_cast<uint64_t>(process_allocator().options().decay_ms) / UnusedWindow::kTicksPerDecay;
  return tick == 0 ? 1 : tick;
}

void run() {
  thread.store(Thread::kRunning, std::memory_order_relaxed);
  Allocator& allocator = process_allocator();
  size_t before = allocator.decayable_bytes();
  for (unsigned quiet = 0; quiet < kQuietTicks;) {
    os::sleep_ms(tick_ms());
    report_misuse(allocator.decay_tick(), "free");
    const size_t now = allocator.decayable_bytes();
    quiet = now == before ? quiet + 1 : 0;
    before = now;
  }
  leftover.store(before, std::memory_order_relaxed);
  thread.store(Thread::kNone, std::memory_order_release);
}

void start_thread(const void* caller) {
  if (!threads_allowed.load(std::memory_order_relaxed) || os::in_dynamic_linker(caller)) return;
  // The child of a vfork shares our memory but is another process; a thread of its own would outlive its use.
  if (owner_pid.load(std::memory_order_relaxed) != os::process_id()) return;
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
void poll_clock() {
  if (polls.fetch_add(1, std::memory_order_relaxed) % kPollsPerClock != 0) return;
  const uint64_t now = os::now_ms();
  uint64_t due = next_tick_ms.load(std::memory_order_relaxed);
  if (now < due || !next_tick_ms.compare_exchange_strong(due, now + tick_ms(), std::memory_order_relaxed)) return;
  report_misuse(process_allocator().decay_tick(), "free");
}

}  // namespace

void decay_poll_on_free(const void* caller) {
  Allocator& allocator = process_allocator();
  const Options& options = allocator.options();
  if (options.decay_ms < 0) return;
  if (options.decay_ms == 0) {
    size_t bytes;
    if (polls.fetch_add(1, std::memory_order_relaxed) % kPollsPerCount == 0)
      report_misuse(allocator.trim(nullptr, bytes), "free");
    return;
  }
  if (!may_start_threads()) return poll_clock();
  if (thread.load(std::memory_order_relaxed) != Thread::kNone) return;
  if (polls.fetch_add(1, std::memory_order_relaxed) % kPollsPerCount != 0) return;
  if (allocator.decayable_bytes() > leftover.load(std::memory_order_relaxed) + kStartBytes) start_thread(caller);
}

void decay_poll_on_alloc() {
  const Options& options = process_allocator().options();
  if (!may_start_threads() && options.decay_ms > 0) poll_clock();
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
