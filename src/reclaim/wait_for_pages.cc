// What threads of the program want of kswapd, and how they wait for it: pages, and what only weir's own threads can do.
//
// Thread safety: any thread, with no lock held where it may wait; run_requests only by kswapd.
// Invariants: a waiter is on its thread's stack, and in the list from add_waiter to remove_waiter; in the child of a
// fork the list is empty, also when a signal's handler forked while its thread waited.
#include <algorithm>

#include "base/port.h"
#include "os/proc.h"
#include "reclaim/reclaimer.h"
#include "weir/events.h"

namespace weir {
namespace {

// A thread that waits for pages looks again after this time whatever happens.
constexpr uint64_t kWaitMs = 20;

}  // namespace

// -- pages -----------------------------------------------------------------------------------------------------------

bool Reclaimer::may_take(Zone& zone, Pages count, Mark mark) {
  if (mark == Mark::kNone) return true;
  const Pages free = zone.free_budget();
  const Watermarks marks = zone.watermarks();
  if (free >= count + marks.low) return true;
  if (mark == Mark::kLow) return false;
  wake_kswapd(zone.node());
  if (free >= count + marks.min) return true;
  // Who frees memory may use the reserve (kernel: PF_MEMALLOC).
  if (free >= count && shrinkers_ != nullptr && shrinkers_->is_inside()) return true;
  return may_use_reserve(count, free, marks);
}

void Reclaimer::keep_within_budget(Zone& zone) {
  const Pages total = zone.total(), managed = zone.managed();
  if (total > managed) static_cast<void>(zone.purge(total - managed, Order(kMaxOrder), Zone::Metadata::kStays));
}

void Reclaimer::note_stall(uint64_t us) {
  weir::count(counters_.stall_us, us);
  uint64_t longest = counters_.stall_longest_us.load(std::memory_order_relaxed);
  while (us > longest && !counters_.stall_longest_us.compare_exchange_weak(longest, us, std::memory_order_relaxed)) {
  }
}

// Whether kswapd may come to free something for who waits.
bool Reclaimer::can_wait() const {
  const ObjectStory* const objects = objects_.load(std::memory_order_acquire);
  const bool gives_back = has_files() || (shrinkers_ != nullptr && shrinkers_->has_any()) ||
                          (objects != nullptr && objects->has_any(objects->self));
  return can_swap() || (has_kswapd() && gives_back);
}

void Reclaimer::count_waiters(Kswapd& kswapd) {
  uint32_t count = 0;
  uint64_t pages = 0, most = 0;
  for (const Waiter* each = kswapd.waiters; each != nullptr; each = each->next) {
    ++count;
    pages += each->count.v;
    most = std::max(most, each->count.v);
  }
  kswapd.waiting_most.store(most);
  kswapd.waiting_pages.store(pages);
  kswapd.waiting.store(count);
}

void Reclaimer::add_waiter(Kswapd& kswapd, Waiter& waiter) {
  LockGuard guard(request_mutex_);
  waiter.next = kswapd.waiters;
  kswapd.waiters = &waiter;
  count_waiters(kswapd);
}

void Reclaimer::remove_waiter(Kswapd& kswapd, Waiter& waiter) {
  LockGuard guard(request_mutex_);
  Waiter** link = &kswapd.waiters;
  while (*link != nullptr && *link != &waiter) link = &(*link)->next;
  if (*link != nullptr) *link = waiter.next;
  count_waiters(kswapd);
}

// Only weir's own threads can unmap pages, so that direct reclaim is waiting for one that works for the waiters.
bool Reclaimer::wait_for_pages(NodeReclaim& node, Pages count) {
  Zone& zone = node.zone();
  if (count + zone.watermarks().min > most_managed(zone)) return false;
  // What frees memory must not wait for itself.
  if (shrinkers_ != nullptr && shrinkers_->is_inside()) return false;
  if (events_ != nullptr) events_->note(WEIR_EVENT_LIMIT);
  Kswapd& kswapd = *kswapds_[zone.node().v];
  Waiter waiter{count};
  if (!can_wait()) {
    try_everything(kswapd, waiter);
    purge_surplus(node);
    return zone.free_budget() >= count + zone.watermarks().min;
  }
  weir::count(counters_.allocstall);
  const uint64_t start = os::now_ns();
  begin_wait();
  uint32_t forks = forks_before_.load();
  add_waiter(kswapd, waiter);
  bool enough = false;
  for (;;) {
    // This is the child of a fork by a signal's handler, and most likely unknown to its kswapd.
    if (const uint32_t now = forks_before_.load(); now != forks) {
      forks = now;
      remove_waiter(kswapd, waiter);
      add_waiter(kswapd, waiter);
    }
    const uint32_t word = kswapd.progress.load(std::memory_order_acquire);
    enough = zone.free_budget() >= count + zone.watermarks().min;
    // kswapd may have given up before this thread had a processor, and so without what only the thread can give back.
    const uint32_t fruitless = kswapd.fruitless.load();
    const bool hopeless = fruitless >= kMostFruitless;
    if (enough || (hopeless && waiter.asked_all)) break;
    if (fruitless != 0) try_everything(kswapd, waiter);
    // What this gave back may have been in Standby, where only kswapd gets at it: one more round.
    if (hopeless) kswapd.fruitless.store(kMostFruitless - 1);
    wake(kswapd);
    os::futex_wait_ms(kswapd.progress, word, kWaitMs);
  }
  remove_waiter(kswapd, waiter);
  end_wait();
  note_stall((os::now_ns() - start) / 1000);
  return enough;
}

// -- requests --------------------------------------------------------------------------------------------------------

// What cannot be while the process forks waits until that is over.
void Reclaimer::answer_swap_request(Request& request) {
  if (!enter_eviction()) {
    LockGuard guard(request_mutex_);
    request.next = requests_;
    requests_ = &request;
    return;
  }
  request.problem = replace_swap_file();
  leave_eviction();
  request.done.store(1, std::memory_order_release);
  port::futex_wake(request.done, 1);
}

void Reclaimer::run_requests() {
  Request* list;
  {
    LockGuard guard(request_mutex_);
    list = requests_;
    requests_ = nullptr;
  }
  while (list != nullptr) {
    Request& request = *list;
    list = list->next;
    if (request.swap_file) {
      answer_swap_request(request);
      continue;
    }
    if (request.count.v == 0) {
      if (request.with_pool != nullptr || !request.pool.empty())
        run_with_pool(request);
      else if (request.descriptor >= 0)
        request.descriptor = os::copy_descriptor_of_program(request.descriptor);
      else
        adopt_child();
      request.done.store(1, std::memory_order_release);
      port::futex_wake(request.done, 1);
      continue;
    }
    bool ok = true;
    const uint32_t last = static_cast<uint32_t>((request.first + request.count.v - 1) / kPageblockPages);
    for (uint32_t block = request.first / kPageblockPages; ok && block <= last; ++block) ok = request.node->arm(block);
    request.done.store(ok ? 1 : 2, std::memory_order_release);
    port::futex_wake(request.done, 1);
  }
}

bool Reclaimer::watch(Zone& zone, Pfn first, Pages count) {
  NodeReclaim* node = nodes_[zone.node().v];
  if (!can_swap() || node == nullptr) return false;
  if (mode() == Mode::kPageout) {
    // Most likely it is touched now.
    wake_kswapd(zone.node());
    return true;
  }
  const uint32_t last = static_cast<uint32_t>((first + count.v - 1) / kPageblockPages);
  bool armed = true;
  for (uint32_t block = first / kPageblockPages; armed && block <= last; ++block) armed = node->is_armed(block);
  if (armed) return true;
  Request request;
  request.node = node;
  request.first = first;
  request.count = count;
  return ask(request, zone.node());
}

bool Reclaimer::ask(Request& request, NodeId node) {
  {
    LockGuard guard(request_mutex_);
    request.next = requests_;
    requests_ = &request;
  }
  wake_kswapd(node);
  while (request.done.load(std::memory_order_acquire) == 0) port::futex_wait(request.done, 0);
  return request.done.load() == 1;
}

}  // namespace weir
