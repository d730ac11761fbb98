#include "malloc/kcompactd.h"

#include "base/port.h"
#include "malloc/decay.h"
#include "malloc/process.h"
#include "os/proc.h"
#include "os/service_thread.h"
#include "os/thread.h"

namespace weir {
namespace {

// HPAGE_FRAG_CHECK_INTERVAL_MSEC.
constexpr uint64_t kLookMs = 500;
// After so many looks between which nothing came or went, 32 s (as long as a node is left alone that nothing could be
// done for), there is no more to see until something does.
constexpr unsigned kQuietLooks = 64;
// After a refusal (RLIMIT_NPROC, say) the next attempt waits.
constexpr uint64_t kRetryMs = 1000;

constinit os::ServiceStack stack;
constinit std::atomic<bool> running{false};
constinit std::atomic<uint64_t> retry_at_ms{0};
constinit std::atomic<uint32_t> comings{0};  // objects made or freed
constinit std::atomic<uint32_t> bells{0};    // the thread sleeps on it
constinit std::atomic<bool> sleeps_long{false};
constinit std::atomic<bool> everything_wanted{false};

void ring() {
  bells.fetch_add(1);
  port::futex_wake(bells, 1);
}

bool works_ahead() {
  return process_allocator().options().compaction_proactiveness != 0;
}

// Until a setting changed, or somebody asked; where it works ahead, also until something came or went.
void sleep_long(uint32_t bell, uint32_t seen) {
  if (!works_ahead()) return port::futex_wait(bells, bell);
  sleeps_long.store(true);
  if (comings.load() == seen) port::futex_wait(bells, bell);
  sleeps_long.store(false);
}

void run(void*) {
  os::name_thread("kcompactd");
  Compactor& compactor = *process_allocator().compactor();
  uint32_t seen = comings.load();
  for (unsigned quiet = 0;;) {
    const uint32_t bell = bells.load();
    if (everything_wanted.exchange(false)) static_cast<void>(compactor.compact_all());
    compactor.compact_ahead();
    const bool may_be_useful = works_ahead() && quiet < kQuietLooks;
    may_be_useful ? os::futex_wait_ms(bells, bell, kLookMs) : sleep_long(bell, seen);
    const uint32_t now = comings.load();
    quiet = now == seen && bells.load() == bell ? quiet + 1 : 0;
    seen = now;
  }
}

void start() {
  if (!decay_may_start_threads(nullptr) || os::now_ms() < retry_at_ms.load(std::memory_order_relaxed)) return;
  if (running.exchange(true)) return;
  if (os::start_service_thread(stack, os::FileTable::kShared, run, nullptr) >= 0) return;
  retry_at_ms.store(os::now_ms() + kRetryMs, std::memory_order_relaxed);
  running.store(false);
}

}  // namespace

void kcompactd_poll() {
  comings.fetch_add(1);
  if (__builtin_expect(running.load(std::memory_order_relaxed), 1)) {
    if (__builtin_expect(sleeps_long.load(), 0)) ring();
  } else if (works_ahead()) {
    start();
  }
}

bool kcompactd_wake(bool everything) {
  if (process_allocator().compactor() == nullptr) return false;
  if (everything) everything_wanted.store(true);
  if (!running.load() && (everything || works_ahead())) start();
  if (!running.load()) {
    everything_wanted.store(false);
    return false;
  }
  ring();
  return true;
}

void kcompactd_after_fork_in_child() {
  running.store(false);
  sleeps_long.store(false);
}

}  // namespace weir
