// Purpose: a thread that wakes the program's threads where they are, for a handler that finds the one it serves
//          elsewhere with every fault. Whom a handler wakes is put on an idle processor, because the handler itself
//          occupies the one that the thread comes from (kernel/sched/fair.c, select_idle_sibling); the handler follows,
//          and the next fault is the other way round: 100 us a fault where a processor has to be woken each time. A
//          processor on which nothing runs but SCHED_IDLE counts as idle (sched_idle_cpu), and who is woken there runs
//          at once. So the handler goes to sleep, and this thread of that class does the waking: 6 us. Handlers
//          themselves cannot be of it: they hold what others wait for, and nobody may go back from it (RLIMIT_NICE).
// Thread safety: of one handler, which calls everything here.
// Invariants: the thread holds nothing that anybody waits for. What it does not come to do, because something else runs
//          on its processor, the handler does.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "os/service_thread.h"

namespace weir {

class Waker {
 public:
  // Starts the thread if there is none, on this processor (negative: on any); false: it cannot be had.
  [[nodiscard]] bool start(int uffd, int cpu);
  // In the child of a fork there is none.
  void forget();
  // To another processor.
  void move_to(int cpu);
  // Who waits for these pages is woken when the handler sleeps.
  void add(char* address, size_t bytes);
  // Has the thread begin, which it does as soon as the handler sleeps, and the timer watch it.
  void post();
  // Readable when time has passed: then watch() tells whether the thread has been kept from its work all the while.
  int timer() const { return timer_; }
  [[nodiscard]] bool watch();
  // Whether somebody is still to be woken.
  bool is_behind() const { return next() != posted_.load(std::memory_order_relaxed); }
  // Wakes everybody at once, from here.
  void wake_all();
  // And has no need of the thread for a while.
  void stop();

 private:
  // The faults that a handler reads together, and what else they bring back.
  static constexpr uint32_t kRoom = 64;
  struct Range {
    char* address;
    size_t bytes;
  };

  // How long it is kept from it before the handler does it: long enough that looking takes a hundredth of the time.
  static constexpr uint64_t kPatienceUs = 1000;

  static uint32_t later(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) > 0 ? a : b; }
  // The first range that nobody has seen to yet.
  uint32_t next() const { return later(begun_.load(std::memory_order_acquire), woken_); }
  void wake_from(uint32_t first);
  void wake_unfinished();
  static void main(void* waker);
  [[noreturn]] void run();

  os::ServiceStack stack_;
  int uffd_ = -1;
  bool started_ = false;
  bool has_new_ = false;
  int timer_ = -1;
  std::atomic<int> cpu_{-1};
  bool watched_ = false;  // the timer runs
  uint32_t seen_ = 0;     // what was posted when it expired last
  uint32_t woken_ = 0;    // ranges up to which the handler has woken everybody
  std::atomic<uint32_t> asleep_{0};
  std::atomic<uint32_t> posted_{0};  // ranges so far; the thread sleeps on it
  std::atomic<uint32_t> begun_{0};   // of these, those that it has come to
  std::atomic<uint32_t> done_{0};    // and those that it is done with
  Range ranges_[kRoom];
};

}  // namespace weir
