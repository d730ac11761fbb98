// What a fork means to reclaim: evictions stop before it, the child gets descriptors and threads of its own, and where
// it cannot have them everything is brought back first (src/README.md, "Fork").
//
// Thread safety: one fork at a time (forking_); by the thread that forks, but for what kswapd does on request.
// Invariants: between before_fork and after_fork_in_parent nothing is evicted; in the child, no page of the arena is
// touched before its new handlers are at work.
#include <algorithm>
#include <iterator>

#include "base/port.h"
#include "os/env.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/uffd.h"
#include "reclaim/reclaimer.h"

namespace weir {
namespace {

// What weir opens in the child of a fork: userfaultfds, swap files, rings; with room to spare.
constexpr uint64_t kDescriptorsOfChild = 128;

bool may_open_userfaultfd() {
  os::UffdFeatures features;
  const int fd = os::uffd_open(-1, features);
  if (fd >= 0) os::close_descriptor(fd);
  return fd >= 0;
}

}  // namespace

bool Reclaimer::enter_eviction() {
  evicting_.fetch_add(1);
  // In this order: who looks at them does so in the other one (program_calls.cc).
  evictions_.fetch_add(1);
  if (!forking_.load()) return true;
  evicting_.fetch_sub(1);
  return false;
}

void Reclaimer::leave_eviction() {
  evicting_.fetch_sub(1);
}

void Reclaimer::before_fork() {
  if (mode() != Mode::kSwap) return;
  // Several threads may fork at a time; one goes first.
  while (forking_.exchange(true)) os::yield();
  while (evicting_.load() != 0) os::yield();
  // A program may leave itself no room for one more descriptor.
  bool handed = !os::DescriptorRoom::is_short_of(kDescriptorsOfChild) && hand_over();
  if (!handed && room_.open()) {
    close_inherited();
    handed = hand_over();
  }
  all_present_ = !handed;
  if (!handed) bring_all_back();
}

// Copies what the child needs into the program's table; false when that cannot hold it.
bool Reclaimer::hand_over() {
  bool ok = true;
  const auto copied = [this](int held, int& inherited) {
    if (held >= 0) inherited = os::copy_descriptor(owner_, held);
    return held < 0 || inherited >= 0;
  };
  const auto copy = [&](int held, int& inherited) { ok = copied(held, inherited) && ok; };
  for (unsigned i = 0; i < SwapFiles::kMost; ++i) {
    if (files_.is_open(i)) copy(files_[i].fd(), inherited_.files[i]);
    copy(held_.lifelines[i], inherited_.lifelines[i]);
  }
  copy(held_.directory, inherited_.directory);
  copy(held_.pool, inherited_.pool);
  // The child can do without these, if the program may still make what it needs, and pages can be moved.
  ok = (copied(held_.device, inherited_.device) || may_open_userfaultfd()) && ok;
  ok = (copied(held_.proc, inherited_.proc) || shards_.move) && ok;
  // A file that holds nothing is nothing to the child.
  unsigned last = SwapFiles::kNone;
  for (unsigned i = 0; i < SwapFiles::kMost; ++i) {
    freezes_[i] = files_.is_own(i) && files_[i].used() != 0;
    if (freezes_[i]) last = i;
  }
  if (last == SwapFiles::kNone || !ok) return ok;
  int ends[2];
  if (!os::make_pipe(ends)) return false;
  lifeline_end_ = ends[0];
  // One for all of them: the child keeps it as long as any.
  inherited_.lifelines[last] = ends[1];
  return true;
}

// The child will not be able to get at what is away, so nothing may be: the limit is exceeded rather than a byte lost.
void Reclaimer::bring_all_back() {
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) nodes_[i]->touch_all();
}

void Reclaimer::lock_for_fork() {
  if (file_pages_ != nullptr) file_pages_->lock_for_fork();
  if (!evicts()) return;
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) nodes_[i]->lock_for_fork();
  for (unsigned i = 0; i < SwapFiles::kMost; ++i) files_[i].lock_for_fork();
}

// What the child may read is not written again.
void Reclaimer::freeze_for_fork() {
  if (mode() != Mode::kSwap) return;
  for (unsigned i = 0; i < SwapFiles::kMost; ++i) fork_numbers_[i] = freezes_[i] ? files_[i].freeze_locked() : 0;
}

void Reclaimer::unlock_for_fork() {
  if (file_pages_ != nullptr) file_pages_->unlock_for_fork();
  if (!forking_.load() && !evicts()) return;
  for (unsigned i = 0; i < SwapFiles::kMost; ++i) files_[i].unlock_for_fork();
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) nodes_[i]->unlock_for_fork();
}

void Reclaimer::close_inherited() {
  const auto close = [](int& fd) {
    if (fd >= 0) os::close_descriptor(fd);
    fd = -1;
  };
  for (int& fd : inherited_.files) close(fd);
  for (int& fd : inherited_.lifelines) close(fd);
  close(inherited_.device);
  close(inherited_.directory);
  close(inherited_.pool);
  close(inherited_.proc);
  close(lifeline_end_);
}

