#include "reclaim/events.h"

#include <bit>

#include "base/units.h"
#include "os/eventfd.h"
#include "os/file.h"
#include "os/service_thread.h"
#include "os/vm.h"
#include "weir/events.h"

namespace weir {
namespace {

constexpr uint32_t kStalls[Psi::kNrKinds] = {WEIR_EVENT_SOME, WEIR_EVENT_FULL};
constexpr uint32_t kAllStalls = WEIR_EVENT_SOME | WEIR_EVENT_FULL;

}  // namespace

Events::Listener* Events::make(const Filter& filter, State state) {
  if (listeners_ == nullptr)
    listeners_ = static_cast<Listener*>(os::vm_map(align_up(kMost * sizeof(Listener), kPageSize)));
  if (listeners_ == nullptr) return nullptr;
  for (unsigned i = 0; i < kMost; ++i) {
    Listener& listener = listeners_[i];
    if (listener.state != State::kFree) continue;
    listener.state = state;
    listener.filter = filter;
    listener.started = false;
    listener.ever = listener.due = listener.pending = 0;
    listener.own = listener.fd = -1;
    nr_listeners_.fetch_add(1, std::memory_order_relaxed);
    wanted_.fetch_or(filter.events, std::memory_order_relaxed);
    if (state == State::kCallback) nr_callbacks_.fetch_add(1, std::memory_order_relaxed);
    return &listener;
  }
  return nullptr;
}

Events::Added Events::add_descriptor(const Filter& filter, int fd) {
  LockGuard guard(mutex_);
  // The program closed it by itself, and the number was given out again.
  if (Listener* stale = find_descriptor(fd)) free_listener(*stale);
  Listener* listener = make(filter, State::kDescriptor);
  if (listener == nullptr) return Added::kNoRoom;
  listener->fd = fd;
  return Added::kAdded;
}

void Events::adopted(int fd, int own) {
  LockGuard guard(mutex_);
  if (Listener* listener = find_descriptor(fd)) listener->own = own;
}

Events::Added Events::add_callback(const Filter& filter, Callback callback, void* arg) {
  LockGuard guard(mutex_);
  if (find_callback(callback, arg) != nullptr) return Added::kExists;
  Listener* listener = make(filter, State::kCallback);
  if (listener == nullptr) return Added::kNoRoom;
  listener->callback = callback;
  listener->arg = arg;
  return Added::kAdded;
}

Events::Listener* Events::find_descriptor(int fd) {
  for (unsigned i = 0; listeners_ != nullptr && i < kMost; ++i)
    if (listeners_[i].state == State::kDescriptor && listeners_[i].fd == fd) return &listeners_[i];
  return nullptr;
}

Events::Listener* Events::find_callback(Callback callback, void* arg) {
  for (unsigned i = 0; listeners_ != nullptr && i < kMost; ++i) {
    Listener& each = listeners_[i];
    if (each.state == State::kCallback && !each.leaving && each.callback == callback && each.arg == arg) return &each;
  }
  return nullptr;
}

void Events::free_listener(Listener& listener) {
  nr_listeners_.fetch_sub(1, std::memory_order_relaxed);
  if (listener.state == State::kCallback) nr_callbacks_.fetch_sub(1, std::memory_order_relaxed);
  listener.leaving = listener.removed_inside = false;
  listener.state = listener.own >= 0 ? State::kLeft : State::kFree;
  if (listener.state == State::kLeft) nr_left_.fetch_add(1, std::memory_order_relaxed);
}

int Events::read(int fd) {
  LockGuard guard(mutex_);
  Listener* listener = find_descriptor(fd);
  if (listener == nullptr) return -1;
  os::drain_eventfd(fd);
  const uint32_t events = listener->pending;
  listener->pending = 0;
  return static_cast<int>(events);
}

bool Events::remove_descriptor(int fd) {
  LockGuard guard(mutex_);
  Listener* listener = find_descriptor(fd);
  if (listener == nullptr) return false;
  free_listener(*listener);
  return true;
}

bool Events::remove_callback(Callback callback, void* arg) {
  mutex_.lock();
  Listener* listener = find_callback(callback, arg);
  if (listener == nullptr) {
    mutex_.unlock();
    return false;
  }
  listener->leaving = true;
  if (listener->runner.load() == os::thread_id()) {
    listener->removed_inside = true;
    mutex_.unlock();
    return true;
  }
  while (const uint32_t runner = listener->runner.load()) {
    mutex_.unlock();
    port::futex_wait(listener->runner, runner);
    mutex_.lock();
  }
  free_listener(*listener);
  mutex_.unlock();
  return true;
}

// -- telling ---------------------------------------------------------------------------------------------------------

// Of what a listener has not been told yet, what its window allows now.
uint32_t Events::find_due(Listener& listener, uint32_t noted, uint64_t now, const Psi& psi) {
  const Filter& filter = listener.filter;
  uint32_t now_due = 0;
  for (unsigned kind = 0; kind < Psi::kNrKinds; ++kind) {
    const uint64_t total = psi.total_ns(static_cast<Psi::Kind>(kind));
    if (!listener.started) listener.triggers[kind].start(now, total, filter.stall_ns, filter.window_ns);
    if ((filter.events & kStalls[kind]) != 0 && listener.triggers[kind].update(now, total)) now_due |= kStalls[kind];
  }
  listener.started = true;
  listener.due |= noted & filter.events & ~kAllStalls;
  for (uint32_t left = listener.due; left != 0; left &= left - 1) {
    const unsigned kind = static_cast<unsigned>(std::countr_zero(left));
    const uint32_t bit = 1u << kind;
    if ((listener.ever & bit) != 0 && now < listener.told[kind] + filter.window_ns) continue;
    listener.told[kind] = now;
    listener.ever |= bit;
    listener.due &= ~bit;
    now_due |= bit;
  }
  return now_due;
}

bool Events::poll(uint64_t now, const Psi& psi) {
  if (nr_listeners_.load(std::memory_order_relaxed) == 0 && nr_left_.load(std::memory_order_relaxed) == 0) return false;
  const uint32_t noted = noted_.exchange(0, std::memory_order_relaxed);
  bool call = false;
  LockGuard guard(mutex_);
  for (unsigned i = 0; listeners_ != nullptr && i < kMost; ++i) {
    Listener& listener = listeners_[i];
    if (listener.state == State::kLeft) {
      os::close_descriptor(listener.own);
      listener.own = -1;
      listener.state = State::kFree;
      nr_left_.fetch_sub(1, std::memory_order_relaxed);
      continue;
    }
    if (listener.state == State::kFree) continue;
    const uint32_t told = find_due(listener, noted, now, psi);
    if (told != 0) {
      listener.pending |= told;
      if (listener.own >= 0) os::signal_eventfd(listener.own);
    }
    call = call || (listener.state == State::kCallback && listener.pending != 0);
  }
  return call;
}

Events::Listener* Events::take_pending(uint32_t& events) {
  LockGuard guard(mutex_);
  for (unsigned i = 0; listeners_ != nullptr && i < kMost; ++i) {
    Listener& listener = listeners_[i];
    if (listener.state != State::kCallback || listener.pending == 0 || listener.leaving) continue;
    if (listener.runner.load() != 0) continue;
    events = listener.pending;
    listener.pending = 0;
    listener.runner.store(os::thread_id());
    return &listener;
  }
  return nullptr;
}

void Events::give_back(Listener& listener) {
  LockGuard guard(mutex_);
  if (listener.removed_inside) free_listener(listener);
  listener.runner.store(0);
  port::futex_wake(listener.runner, INT32_MAX);
}

void Events::run_callbacks() {
  uint32_t events = 0;
  while (Listener* listener = take_pending(events)) {
    listener->callback(events, listener->arg);
    give_back(*listener);
  }
}

// -- fork ------------------------------------------------------------------------------------------------------------

void Events::lock_for_fork() {
  mutex_.lock_for_fork();
  forking_thread_ = os::thread_id();
}

void Events::after_fork_in_child() {
  const uint32_t self = os::thread_id();
  noted_.store(0);
  nr_left_.store(0);
  for (unsigned i = 0; listeners_ != nullptr && i < kMost; ++i) {
    Listener& listener = listeners_[i];
    // Their copies were in the table of the parent's threads.
    listener.own = -1;
    if (listener.state == State::kDescriptor) free_listener(listener);
    if (listener.state == State::kLeft) listener.state = State::kFree;
    if (listener.state != State::kCallback) continue;
    // What has passed is counted from 0 again.
    listener.started = false;
    listener.ever = listener.due = listener.pending = 0;
    listener.runner.store(listener.runner.load() == forking_thread_ ? self : 0);
    if (!listener.leaving) continue;
    if (listener.runner.load() == 0)
      free_listener(listener);
    else
      listener.removed_inside = true;
  }
}

}  // namespace weir
