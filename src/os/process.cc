#include "os/process.h"

#include <signal.h>

#include "os/proc.h"
#include "os/syscall.h"

namespace weir::os {
namespace {

// As the shell reports who was killed (128 + 9).
constexpr int kKilledStatus = 137;

}  // namespace

void terminate_self() {
  syscall6(SYS_kill, syscall6(SYS_getpid), SIGTERM);
}

void kill_self() {
  syscall6(SYS_kill, syscall6(SYS_getpid), SIGKILL);
  exit_now(kKilledStatus);
}

int open_process(int pid) {
  return static_cast<int>(syscall6(SYS_pidfd_open, pid, 0));
}

bool end_process(int pidfd, Ending how) {
  const int signal = how == Ending::kKill ? SIGKILL : SIGTERM;
  return syscall6(SYS_pidfd_send_signal, pidfd, signal, 0, 0) == 0;
}

}  // namespace weir::os
