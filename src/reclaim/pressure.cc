// What the Reclaimer does about pressure besides unmapping pages: asks caches for memory, measures how long threads are
// stalled, and finds out what has happened for those who want to hear of it.
#include <algorithm>
#include <new>

#include "os/proc.h"
#include "os/undisturbed.h"
#include "reclaim/reclaimer.h"
#include "weir/events.h"

namespace weir {
namespace {

// A cache that has not answered for so long waits for something, maybe for the very thread that waits for memory. What
// callbacks do at a time (a batch) takes milliseconds.
constexpr uint64_t kShrinkerPatienceMs = 1000;
constexpr uint64_t kReserveMs = 1000;
constexpr uint64_t kReservePages = 4;

}  // namespace

void Reclaimer::connect(Shrinkers& shrinkers, Events& events) {
  shrinkers_ = &shrinkers;
  events_ = &events;
  shrinkers.count_in(counters_);
}

// -- caches ----------------------------------------------------------------------------------------------------------

// weir's own caches give back at this priority, here and now. The program's are asked one after the other by a thread
// that may call them: each round at one priority less than the one before if that gave less than was missing, but not
// below this one (kernel: balance_pgdat). Otherwise kswapd, which goes through all priorities within microseconds when
// no page can be unmapped, would have them emptied at once; and so would it where a thread takes what they give as fast
// as it comes.
Pages Reclaimer::shrink_caches(Kswapd& kswapd, unsigned priority) {
  if (shrinkers_ == nullptr) return Pages(0);
  // What the last round freed may have come while pages were being unmapped.
  const Pages free = kswapd.node->zone().free_budget(), wanted = goal(kswapd);
  if (shrinkers_->has_any() && !shrinkers_->is_busy() && free < wanted) {
    // Pages may also be given back by others, who take them again: without a share of the caches that does not count.
    const uint64_t freed = kswapd.node->zone().stats().pgfree, objects = counters_.slabs_freed.load();
    const bool little = kswapd.slab_asked && (freed < kswapd.pages_wanted || objects == kswapd.objects_freed);
    const unsigned next = little && kswapd.slab_priority > 1 ? kswapd.slab_priority - 1 : kswapd.slab_priority;
    kswapd.slab_priority = std::max(next, priority);
    kswapd.slab_asked = true;
    kswapd.objects_freed = objects;
    kswapd.pages_wanted = freed + (wanted - free).v;
    shrinkers_->ask(kswapd.slab_priority);
    kswapd.beat = shrinkers_->beat();
    kswapd.beat_ms = os::now_ms();
  }
  return Pages(shrinkers_->shrink(Shrinkers::Caller::kKswapd, priority));
}

Pages Reclaimer::put_objects_away(Kswapd& kswapd, Pages wanted) {
  if (!puts_objects_away() || !enter_eviction()) return Pages(0);
  const ObjectStory& objects = *objects_.load(std::memory_order_acquire);
  const Pages gone = objects.put_away(objects.self, *kswapd.node, wanted);
  leave_eviction();
  return gone;
}

// Where pages cannot be unmapped, files, objects with handles and caches are all there is.
Pages Reclaimer::balance_by_purging(Kswapd& kswapd) {
  Zone& zone = kswapd.node->zone();
  Pages freed = purge_surplus(*kswapd.node);
  for (unsigned priority = Shrinkers::kFirstPriority; priority > 0 && zone.free_budget() < goal(kswapd); --priority) {
    bool none_of_heap = false;
    freed += shrink_files(kswapd, goal(kswapd) - zone.free_budget(), priority, none_of_heap);
    if (const Pages free = zone.free_budget(), wanted = goal(kswapd); free < wanted)
      freed += put_objects_away(kswapd, wanted - free);
    freed += shrink_caches(kswapd, priority);
  }
  freed += kswapd.node->trim_pool();
  return freed;
}

// Whether the program's caches may still come to give something. One that stands still is not waited for.
bool Reclaimer::waits_for_shrinkers(Kswapd& kswapd) {
  if (shrinkers_ == nullptr || !shrinkers_->has_any() || !shrinkers_->has_thread()) return false;
  if (!shrinkers_->is_busy()) return kswapd.slab_priority > 1;
  const uint64_t now = os::now_ms();
  if (kswapd.beat != shrinkers_->beat()) {
    kswapd.beat = shrinkers_->beat();
    kswapd.beat_ms = now;
  }
  return now - kswapd.beat_ms < kShrinkerPatienceMs;
}

// By a thread that waits in vain, with no lock held. It begins where kswapd is, which may have gone through all
// priorities since the thread last had a processor.
void Reclaimer::try_everything(Kswapd& kswapd, Waiter& waiter) {
  if (!waiter.drained && in_vain_ != nullptr) in_vain_();
  waiter.drained = waiter.asked_all = true;
  if (shrinkers_ == nullptr) return;
  const uint32_t rounds = kswapd.fruitless.load();
  const bool all = !can_wait() || rounds >= Shrinkers::kFirstPriority;
  bool skipped = false;
  shrinkers_->shrink(Shrinkers::Caller::kWaiter, all ? 0 : Shrinkers::kFirstPriority - rounds, 0, &skipped);
  // This thread may get something from a cache where the other one, which is running it, does not.
  waiter.asked_all = all && !skipped;
}

// -- stalls ----------------------------------------------------------------------------------------------------------

void Reclaimer::begin_stall() {
  const uint64_t now = os::now_ns();
  LockGuard guard(psi_mutex_);
  psi_.begin_stall(now, nr_threads());
}

void Reclaimer::end_stall() {
  const uint64_t now = os::now_ns();
  LockGuard guard(psi_mutex_);
  psi_.end_stall(now, nr_threads());
}

void Reclaimer::begin_wait() {
  os::undisturbed([this] { begin_stall(); });
}

void Reclaimer::end_wait() {
  os::undisturbed([this] { end_stall(); });
}

Psi Reclaimer::pressure() {
  Psi result;
  os::undisturbed([this, &result] {
    Psi now;
    {
      const uint64_t at = os::now_ns();
      LockGuard guard(psi_mutex_);
      psi_.update(at, nr_threads());
      now = psi_;
    }
    result = now;
  });
  return result;
}

void Reclaimer::forget_pressure() {
  new (&psi_mutex_) Mutex(LockRank::kLru);
  psi_.start(os::now_ns());
}

// -- events ----------------------------------------------------------------------------------------------------------

// On the first kswapd, at least every 50 ms: a tenth of the shortest window.
void Reclaimer::tell_pressure() {
  const Psi now = pressure();
  if (events_ == nullptr || !events_->poll(os::now_ns(), now) || shrinkers_ == nullptr) return;
  if (!shrinkers_->has_thread()) return shrinkers_->want_thread();
  shrinkers_->bell().ring();
}

// Threads had to wait while kswapd worked, or what it did was not enough.
void Reclaimer::note_behind(const Kswapd& kswapd, uint64_t stalls_before) {
  if (events_ == nullptr) return;
  const Zone& zone = kswapd.node->zone();
  const bool short_of = kswapd.waiting.load() != 0 && zone.free_budget() < goal(kswapd);
  if (short_of || zone.free_budget() < zone.watermarks().min || counters_.allocstall.load() != stalls_before)
    events_->note(WEIR_EVENT_KSWAPD);
}

void Reclaimer::note_oom(const weir_victim* victim) {
  if (victim != nullptr) victims_.add(*victim);
  weir::count(counters_.oom_kill);
  if (events_ != nullptr) events_->note(WEIR_EVENT_OOM);
}

// As what the kernel leaves to victims (mm/page_alloc.c, ALLOC_OOM): half of what lies below min. For a second, and by
// the smallest slab at a time: an exception and a message, not the program's next attempt at the same.
void Reclaimer::open_reserve() {
  reserve_until_ms_.store(os::now_ms() + kReserveMs, std::memory_order_relaxed);
}

bool Reclaimer::may_use_reserve(Pages count, Pages free, const Watermarks& marks) const {
  if (free < count + Pages(marks.min.v / 2) || count > Pages(kReservePages)) return false;
  const uint64_t until = reserve_until_ms_.load(std::memory_order_relaxed);
  return until != 0 && os::now_ms() < until;
}

int Reclaimer::adopt_descriptor(int fd) {
  if (!has_kswapd()) return -1;
  Request request;
  request.descriptor = fd;
  static_cast<void>(ask(request, first_kswapd()->node->zone().node()));
  return request.descriptor;
}

}  // namespace weir
