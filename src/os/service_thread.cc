#include "os/service_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/rseq.h>
#include <time.h>

#include <cstring>
#include <string_view>

#include "base/print.h"
#include "base/units.h"
#include "os/file.h"
#include "os/syscall.h"
#include "os/thread.h"
#include "os/vm.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

namespace weir::os {
namespace {

// Deepest are the compressors: some kilobytes, their tables lie elsewhere.
constexpr size_t kStackBytes = size_t{128} << 10;
// Above the thread pointer lies what the C library keeps of a thread (2.3 KiB in glibc 2.36); nothing here uses it but
// the canary of code that was compiled with stack protection.
constexpr size_t kAboveThreadPointer = 2 * kPageSize;

struct Start {
  void (*run)(void*);
  void* argument;
  FileTable files;
};

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define WEIR_SANITIZED 1
#endif

void enter(const Start& start, ServiceStack& stack) {
  start.run(start.argument);
  stack.thread.store(0, std::memory_order_release);
}

#ifdef WEIR_SANITIZED

// Sanitizers must see their threads being made.
struct Boxed {
  Start start;
  ServiceStack* stack;
};
void* sanitized_main(void* boxed) {
  const Boxed copy = *static_cast<Boxed*>(boxed);
  delete static_cast<Boxed*>(boxed);
  if (copy.start.files == FileTable::kOwn) syscall6(SYS_unshare, CLONE_FILES);
  copy.stack->thread.store(thread_id(), std::memory_order_relaxed);
  enter(copy.start, *copy.stack);
  return nullptr;
}

long start_sanitized(ServiceStack& stack, const Start& start) {
  pthread_t thread;
  stack.thread.store(~0u, std::memory_order_relaxed);
  auto* boxed = new Boxed{start, &stack};
  if (pthread_create(&thread, nullptr, sanitized_main, boxed) != 0) return -EAGAIN;
  pthread_detach(thread);
  return 1;
}

#else

// What the new thread finds at the bottom of its memory.
struct Header {
  Start start;
  ServiceStack* stack;
};

int raw_main(void* memory) {
  const Header& header = *static_cast<Header*>(memory);
  enter(header.start, *header.stack);
  for (;;) syscall6(SYS_exit, 0);
}

// Initial-exec thread-local variables lie below the thread pointer (x86-64) or just above it (arm64), the program's
// own first. weir's lie at most this far away when it is preloaded.
thread_local char here __attribute__((tls_model("initial-exec")));

size_t below_thread_pointer() {
  const char* pointer = static_cast<const char*>(__builtin_thread_pointer());
  const char* own = const_cast<const char*>(&here);
  const size_t distance = static_cast<size_t>(own < pointer ? pointer - own : own - pointer);
  return align_up(distance, kPageSize) + kPageSize;
}

size_t memory_bytes() {
  return kPageSize + kStackBytes + below_thread_pointer() + kAboveThreadPointer + below_thread_pointer();
}

// Lays out header, stack and thread area; returns the thread pointer.
char* lay_out(ServiceStack& stack, const Start& start) {
  auto* header = reinterpret_cast<Header*>(stack.memory);
  *header = {start, &stack};
  char* pointer = stack.memory + kPageSize + kStackBytes + below_thread_pointer();
  memset(pointer - below_thread_pointer(), 0, 2 * below_thread_pointer() + kAboveThreadPointer);
  // The canary and whatever else is constant is the creator's.
  memcpy(pointer, __builtin_thread_pointer(), 0x40);
#if defined(__x86_64__)
  *reinterpret_cast<char**>(pointer) = pointer;         // what %fs:0 must hold
  *reinterpret_cast<char**>(pointer + 0x10) = pointer;  // and glibc's own copy
#endif
  const int32_t unregistered = RSEQ_CPU_ID_UNINITIALIZED;
  if (__rseq_size != 0)
    memcpy(pointer + __rseq_offset + offsetof(struct rseq, cpu_id), &unregistered, sizeof(unregistered));
  return pointer;
}

long start_raw(ServiceStack& stack, const Start& start) {
  char* pointer = lay_out(stack, start);
  int flags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID;
  if (start.files == FileTable::kShared) flags |= CLONE_FILES;
  const int saved_errno = errno;
  char* top = stack.memory + kPageSize + kStackBytes;
  // The kernel stores the thread's number before the thread runs.
  const int result = clone(raw_main, top, flags, stack.memory, &stack.thread, pointer, nullptr);
  const long error = result < 0 ? -errno : result;
  errno = saved_errno;
  return error;
}

#endif

}  // namespace

long start_service_thread(ServiceStack& stack, FileTable files, void (*run)(void*), void* argument) {
  const Start start = {run, argument, files};
#ifdef WEIR_SANITIZED
  return start_sanitized(stack, start);
#else
  if (stack.memory == nullptr) stack.memory = static_cast<char*>(vm_map(memory_bytes()));
  if (stack.memory == nullptr) return -ENOMEM;
  const uint64_t before = exchange_signal_mask(kAllSignals);
  const long result = start_raw(stack, start);
  exchange_signal_mask(before);
  return result;
#endif
}

void close_all_descriptors_but(const int* kept, unsigned nr_kept) {
  unsigned from = 0;
  for (unsigned i = 0; i <= nr_kept; ++i) {
    const unsigned end = i < nr_kept ? static_cast<unsigned>(kept[i]) : ~0u;
    if (end > from && syscall6(SYS_close_range, from, i < nr_kept ? end - 1 : ~0u, 0) != 0) {
      // Before Linux 5.9: one by one, as far as the usual limit goes.
      for (unsigned fd = from; fd < end && fd < 65536; ++fd) syscall6(SYS_close, fd);
    }
    from = end + 1;
  }
}

namespace {

// Makes "/proc/self/task/THREAD/WHAT/FD".
const char* descriptor_path(Line& line, uint32_t thread, std::string_view what, int fd) {
  line.text("/proc/self/task/").dec(thread).text("/").text(what).text("/").dec(static_cast<uint64_t>(fd));
  return line.text({"", 1}).view().data();
}

// How a descriptor was opened ("flags:" and an octal number in its fdinfo); negative: -errno.
long flags_of_descriptor(uint32_t thread, int fd) {
  // Its first lines; what follows for some kinds of files is not of interest.
  char text[512];
  Line path;
  const ssize_t size = read_small_file(descriptor_path(path, thread, "fdinfo", fd), text, sizeof(text) - 1);
  if (size < 0) return size;
  text[size] = '\0';
  constexpr std::string_view kKey = "flags:";
  const char* at = strstr(text, kKey.data());
  if (at == nullptr) return -EINVAL;
  long flags = 0;
  for (at += kKey.size(); *at == ' ' || *at == '\t'; ++at) {
  }
  for (; *at >= '0' && *at <= '7'; ++at) flags = flags * 8 + (*at - '0');
  return flags;
}

}  // namespace

int reopen_descriptor(uint32_t thread, int fd) {
  const long flags = flags_of_descriptor(thread, fd);
  if (flags == -ENOENT) return -EBADF;
  if (flags < 0) return static_cast<int>(flags);
  constexpr long kKept = O_ACCMODE | O_DIRECT | O_NONBLOCK;
  Line path;
  const char* const name = descriptor_path(path, thread, "fd", fd);
  return static_cast<int>(syscall6(SYS_openat, AT_FDCWD, as_arg(name), (flags & kKept) | O_CLOEXEC, 0));
}

int copy_descriptor(uint32_t thread, int fd) {
  constexpr long kPidfdThread = O_EXCL;  // PIDFD_THREAD
  const long pidfd = syscall6(SYS_pidfd_open, thread, kPidfdThread);
  if (pidfd == -EINVAL) return reopen_descriptor(thread, fd);
  if (pidfd < 0) return static_cast<int>(pidfd);
  const long copy = syscall6(SYS_pidfd_getfd, pidfd, fd, 0);
  syscall6(SYS_close, pidfd);
  return static_cast<int>(copy);
}

int copy_descriptor_of_program(int fd) {
  const long pidfd = syscall6(SYS_pidfd_open, syscall6(SYS_getpid), 0);
  if (pidfd < 0) return static_cast<int>(pidfd);
  const long copy = syscall6(SYS_pidfd_getfd, pidfd, fd, 0);
  syscall6(SYS_close, pidfd);
  return static_cast<int>(copy);
}

uint32_t thread_id() {
  return static_cast<uint32_t>(syscall6(SYS_gettid));
}

const volatile uint32_t* cpu_word() {
  if (__rseq_size == 0) return nullptr;
  const char* area = static_cast<const char*>(__builtin_thread_pointer()) + __rseq_offset;
  return reinterpret_cast<const volatile uint32_t*>(area + offsetof(struct rseq, cpu_id));
}

bool run_on_cpu(uint32_t thread, unsigned cpu) {
  // Masks of 1024 processors, the most that Linux distributions are built for... more are left unbound.
  unsigned long mask[1024 / 64] = {};
  if (cpu >= 1024) return false;
  mask[cpu / 64] = 1ul << (cpu % 64);
  return syscall6(SYS_sched_setaffinity, thread, sizeof(mask), as_arg(mask)) == 0;
}

void run_when_idle() {
  const struct sched_param none = {};
  syscall6(SYS_sched_setscheduler, 0, SCHED_IDLE, as_arg(&none));
}

bool run_where(uint32_t thread) {
  // The most that Linux can be built for; the kernel tells how long its masks are.
  unsigned long mask[8192 / 64] = {};
  const long bytes = syscall6(SYS_sched_getaffinity, thread, sizeof(mask), as_arg(mask));
  return bytes > 0 && syscall6(SYS_sched_setaffinity, 0, bytes, as_arg(mask)) == 0;
}

void yield() {
  syscall6(SYS_sched_yield);
}

void futex_wait_ms(std::atomic<uint32_t>& word, uint32_t expected, uint64_t ms) {
  struct timespec duration = {static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1000000};
  syscall6(SYS_futex, as_arg(&word), FUTEX_WAIT_PRIVATE, expected, as_arg(&duration));
}

}  // namespace weir::os
