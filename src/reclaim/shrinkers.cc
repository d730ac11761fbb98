#include "reclaim/shrinkers.h"

#include <cstring>
#include <new>

#include "base/units.h"
#include "os/proc.h"
#include "os/service_thread.h"
#include "os/vm.h"

namespace weir {

static_assert(Shrinkers::kNameBytes > 1);

namespace {

// Who waits for the thread looks this often; one that has not got on for a second is given up.
constexpr uint64_t kTickMs = 20;
constexpr unsigned kPatienceTicks = 50;

}  // namespace

bool Shrinkers::may_run(Caller caller, Kind kind) {
  switch (caller) {
    case Caller::kKswapd:
      return kind == Kind::kOwn;
    case Caller::kWaiter:
      return kind != Kind::kProgram;
    case Caller::kThread:
    case Caller::kTrim:
      return kind != Kind::kOwn;
  }
  return false;
}

Shrinkers::Entry* Shrinkers::find(const void* key) {
  for (Chunk* chunk = first_; chunk != nullptr; chunk = chunk->next)
    for (Entry& entry : chunk->entries)
      if (entry.key == key && !entry.leaving.load(std::memory_order_relaxed)) return &entry;
  return nullptr;
}

Shrinkers::Entry* Shrinkers::find_free() {
  Chunk** last = &first_;
  for (; *last != nullptr; last = &(*last)->next)
    for (Entry& entry : (*last)->entries)
      if (entry.key == nullptr) return &entry;
  void* memory = os::vm_map(align_up(sizeof(Chunk), kPageSize));
  if (memory == nullptr) return nullptr;
  *last = new (memory) Chunk();
  return &(*last)->entries[0];
}

Shrinkers::Added Shrinkers::add(const void* key, const ShrinkOps& ops, std::string_view name, Kind kind,
                                uint64_t heap) {
  LockGuard guard(mutex_);
  if (find(key) != nullptr) return Added::kExists;
  Entry* entry = find_free();
  if (entry == nullptr) return Added::kNoMemory;
  entry->kind = kind;
  entry->heap = heap;
  entry->ops = ops;
  const size_t size = name.size() < kNameBytes ? name.size() : kNameBytes - 1;
  memcpy(entry->name, name.data(), size);
  entry->name[size] = '\0';
  entry->key = key;
  nr_all_.fetch_add(1, std::memory_order_relaxed);
  if (kind != Kind::kOwn) nr_program_.fetch_add(1, std::memory_order_relaxed);
  return Added::kAdded;
}

void Shrinkers::free_entry(Entry& entry) {
  nr_all_.fetch_sub(1, std::memory_order_relaxed);
  if (entry.kind != Kind::kOwn) nr_program_.fetch_sub(1, std::memory_order_relaxed);
  entry.key = nullptr;
  entry.deferred = 0;
  entry.stats = Stats();
  entry.removed_inside = false;
  entry.leaving.store(false, std::memory_order_relaxed);
}

bool Shrinkers::remove(const void* key) {
  mutex_.lock();
  Entry* entry = find(key);
  if (entry == nullptr) {
    mutex_.unlock();
    return false;
  }
  entry->leaving.store(true, std::memory_order_relaxed);
  const uint32_t self = os::thread_id();
  if (entry->runner.load() == self) {
    entry->removed_inside = true;
    mutex_.unlock();
    return true;
  }
  while (const uint32_t runner = entry->runner.load()) {
    mutex_.unlock();
    port::futex_wait(entry->runner, runner);
    mutex_.lock();
  }
  free_entry(*entry);
  mutex_.unlock();
  return true;
}

// The next entry that the caller may run; it is the caller's until give_back().
Shrinkers::Entry* Shrinkers::take_next(Place& place, Caller caller, uint32_t self, uint64_t heap) {
  LockGuard guard(mutex_);
  if (place.chunk == nullptr) place.chunk = first_;
  for (; place.chunk != nullptr; place.chunk = place.chunk->next, place.next = 0) {
    while (place.next < kEntriesPerChunk) {
      Entry& entry = place.chunk->entries[place.next++];
      if (entry.key == nullptr || entry.leaving.load()) continue;
      if (!may_run(caller, entry.kind) || (heap != 0 && entry.heap != heap)) continue;
      const uint64_t now = os::now_ms();
      if (entry.runner.load() != 0) {
        if (now - entry.began_ms < kPatienceTicks * kTickMs) place.skipped = true;
        continue;
      }
      entry.began_ms = now;
      entry.runner.store(self);
      return &entry;
    }
    if (place.chunk->next == nullptr) return nullptr;
  }
  return nullptr;
}

void Shrinkers::give_back(Entry& entry, const ShrinkResult& result, uint64_t deferred) {
  if (counters_ != nullptr) {
    count(counters_->slabs_scanned, result.scanned);
    count(counters_->slabs_freed, result.freed);
  }
  LockGuard guard(mutex_);
  entry.deferred = deferred;
  entry.stats.scanned += result.scanned;
  entry.stats.freed += result.freed;
  if (entry.removed_inside) free_entry(entry);
  entry.runner.store(0);
  // Who waits in remove() frees it. Under the lock, after which it may be somebody else's.
  port::futex_wake(entry.runner, INT32_MAX);
}

uint64_t Shrinkers::shrink(Caller caller, unsigned priority, uint64_t heap, bool* skipped) {
  if (nr_all_.load(std::memory_order_relaxed) == 0) return 0;
  const uint32_t self = os::thread_id();
  const bool was_inside = caller == Caller::kKswapd || is_inside();
  const unsigned place_inside = was_inside ? kMostInside : enter(self);
  // A waiter that finds no place goes without the program's.
  if (!was_inside && place_inside == kMostInside && caller == Caller::kWaiter) caller = Caller::kKswapd;
  // Others tell nothing about the thread.
  std::atomic<uint32_t> other_beat{0};
  std::atomic<uint32_t>& beat = caller == Caller::kThread ? beat_ : other_beat;
  uint64_t freed = 0;
  Place place;
  while (Entry* entry = take_next(place, caller, self, heap)) {
    uint64_t deferred = entry->deferred;
    const ShrinkResult result = do_shrink_slab(entry->ops, deferred, priority, beat, entry->leaving);
    freed += result.freed;
    give_back(*entry, result, deferred);
  }
  if (skipped != nullptr) *skipped = place.skipped;
  if (place_inside != kMostInside) {
    inside_[place_inside].store(0, std::memory_order_relaxed);
    nr_inside_.fetch_sub(1, std::memory_order_relaxed);
  }
  return freed;
}

// -- of a heap at its limit

bool Shrinkers::has_heap(uint64_t heap) {
  if (!has_any()) return false;
  LockGuard guard(mutex_);
  for (Chunk* chunk = first_; chunk != nullptr; chunk = chunk->next)
    for (const Entry& entry : chunk->entries)
      if (entry.key != nullptr && entry.heap == heap) return true;
  return false;
}

uint64_t Shrinkers::shrink_heap(uint64_t heap, unsigned priority) {
  if (is_inside()) return 0;
  const uint64_t freed = shrink(Caller::kWaiter, priority, heap);
  return freed + shrink_on_thread(heap, priority);
}

// Another heap may have its turn first. A callback that stands still, for the lock of this very thread maybe, is not
// waited for.
uint64_t Shrinkers::shrink_on_thread(uint64_t heap, unsigned priority) {
  if (!has_thread() && !expects_thread_.load(std::memory_order_relaxed)) {
    want_thread();
    return 0;
  }
  uint32_t beat = beat_.load(std::memory_order_relaxed);
  bool asked = false;
  for (unsigned still = 0; still < kPatienceTicks; ++still) {
    const uint32_t round = heap_round_.load();
    uint64_t nobody = 0;
    if (!asked && wanted_heap_.compare_exchange_strong(nobody, heap)) {
      wanted_heap_priority_.store(priority);
      asked = true;
      bell_.ring();
    } else if (asked && wanted_heap_.load() != heap) {
      return heap_freed_.load();
    }
    os::futex_wait_ms(heap_round_, round, kTickMs);
    if (beat_.load(std::memory_order_relaxed) != beat) still = 0;
    beat = beat_.load(std::memory_order_relaxed);
  }
  return 0;
}

uint64_t Shrinkers::begin_heap_round(unsigned& priority) {
  priority = wanted_heap_priority_.load();
  return wanted_heap_.load();
}

void Shrinkers::end_heap_round(uint64_t freed) {
  heap_freed_.store(freed);
  wanted_heap_.store(0);
  heap_round_.fetch_add(1);
  port::futex_wake(heap_round_, INT32_MAX);
}

// Takes a place among the threads that are inside; kMostInside: there is none.
unsigned Shrinkers::enter(uint32_t self) {
  for (unsigned i = 1; i < kMostInside; ++i) {
    uint32_t nobody = 0;
    if (!inside_[i].compare_exchange_strong(nobody, self, std::memory_order_relaxed)) continue;
    nr_inside_.fetch_add(1, std::memory_order_relaxed);
    return i;
  }
  return kMostInside;
}

bool Shrinkers::is_inside() const {
  if (nr_inside_.load(std::memory_order_relaxed) == 0) return false;
  const uint32_t self = os::thread_id();
  for (const auto& each : inside_)
    if (each.load(std::memory_order_relaxed) == self) return true;
  return false;
}

bool Shrinkers::begin_inside() {
  return !is_inside() && enter(os::thread_id()) != kMostInside;
}

void Shrinkers::end_inside() {
  const uint32_t self = os::thread_id();
  for (auto& each : inside_) {
    if (each.load(std::memory_order_relaxed) != self) continue;
    each.store(0, std::memory_order_relaxed);
    nr_inside_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
}

// -- the thread ------------------------------------------------------------------------------------------------------

void Shrinkers::ask(unsigned priority) {
  if (!has_any()) return;
  uint32_t before = wanted_.load(std::memory_order_relaxed);
  while (priority < before && !wanted_.compare_exchange_weak(before, priority)) {
  }
  if (!has_thread()) return want_thread();
  if (priority < before) bell_.ring();
}

void Shrinkers::thread_begins() {
  const uint32_t self = os::thread_id();
  inside_[0].store(self, std::memory_order_relaxed);
  nr_inside_.fetch_add(1, std::memory_order_relaxed);
  wants_thread_.store(false, std::memory_order_relaxed);
  thread_.store(self, std::memory_order_release);
  expects_thread_.store(false, std::memory_order_relaxed);
}

unsigned Shrinkers::begin_round() {
  // First, so that nobody sees nothing asked for and nobody at work.
  at_work_.store(true);
  const unsigned priority = wanted_.exchange(kNothing);
  if (priority == kNothing) end_round();
  return priority;
}

bool Shrinkers::is_busy() const {
  return has_thread() && (wanted_.load() != kNothing || at_work_.load());
}

// -- fork ------------------------------------------------------------------------------------------------------------

void Shrinkers::lock_for_fork() {
  mutex_.lock_for_fork();
  forking_thread_ = os::thread_id();
}

void Shrinkers::after_fork_in_child() {
  const uint32_t self = os::thread_id();
  const bool thread_forked = thread_.load() == forking_thread_;
  nr_inside_.store(0);
  for (auto& each : inside_) {
    each.store(each.load() == forking_thread_ ? self : 0);
    if (each.load() != 0) nr_inside_.fetch_add(1);
  }
  for (Chunk* chunk = first_; chunk != nullptr; chunk = chunk->next) {
    for (Entry& entry : chunk->entries) {
      if (entry.key == nullptr) continue;
      entry.runner.store(entry.runner.load() == forking_thread_ ? self : 0);
      // Who was removing it is not here either.
      if (!entry.leaving.load()) continue;
      if (entry.runner.load() == 0)
        free_entry(entry);
      else
        entry.removed_inside = true;
    }
  }
  thread_.store(thread_forked ? self : 0);
  if (!thread_forked) {
    wanted_.store(kNothing);
    wanted_heap_.store(0);
    expects_thread_.store(false);
    at_work_.store(false);
  }
  wants_thread_.store(false);
  new (&bell_) Bell();
}

bool Shrinkers::stats(const void* key, Stats& stats) {
  LockGuard guard(mutex_);
  const Entry* entry = find(key);
  if (entry == nullptr) return false;
  stats = entry->stats;
  stats.deferred = entry->deferred;
  return true;
}

}  // namespace weir