void Reclaimer::after_fork_in_parent() {
  if (mode() != Mode::kSwap) return;
  if (lifeline_end_ >= 0) {
    Request request;
    static_cast<void>(ask(request, first_kswapd()->node->zone().node()));
  }
  close_inherited();
  room_.close();
  forking_.store(false);
}

// On kswapd: keeps the reading end of the pipe to the child that was just made.
void Reclaimer::adopt_child() {
  for (Child& child : children_) {
    if (child.lifeline >= 0) continue;
    child.lifeline = os::copy_descriptor_of_program(lifeline_end_);
    std::copy(std::begin(fork_numbers_), std::end(fork_numbers_), child.forks);
    return;
  }
}

// The pipes have no writers left once the child, and whoever inherited its files, is gone.
void Reclaimer::thaw_children() {
  for (Child& child : children_) {
    if (child.lifeline < 0 || !os::is_hung_up(child.lifeline)) continue;
    os::close_descriptor(child.lifeline);
    child.lifeline = -1;
    for (unsigned i = 0; i < SwapFiles::kMost; ++i)
      if (child.forks[i] != 0) files_[i].thaw(child.forks[i]);
  }
}

// The child has its parent's pages, lists and compressed memory, but neither its threads nor its userfaultfds. Until
// new ones are at work, a touch of a page that is away would read zeros: nothing here touches the arena.
bool Reclaimer::after_fork_in_child() {
  new (&budget_mutex_) Mutex(LockRank::kLru);
  victims_.after_fork_in_child();
  if (file_pages_ != nullptr) file_pages_->after_fork_in_child();
  forget_pressure();
  const bool had_kswapd = has_kswapd();
  owner_ = 0;
  if (mode() != Mode::kSwap) {
    // No page is away but objects', or those that the system brings back; and kswapd would only be there for these, and
    // to ask caches.
    const bool has_state = keeps_state();
    for (unsigned i = 0; has_state && i < nr_nodes_; ++i)
      if (nodes_[i] != nullptr) {
        nodes_[i]->pool_after_fork_in_child();
        nodes_[i]->release_in_child();
      }
    evicting_.store(0);
    forking_.store(false);
    // What is away so comes back so.
    stays_blind_ = has_state;
    const bool has_caches = shrinkers_ != nullptr && shrinkers_->has_any();
    if (had_kswapd && !is_lifted() && (has_caches || has_state)) restart_threads();
    close_page_descriptor();
    publish();
    return true;
  }
  evicting_.store(0);
  cpus_.clear();
  add_thread();
  files_.become_readers();
  for (Child& child : children_) child.lifeline = -1;
  for (unsigned i = 0; i < nr_nodes_; ++i)
    if (nodes_[i] != nullptr) nodes_[i]->pool_after_fork_in_child();
  mode_.store(Mode::kPurge);
  restart_threads();
  close_inherited();
  room_.close();
  close_page_descriptor();
  forking_.store(false);
  if (mode() == Mode::kSwap) return true;
  if (all_present_) lift_limit();
  return all_present_;
}

// In the child of a fork, which joins the pool by itself.
void Reclaimer::restart_threads() {
  pool_.forget();
  pool_member_.forget();
  kill_at_ms_.store(0);
  forks_before_.fetch_add(1);
  for (Kswapd* each : kswapds_) {
    if (each == nullptr) continue;
    each->waiters = nullptr;
    count_waiters(*each);
    each->fruitless.store(0);
    each->asleep.store(false);
    each->local.store(false);
    each->local_pages.store(0);
    each->slab_priority = Shrinkers::kFirstPriority;
    each->slab_asked = false;
  }
  new (&request_mutex_) Mutex(LockRank::kLru);
  requests_ = nullptr;
  owner_requests_ = nullptr;
  if (FlusherThread* const flusher = flusher_.load(); flusher != nullptr) {
    flusher->stack.thread.store(0);
    flusher->flusher.forget();
  }
  ready_.store(0);
  const bool started =
      os::start_service_thread(first_kswapd()->stack, os::FileTable::kOwn, first_kswapd_main, first_kswapd()) >= 0;
  while (started && ready_.load(std::memory_order_acquire) == 0) port::futex_wait(ready_, 0);
}

// Nothing can be swapped here; what this process holds already may be more than the limit, and would be refused more.
void Reclaimer::lift_limit() {
  lifted_.store(true, std::memory_order_relaxed);
  {
    LockGuard guard(budget_mutex_);
    if (pool_.is_member()) pool_.leave();
  }
  for (unsigned i = 0; i < nr_nodes_; ++i) {
    if (nodes_[i] == nullptr) continue;
    static_cast<void>(nodes_[i]->after_fork_in_child(NodeReclaim::Fork::kNothingAway));
    nodes_[i]->zone().set_managed(nodes_[i]->zone().arena().capacity());
  }
}

}  // namespace weir
