/* means.c: where the means for a limit are missing the program runs all the same, and is told so once, by one line: no
 * userfaultfd for an ordinary user; no thread to be had (RLIMIT_NPROC); a limit with no room for the swap file; no
 * /proc, which matters where pages can only be lifted, or descriptors only be opened again. Without io_uring nothing is
 * missing, but reads from a swap file take a thread each. Mapped files leave memory in any case. */
// limit: cases=no_userfaultfd,no_userfaultfd_files,no_threads,no_directory,no_proc,no_proc_lift,no_ring timeout=60 weir
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "limit.h"

static struct Dataset data;

static int may_hide_proc(void) {
  return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
         mount("none", "/proc", "tmpfs", 0, NULL) == 0;
}

static void start_without_proc(int lift) {
  char self[4096], conf[256];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  CHECK(length > 0);
  self[length] = '\0';
  snprintf(conf, sizeof conf, "limit=24M,swap=%s%s", getenv("LIMIT_SWAP"), lift ? ",uffd_move=0" : "");
  CHECK(setenv("WEIR_CONF", conf, 1) == 0);
  if (!may_hide_proc()) _exit(kSkip);
  execl(self, self, lift ? "inside" : "inside_swapping", (char*)NULL);
  _exit(1);
}

static void forbid_rings(void) {
  struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                               BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
                               BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                               BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
    _exit(kSkip);
}

static void start_inside(void* name) {
  if (strncmp(name, "no_proc", 7) == 0) start_without_proc(strcmp(name, "no_proc_lift") == 0);
  char conf[256];
  const char* swap = strcmp(name, "no_directory") == 0 ? "/nonexistent/directory" : getenv("LIMIT_SWAP");
  int files = strcmp(name, "no_userfaultfd_files") == 0;
  snprintf(conf, sizeof conf, "%s,system_swap=0,swap=%s", files ? "rss_limit=48M" : "limit=24M", swap);
  if (strcmp(name, "no_threads") == 0) {
    struct rlimit limit = {1, 1};
    CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
  }
  if (strncmp(name, "no_userfaultfd", 14) == 0 || strcmp(name, "no_threads") == 0) become_nobody_else();
  if (files) exec_self("inside_with_files", conf);
  if (strcmp(name, "no_ring") == 0) {
    forbid_rings();
    exec_self("inside_without_rings", conf);
  }
  exec_self("inside", conf);
}

/* Less than the limit must be had in any case; more may be refused, with ENOMEM. */
static void inside(void) {
  make_data(&data, 12 * MIB);
  check_data(&data);
  pid_t child = fork();
  if (child == 0) {
    check_data(&data);
    _exit(0);
  }
  if (child > 0) {
    expect_success(child);
  } else {
    CHECK(errno == EAGAIN);
  }
  for (int i = 0; i < 100; ++i) {
    errno = 0;
    char* more = malloc(MIB);
    CHECK(more != NULL || errno == ENOMEM);
    if (more != NULL) memset(more, i, MIB);
    if (i % 4 == 0) free(more);
  }
  check_data(&data);
  free_data(&data);
  fprintf(stderr, "lived\n");
}

enum { kFileBytes = 100 << 20 };
static atomic_int stop;

static void* touch_file(void* file) {
  uint64_t random = 7;
  while (!atomic_load(&stop)) CHECK(((volatile char*)file)[next_random(&random) % kFileBytes / PAGE * PAGE] == 3);
  return NULL;
}

/* A file of more than twice the limit, read again and again. */
static void with_files(void) {
  const size_t size = kFileBytes;
  char path[] = "/var/tmp/weir-test-XXXXXX";
  int fd = mkostemp(path, O_CLOEXEC);
  CHECK(fd >= 0 && unlink(path) == 0 && ftruncate(fd, (off_t)size) == 0);
  char* file = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(file != MAP_FAILED);
  make_data(&data, 12 * MIB);
  for (int round = 1; round <= 3; ++round) {
    for (size_t at = 0; at < size; at += PAGE) {
      CHECK(file[at] == (char)(round - 1));
      file[at] = (char)round;
    }
    size_t resident;
    while ((resident = resident_bytes(0)) > memory_limit() + 14 * MIB) usleep(1000);
    check_data(&data);
  }
  /* What is dropped of it and comes back at once is no reason to let an allocation wait for ever. */
  pthread_t threads[2];
  for (int t = 0; t < 2; ++t) CHECK(pthread_create(&threads[t], NULL, touch_file, file) == 0);
  const size_t block = 64 * KIB;
  size_t held = 12 * MIB;
  for (char* more; (more = malloc(block)) != NULL; held += block) memset(more, 1, block);
  CHECK(errno == ENOMEM && held > 16 * MIB && held < memory_limit());
  atomic_store(&stop, 1);
  for (int t = 0; t < 2; ++t) CHECK(pthread_join(threads[t], NULL) == 0);
  check_data(&data);
  fprintf(stderr, "lived\n");
}

/* Nothing is missing: descriptors can be copied, and pages moved. */
static void swapping(void) {
  make_twice_the_limit(&data);
  pid_t child = fork();
  if (child == 0) {
    check_data(&data);
    _exit(0);
  }
  expect_success(child);
  check_data(&data);
  fprintf(stderr, "lived\n");
}

int main(int argc, char** argv) {
  contract_begin(55);
  CHECK(argc == 2);
  if (strcmp(argv[1], "inside") == 0) {
    inside();
    return 0;
  }
  if (strcmp(argv[1], "inside_swapping") == 0) {
    swapping();
    return 0;
  }
  if (strcmp(argv[1], "inside_with_files") == 0) {
    with_files();
    return 0;
  }
  if (strcmp(argv[1], "inside_without_rings") == 0) {
    swapping();
    /* This one, kswapd, and eight that resolve faults. */
    CHECK(nr_threads() >= 10);
    return 0;
  }
  int needs_root = strcmp(argv[1], "no_directory") != 0 && strcmp(argv[1], "no_ring") != 0;
  if (needs_root && getuid() != 0) {
    printf("skipped: only root can become somebody without rights\n");
    return kSkip;
  }
  if (strncmp(argv[1], "no_userfaultfd", 14) == 0 && user_may_have_userfaultfd()) {
    printf("skipped: every user may have a userfaultfd here\n");
    return kSkip;
  }
  int no_ring = strcmp(argv[1], "no_ring") == 0;
  int all_is_there = strcmp(argv[1], "no_proc") == 0 || no_ring;
  if (all_is_there && !no_ring && !kernel_is_at_least(6, 9)) {
    printf("skipped: before Linux 6.9 it takes /proc\n");
    return kSkip;
  }
  struct ChildResult result = run_child(start_inside, argv[1]);
  unsigned complaints = 0;
  for (char* at = result.text; (at = strstr(at, "weir: ")) != NULL; ++at) ++complaints, *at = '>';
  fprintf(stderr, "status 0x%x, said: %s\n", (unsigned)result.status, result.text);
  if (exited_with(result.status, kSkip)) {
    printf("skipped: %s here\n", no_ring ? "system calls cannot be filtered" : "/proc cannot be hidden");
    return kSkip;
  }
  CHECK(exited_with(result.status, 0) && strstr(result.text, "lived\n") != NULL);
  CHECK(complaints == (all_is_there ? 0 : 1));
  if (strcmp(argv[1], "no_proc_lift") == 0) CHECK(strstr(result.text, "it takes /proc") != NULL);
  return 0;
}
