#include "os/eventfd.h"

#include <sys/eventfd.h>

#include <cstdint>

#include "os/syscall.h"

namespace weir::os {

int open_eventfd() {
  return static_cast<int>(syscall6(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
}

void signal_eventfd(int fd) {
  const uint64_t one = 1;
  syscall6(SYS_write, fd, as_arg(&one), sizeof(one));
}

void drain_eventfd(int fd) {
  uint64_t count = 0;
  syscall6(SYS_read, fd, as_arg(&count), sizeof(count));
}

}  // namespace weir::os
