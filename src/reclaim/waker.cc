#include "reclaim/waker.h"

#include "base/port.h"
#include "os/timer.h"
#include "os/uffd.h"

namespace weir {

bool Waker::start(int uffd, int cpu) {
  if (started_) {
    move_to(cpu);
    return true;
  }
  if (timer_ < 0) timer_ = os::open_timer();
  if (timer_ < 0) return false;
  uffd_ = uffd;
  cpu_.store(cpu);
  started_ = os::start_service_thread(stack_, os::FileTable::kShared, main, this) >= 0;
  return started_;
}

void Waker::forget() {
  started_ = has_new_ = watched_ = false;
  timer_ = -1;
  posted_.store(0);
  begun_.store(0);
  done_.store(0);
  seen_ = woken_ = 0;
}

void Waker::move_to(int cpu) {
  cpu_.store(cpu);
  if (cpu >= 0)
    static_cast<void>(os::run_on_cpu(stack_.thread.load(std::memory_order_relaxed), static_cast<unsigned>(cpu)));
}

void Waker::add(char* address, size_t bytes) {
  const uint32_t posted = posted_.load(std::memory_order_relaxed);
  if (posted - done_.load(std::memory_order_acquire) == kRoom) return os::uffd_wake(uffd_, address, bytes);
  ranges_[posted % kRoom] = {address, bytes};
  posted_.store(posted + 1);
  has_new_ = true;
}

void Waker::post() {
  if (!has_new_) return;
  has_new_ = false;
  if (asleep_.load() != 0) port::futex_wake(posted_, 1);
  if (watched_) return;
  watched_ = true;
  os::set_timer(timer_, kPatienceUs);
}

bool Waker::watch() {
  os::drain_timer(timer_);
  const uint32_t posted = posted_.load(std::memory_order_relaxed);
  const bool quiet = posted == seen_;
  seen_ = posted;
  if (!quiet) return false;
  const bool behind = is_behind();
  wake_unfinished();
  if (behind) return true;
  watched_ = false;
  os::set_timer(timer_, 0);
  return false;
}

void Waker::wake_all() {
  wake_from(next());
}

void Waker::wake_from(uint32_t first) {
  const uint32_t posted = posted_.load(std::memory_order_relaxed);
  for (uint32_t i = first; i != posted; ++i) os::uffd_wake(uffd_, ranges_[i % kRoom].address, ranges_[i % kRoom].bytes);
  woken_ = posted;
}

// The thread may have been interrupted between the last lines of run(). Whom it did wake is woken for nothing.
void Waker::wake_unfinished() {
  wake_from(later(done_.load(std::memory_order_acquire), woken_));
}

void Waker::stop() {
  wake_unfinished();
  if (watched_) os::set_timer(timer_, 0);
  watched_ = false;
}

void Waker::main(void* waker) {
  static_cast<Waker*>(waker)->run();
}

void Waker::run() {
  os::run_when_idle();
  if (const int cpu = cpu_.load(); cpu >= 0) static_cast<void>(os::run_on_cpu(0, static_cast<unsigned>(cpu)));
  for (;;) {
    const uint32_t begun = begun_.load(std::memory_order_relaxed);
    if (begun == posted_.load()) {
      asleep_.store(1);
      if (begun == posted_.load()) port::futex_wait(posted_, begun);
      asleep_.store(0);
      continue;
    }
    const Range range = ranges_[begun % kRoom];
    // Since Linux 6.12 the handler, asleep, may still count as running, until the scheduler would have chosen it
    // (DELAY_DEQUEUE), which it does when it is asked after this thread, of little weight, has run for a moment.
    os::yield();
    // Before, because whom it wakes interrupts it there.
    begun_.store(begun + 1, std::memory_order_release);
    os::uffd_wake(uffd_, range.address, range.bytes);
    done_.store(begun + 1, std::memory_order_release);
  }
}

}  // namespace weir
