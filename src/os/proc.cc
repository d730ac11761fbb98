#include "os/proc.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <time.h>
#include <unistd.h>

#include <cstring>

#include "base/port.h"
#include "os/file.h"
#include "os/service_thread.h"
#include "os/syscall.h"

namespace weir::port {

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  os::syscall6(SYS_futex, os::as_arg(&word), FUTEX_WAIT_PRIVATE, expected);
}

void futex_wake(std::atomic<uint32_t>& word, int count) {
  os::syscall6(SYS_futex, os::as_arg(&word), FUTEX_WAKE_PRIVATE, count);
}

void write_all(int fd, const char* data, size_t size) {
  while (size != 0) {
    const long written = os::syscall6(SYS_write, fd, os::as_arg(data), static_cast<long>(size));
    if (written == -EINTR) continue;
    if (written <= 0) return;
    data += written;
    size -= static_cast<size_t>(written);
  }
}

void write_error(const char* data, size_t size) {
  // (Not before Linux 5.6.)
  const int copy = os::copy_descriptor_of_program(2);
  write_all(copy >= 0 ? copy : 2, data, size);
  if (copy >= 0) os::close_descriptor(copy);
}

void abort_process() {
  ::abort();
}

}  // namespace weir::port

namespace weir::os {
namespace {

size_t soft_limit(int resource) {
  struct rlimit limit = {};
  if (syscall6(SYS_prlimit64, 0, resource, 0, as_arg(&limit)) != 0 || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
  return limit.rlim_cur;
}

uint64_t as_ns(const struct timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1000000000u + static_cast<uint64_t>(time.tv_nsec);
}

uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return as_ns(now);
}

}  // namespace

uint64_t now_ms() {
  return clock_ns(CLOCK_MONOTONIC_COARSE) / 1000000u;
}

uint64_t now_ns() {
  return clock_ns(CLOCK_MONOTONIC);
}

uint64_t now_ns_once() {
  struct timespec now = {};
  syscall6(SYS_clock_gettime, CLOCK_MONOTONIC, as_arg(&now));
  return as_ns(now);
}

unsigned current_cpu() {
  // glibc 2.35 and later keep the kernel's rseq area in the thread control block; size 0 means not registered.
  if (__rseq_size != 0) {
    const char* area = static_cast<const char*>(__builtin_thread_pointer()) + __rseq_offset;
    int32_t cpu;
    memcpy(&cpu, area + offsetof(struct rseq, cpu_id), sizeof(cpu));
    if (cpu >= 0) return static_cast<unsigned>(cpu);
  }
  unsigned cpu = 0;
  syscall6(SYS_getcpu, as_arg(&cpu));
  return cpu;
}

size_t address_space_limit() {
  return soft_limit(RLIMIT_AS);
}

size_t data_limit() {
  return soft_limit(RLIMIT_DATA);
}

uint64_t process_random() {
  uint64_t value = 0;
  const void* bytes = reinterpret_cast<const void*>(getauxval(AT_RANDOM));
  // The first 8 bytes become the stack protector's canary, so the second half is taken.
  if (bytes != nullptr) memcpy(&value, static_cast<const char*>(bytes) + 8, sizeof(value));
  // The bytes must not be told by an address, so they go through a mixer (splitmix64, Steele 2014).
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

bool DescriptorRoom::open() {
  // What weir opens during a fork is far less.
  constexpr rlim_t kMore = 256;
  struct rlimit limit = {};
  if (open_ || syscall6(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, as_arg(&limit)) != 0) return open_;
  soft_ = limit.rlim_cur;
  hard_ = limit.rlim_max;
  limit.rlim_cur += kMore;
  if (limit.rlim_max < limit.rlim_cur) limit.rlim_max = limit.rlim_cur;
  open_ = syscall6(SYS_prlimit64, 0, RLIMIT_NOFILE, as_arg(&limit), 0) == 0;
  if (open_ || hard_ <= soft_) return open_;
  limit.rlim_cur = limit.rlim_max = hard_;
  return open_ = syscall6(SYS_prlimit64, 0, RLIMIT_NOFILE, as_arg(&limit), 0) == 0;
}

void DescriptorRoom::close() {
  if (!open_) return;
  const struct rlimit limit = {soft_, hard_};
  syscall6(SYS_prlimit64, 0, RLIMIT_NOFILE, as_arg(&limit), 0);
  open_ = false;
}

bool DescriptorRoom::is_short_of(uint64_t count) {
  struct rlimit limit = {};
  return syscall6(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, as_arg(&limit)) == 0 && limit.rlim_cur < count;
}

void sleep_ms(uint64_t ms) {
  // By futex, because every system-call filter that lets a program's locks work allows it.
  struct timespec duration = {static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1000000};
  uint32_t never_woken = 0;
  syscall6(SYS_futex, as_arg(&never_woken), FUTEX_WAIT_PRIVATE, 0, as_arg(&duration));
}

void exit_now(int status) {
  for (;;) syscall6(SYS_exit_group, status);
}

}  // namespace weir::os
