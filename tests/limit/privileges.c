/* privileges.c: a program that gives up what it started with keeps its swapped memory, can allocate and fork, and so
 * can its child: in an empty root directory, as nobody, with no room for one more descriptor. */
// limit: cases=chroot,nobody,nofile_soft,nofile_hard,all timeout=60
#include <dirent.h>
#include <grp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "limit.h"

enum { kNobody = 65534 };
static struct Dataset data;
/* Where children cannot be given a descriptor, they get everything in memory, and may not swap it. */
static int children_swap = 1;

/* Before Linux 6.9 a child is handed what can be opened once more: nothing by who cannot see /proc, or may not. */
static int descriptors_can_be_copied(void) {
  return kernel_is_at_least(6, 9);
}

static void enter_empty_root(void) {
  char name[] = "/tmp/weir-limit-root-XXXXXX";
  CHECK(mkdtemp(name) != NULL);
  CHECK(chroot(name) == 0 && chdir("/") == 0);
  /* Gone when nobody stands in it; from inside it cannot be named. */
  if (!descriptors_can_be_copied()) children_swap = 0;
}

static void become_nobody(void) {
  CHECK(setgroups(0, NULL) == 0 && setgid(kNobody) == 0 && setuid(kNobody) == 0);
  CHECK(setuid(0) != 0);
  if (!descriptors_can_be_copied()) children_swap = 0;
}

static void forbid_descriptors(int hard) {
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = 3;
  if (hard) limit.rlim_max = 3;
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  children_swap = !hard;
  CHECK(open("/", O_RDONLY) < 0 && errno == EMFILE);
}

static void* check_in_thread(void* unused) {
  check_data(&data);
  return unused;
}

static void live_on(int depth) {
  pthread_t thread;
  check_data(&data);
  pid_t child = depth < 2 ? fork() : -1;
  if (child == 0) {
    live_on(depth + 1);
    _exit(0);
  }
  CHECK(pthread_create(&thread, NULL, check_in_thread, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  rewrite_data(&data, (uint32_t)depth + 2);
  check_data(&data);
  if (depth == 0 || children_swap) expect_away(&data);
  if (child > 0) expect_success(child);
  free_data(&data);
  make_data(&data, 20 * MIB);
  check_data(&data);
}

int main(int argc, char** argv) {
  contract_begin(55);
  CHECK(argc == 2);
  const char* name = argv[1];
  int all = strcmp(name, "all") == 0;
  if (getuid() != 0 && strncmp(name, "nofile", 6) != 0) {
    printf("skipped: only root can give up rights\n");
    return kSkip;
  }
  make_twice_the_limit(&data);
  if (all || strcmp(name, "chroot") == 0) enter_empty_root();
  if (all || strcmp(name, "nobody") == 0) become_nobody();
  if (all || strncmp(name, "nofile", 6) == 0) forbid_descriptors(all || strcmp(name, "nofile_hard") == 0);
  live_on(0);
  return 0;
}
