#include "malloc/follow_cgroup.h"

#include <atomic>

#include "malloc/process.h"
#include "os/proc.h"

namespace weir {
namespace {

// A look costs some 20 system calls, 0.1 ms: one part in ten thousand of a processor. Groups are resized by people and
// schedulers, which do not expect more.
constexpr uint64_t kEveryMs = 1000;

constinit std::atomic<uint64_t> looked_at_ms{0};

}  // namespace

void follow_cgroup() {
  const uint64_t now = os::now_ms();
  uint64_t before = looked_at_ms.load(std::memory_order_relaxed);
  if (now - before < kEveryMs || !looked_at_ms.compare_exchange_strong(before, now, std::memory_order_relaxed)) return;
  // Who changes something else will be done soon, and somebody will come by again.
  if (!process_settings_mutex().try_lock()) return;
  Reclaimer* reclaimer = process_allocator().reclaimer();
  // The limit is there, or it would not have changed.
  if (reclaimer != nullptr && reclaimer->cgroup_has_changed())
    static_cast<void>(process_options_changed(Reclaimer::Budget::kAlso));
  process_settings_mutex().unlock();
}

}  // namespace weir
