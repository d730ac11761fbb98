#include "os/timer.h"

#include <sys/timerfd.h>
#include <time.h>

#include "os/syscall.h"

namespace weir::os {

int open_timer() {
  return static_cast<int>(syscall6(SYS_timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

void set_timer(int fd, uint64_t us) {
  const struct timespec period = {static_cast<time_t>(us / 1000000), static_cast<long>(us % 1000000) * 1000};
  const struct itimerspec times = {period, period};
  syscall6(SYS_timerfd_settime, fd, 0, as_arg(&times), 0);
}

void drain_timer(int fd) {
  uint64_t expirations = 0;
  syscall6(SYS_read, fd, as_arg(&expirations), sizeof(expirations));
}

}  // namespace weir::os
