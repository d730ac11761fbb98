/* seccomp.c: a program that forbids itself every system call but those of the C library's own malloc keeps allocating.
 * A forbidden call is named and ends the program. With `small` the first allocation comes after the filter and stays
 * small; with `large` there are large objects, grown, shrunk and freed; with `threads` threads were there before; with
 * `refused` a forbidden call fails with EPERM instead, and must then do no harm. */
// contract: cases=small,large,threads,refused
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "contract.h"

/* What glibc's malloc calls, plus what this program itself needs to write, wait and end. */
static const int kAllowed[] = {SYS_mmap,  SYS_munmap, SYS_mremap,     SYS_madvise, SYS_brk,          SYS_mprotect,
                               SYS_futex, SYS_write,  SYS_exit_group, SYS_exit,    SYS_rt_sigreturn, SYS_getrandom};
enum { kAllowedCount = sizeof kAllowed / sizeof kAllowed[0] };

static void name_violation(int signo, siginfo_t* info, void* context) {
  char text[80] = "seccomp.c: forbidden system call ";
  size_t length = strlen(text);
  char digits[16];
  int count = 0;
  (void)signo;
  (void)context;
  for (int number = info->si_syscall; count == 0 || number > 0; number /= 10)
    digits[count++] = (char)('0' + number % 10);
  while (count > 0) text[length++] = digits[--count];
  text[length++] = '\n';
  if (write(STDERR_FILENO, text, length) < 0) _exit(2);
  _exit(1);
}

static void install_filter(unsigned verdict) {
  struct sock_filter code[2 * kAllowedCount + 2];
  unsigned short length = 0;
  code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (int i = 0; i < kAllowedCount; ++i) {
    code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)kAllowed[i], 0, 1);
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict);
  struct sock_fprog program = {length, code};
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = name_violation;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGSYS, &action, NULL) != 0) _exit(1);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(kSkip);
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) _exit(kSkip);
}

static void use_small(void) {
  char* objects[3000];
  for (int round = 0; round < 30; ++round) {
    for (size_t i = 0; i < 3000; ++i) {
      objects[i] = malloc(i % 2500 + 1);
      CHECK(objects[i] != NULL);
      memset(objects[i], round, i % 2500 + 1);
    }
    for (int i = 0; i < 3000; ++i) free(objects[i]);
  }
}

static void use_large(void) {
  for (size_t size = MIB; size <= 256 * MIB; size *= 2) {
    char* ptr = malloc(size);
    CHECK(ptr != NULL);
    memset(ptr, 1, size);
    ptr = realloc(ptr, size * 2);
    CHECK(ptr != NULL && ptr[size - 1] == 1);
    ptr = realloc(ptr, size / 2);
    CHECK(ptr != NULL && ptr[size / 2 - 1] == 1);
    free(ptr);
    char* zeroed = calloc(1, size);
    CHECK(zeroed != NULL && zeroed[size / 2] == 0);
    free(zeroed);
  }
}

static volatile int ready;
static volatile int go;

static void* wait_and_use(void* unused) {
  __atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
  while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE)) __asm__ volatile("pause");
  use_small();
  use_large();
  _exit(0);
  return unused;
}

int main(int argc, char** argv) {
  pthread_t thread;
  if (argc != 2) return 64;
  if (strcmp(argv[1], "small") == 0) {
    install_filter(SECCOMP_RET_TRAP);
    use_small();
  } else if (strcmp(argv[1], "large") == 0) {
    contract_begin(60);
    install_filter(SECCOMP_RET_TRAP);
    use_small();
    use_large();
  } else if (strcmp(argv[1], "threads") == 0) {
    contract_begin(60);
    if (strstr(allocator_file(), "libc.so") != NULL) {
      puts("skipped: a thread's heap makes glibc read files of /proc and /sys");
      return kSkip;
    }
    CHECK(pthread_create(&thread, NULL, wait_and_use, NULL) == 0);
    while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) __asm__ volatile("pause");
    install_filter(SECCOMP_RET_TRAP);
    __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
    for (;;) use_small();
  } else {
    contract_begin(60);
    install_filter(SECCOMP_RET_ERRNO | EPERM);
    use_small();
    use_large();
  }
  _exit(0);
}
