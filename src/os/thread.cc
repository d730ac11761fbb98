#include "os/thread.h"

#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "os/syscall.h"

namespace weir::os {
namespace {

// The kernel's signal sets have 64 bits; the C library's wrapper would leave its own two signals out, which it needs
// for setuid in all threads.
constexpr long kSignalSetBytes = 8;

void* trampoline(void* run) {
  reinterpret_cast<void (*)()>(run)();
  return nullptr;
}

}  // namespace

uint64_t exchange_signal_mask(uint64_t blocked) {
  uint64_t before = 0;
  syscall6(SYS_rt_sigprocmask, SIG_SETMASK, as_arg(&blocked), as_arg(&before), kSignalSetBytes);
  return before;
}

uint64_t hold_back_signals() {
  constexpr auto bit = [](int signo) { return uint64_t{1} << (signo - 1); };
  constexpr uint64_t kHeldBack = kAllSignals & ~(kLibrarySignals | bit(SIGSEGV) | bit(SIGBUS) | bit(SIGFPE) |
                                                 bit(SIGILL) | bit(SIGTRAP) | bit(SIGSYS));
  uint64_t before = 0;
  syscall6(SYS_rt_sigprocmask, SIG_BLOCK, as_arg(&kHeldBack), as_arg(&before), kSignalSetBytes);
  return before;
}

bool start_thread(void (*run)(), size_t stack_bytes) {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // The C library's minimum counts thread-local storage in.
  const long least = sysconf(_SC_THREAD_STACK_MIN);
  pthread_attr_setstacksize(&attributes, static_cast<size_t>(least > 0 ? least : 0) + stack_bytes);
  const uint64_t before = exchange_signal_mask(kAllSignals & ~kLibrarySignals);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, trampoline, reinterpret_cast<void*>(run));
  exchange_signal_mask(before);
  pthread_attr_destroy(&attributes);
  return error == 0;
}

void name_thread(const char* name) {
  syscall6(SYS_prctl, PR_SET_NAME, as_arg(name));
}

bool in_dynamic_linker(const void* code) {
  const uintptr_t base = getauxval(AT_BASE);
  if (base == 0) return false;
  const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(base);
  const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(base + header->e_phoff);
  const uintptr_t offset = reinterpret_cast<uintptr_t>(code) - base;
  for (unsigned i = 0; i < header->e_phnum; ++i) {
    if (segments[i].p_type == PT_LOAD && (segments[i].p_flags & PF_X) != 0 && offset >= segments[i].p_vaddr &&
        offset < segments[i].p_vaddr + segments[i].p_memsz)
      return true;
  }
  return false;
}

int process_id() {
  return static_cast<int>(syscall6(SYS_getpid));
}

unsigned effective_user_id() {
  return static_cast<unsigned>(syscall6(SYS_geteuid));
}

uint32_t user_id() {
  return static_cast<uint32_t>(syscall6(SYS_getuid));
}

}  // namespace weir::os
