#include "malloc/follow_cgroup.h"

#include <atomic>

#include "malloc/callbacks.h"
#include "malloc/process.h"
#include "os/cgroup.h"
#include "os/proc.h"
#include "weir/events.h"

namespace weir {
namespace {

// A look costs some 50 system calls, 0.2 ms: one part in five thousand of a processor. Groups are resized by people and
// schedulers, which do not expect more.
constexpr uint64_t kEveryMs = 1000;
// When a group is nearly full, others in it may fill it within a second.
constexpr uint64_t kEveryMsWhenShort = 100;
// What weir leaves to the kernel and to the others of a group: reclaim of file pages, threads' stacks and page tables
// need room, and what cannot be had there the kernel gets by killing somebody.
constexpr uint64_t kMarginShare = 16;
// A tenth of the time (kernel: what memory.pressure shows as avg10=10); less is what reading files through a full cache
// costs.
constexpr uint64_t kStalledShare = 10;

constinit std::atomic<uint64_t> looked_at_ms{0};
constinit std::atomic<uint64_t> every_ms{kEveryMs};
// By who holds the lock of the settings: as of the last look.
constinit os::CgroupState last;
constinit bool has_last = false;

// Its limit is met again and again, or its processes wait for memory a good part of the time.
bool is_short(const os::CgroupState& now, uint64_t passed_ms, int64_t margin) {
  if (!has_last) return false;
  if (now.oom_kills > last.oom_kills) return true;
  if (now.hits > last.hits && now.room < margin) return true;
  return now.stalled_us - last.stalled_us > passed_ms * 1000 / kStalledShare && now.stalled_us > last.stalled_us;
}

void look(Reclaimer& reclaimer, uint64_t passed_ms) {
  // The limit is there, or it would not have changed.
  if (reclaimer.cgroup_has_changed()) static_cast<void>(process_options_changed(Reclaimer::Budget::kAlso));
  const bool follows = reclaimer.follows_cgroup();
  if (!follows && !process_events().has_listeners(WEIR_EVENT_CGROUP)) return;
  const os::CgroupState now = os::cgroup_state();
  const auto margin = static_cast<int64_t>(bytes_of(reclaimer.limit()) / kMarginShare);
  const bool is_scarce = is_short(now, passed_ms, margin);
  if (is_scarce) process_events().note(WEIR_EVENT_CGROUP);
  if (follows && now.room != os::CgroupState::kNoLimit) {
    reclaimer.leave_to_cgroup(now.room - margin, is_scarce && now.room < margin);
    every_ms.store(now.room < 4 * margin ? kEveryMsWhenShort : kEveryMs, std::memory_order_relaxed);
  }
  last = now;
  has_last = true;
}

}  // namespace

void follow_cgroup() {
  const uint64_t now = os::now_ms();
  uint64_t before = looked_at_ms.load(std::memory_order_relaxed);
  if (now - before < every_ms.load(std::memory_order_relaxed)) return;
  if (!looked_at_ms.compare_exchange_strong(before, now, std::memory_order_relaxed)) return;
  // Who changes something else will be done soon, and somebody will come by again.
  if (!process_settings_mutex().try_lock()) return;
  if (Reclaimer* reclaimer = process_allocator().reclaimer(); reclaimer != nullptr) look(*reclaimer, now - before);
  process_settings_mutex().unlock();
}

void follow_cgroup_from_now() {
  LockGuard guard(process_settings_mutex());
  // Where somebody listens, or the limit is the group's, the last look is a second old at most.
  const Reclaimer* reclaimer = process_allocator().reclaimer();
  if (has_last && (process_events().has_listeners(WEIR_EVENT_CGROUP) || reclaimer->follows_cgroup())) return;
  last = os::cgroup_state();
  has_last = true;
}

}  // namespace weir
