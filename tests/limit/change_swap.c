/* change_swap.c: another swap file while the program runs, by weir_sysctl: what is refused and how; threads that fault
 * meanwhile; children that still read what was written to a file before, after their parent has given it up. */
// limit: conf=limit=24M,swap=DIR cases=calls,threads,fork,forks,rights weir timeout=100
#include <dirent.h>
#include <pthread.h>

#include "limit.h"
#include "weir/weir.h"

enum { kThreads = 2, kChanges = 24, kChildren = 3 };

static struct Dataset data;
static struct Dataset scratch[kThreads];
static volatile int stop;

/* It comes from the library that is preloaded. */
#pragma weak weir_sysctl

/* Returns what weir_sysctl returned, and what it said in `report`. */
static char report[512];
static int set(const char* name, const char* value) {
  report[0] = '\0';
  return weir_sysctl(name, NULL, 0, value, report, sizeof report);
}

static void expect_set(const char* name, const char* value) {
  if (set(name, value) != 0) fprintf(stderr, "%s=%s: %s\n", name, value, report);
  CHECK(strcmp(report, "") == 0);
}

static void expect_refused(const char* name, const char* value, const char* reason) {
  CHECK(set(name, value) == EINVAL);
  if (strstr(report, reason) == NULL) fprintf(stderr, "%s=%s: %s\n", name, value, report);
  CHECK(strstr(report, reason) != NULL);
}

static void expect_value(const char* name, const char* value) {
  char now[512];
  CHECK(weir_sysctl(name, now, sizeof now, NULL, report, sizeof report) == 0);
  CHECK(strcmp(now, value) == 0);
}

/* Files in the swap directory that weir's threads have open; such files have no names. */
static unsigned open_files(void) {
  char path[300], target[512];
  unsigned most = 0;
  DIR* tasks = opendir("/proc/self/task");
  CHECK(tasks != NULL);
  for (struct dirent* task; (task = readdir(tasks)) != NULL;) {
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/fd", task->d_name);
    DIR* fds = task->d_name[0] == '.' ? NULL : opendir(path);
    for (struct dirent* fd; fds != NULL && (fd = readdir(fds)) != NULL;) {
      char link[600];
      snprintf(link, sizeof link, "%s/%s", path, fd->d_name);
      ssize_t length = readlink(link, target, sizeof target - 1);
      target[length < 0 ? 0 : length] = '\0';
      count += strncmp(target, getenv("LIMIT_SWAP"), strlen(getenv("LIMIT_SWAP"))) == 0 &&
               strstr(target, "(deleted)") != NULL;
    }
    if (fds != NULL) closedir(fds);
    if (count > most) most = count;
  }
  closedir(tasks);
  return most;
}

static void expect_open_files(unsigned wanted) {
  for (int tries = 0; tries < 3000 && open_files() != wanted; ++tries) usleep(10000);
  CHECK(open_files() == wanted);
}

static void calls(void) {
  const char* place = getenv("LIMIT_SWAP");
  make_twice_the_limit(&data);
  CHECK(open_files() == 1);
  expect_refused("swap", "relative", "expected the absolute path of a directory, file or block device, or none");
  expect_refused("swap", "", "expected the absolute path");
  expect_refused("swap", "/no/such/folder/file", "no such file or directory");
  expect_refused("swap", "/proc/self/status", "not a directory, regular file or block device");
  expect_refused("swap_size", "12Q", "expected a size");
  expect_refused("swap_size", "1", "too small");
  expect_value("swap", place);
  expect_value("swap_size", "0");
  CHECK(open_files() == 1);
  check_data(&data);
  expect_set("swap_size", "512M");
  expect_value("swap_size", "512M");
  expect_open_files(1);
  expect_set("swap", "none");
  expect_value("swap", "none");
  expect_refused("swap", "relative", "expected the absolute path");
  expect_value("swap", "none");
  expect_set("swap", place);
  expect_open_files(1);
  rewrite_data(&data, 2);
  check_data(&data);
}

/* Weir's threads could open what the program may not any more. */
static void give_up_rights(void) {
  enum { kNobody = 65534 };
  make_twice_the_limit(&data);
  expect_set("swap", getenv("LIMIT_SWAP"));
  CHECK(setgid(kNobody) == 0 && setuid(kNobody) == 0);
  expect_refused("swap", getenv("LIMIT_SWAP"), "the program has given up rights");
  expect_refused("swap_size", "512M", "the program has given up rights");
  expect_value("swap", getenv("LIMIT_SWAP"));
  check_data(&data);
  expect_set("swap", "none");
  check_data(&data);
}

static void* fault_until_stop(void* number) {
  unsigned self = (unsigned)(uintptr_t)number;
  uint64_t random = self;
  uint32_t generation = 1;
  while (!stop) fault_and_write(&data, &scratch[self], &random, ++generation % 4000);
  return NULL;
}

/* Where all places for files are taken by some that are not empty yet, that is said. */
static void change(const char* to) {
  if (set("swap", to) != 0) CHECK(strcmp(report, "the files before it are not empty yet") == 0);
}

static void threads(int children) {
  pthread_t running[kThreads];
  pid_t child[kChildren];
  make_twice_the_limit(&data);
  for (unsigned i = 0; i < kThreads; ++i) make_data(&scratch[i], 4 * MIB);
  for (uintptr_t i = 0; i < kThreads; ++i) CHECK(pthread_create(&running[i], NULL, fault_until_stop, (void*)i) == 0);
  for (int i = 0; i < kChanges; ++i) {
    change(getenv("LIMIT_SWAP"));
    if (children != 0 && i % (kChanges / kChildren) == 0) {
      pid_t pid = child[i / (kChanges / kChildren)] = fork();
      CHECK(pid >= 0);
      if (pid == 0) {
        end_if_hung(90);
        check_data(&data);
        change(getenv("LIMIT_SWAP"));
        rewrite_data(&data, 7);
        check_data(&data);
        _exit(0);
      }
    }
    usleep(20000);
  }
  for (int i = 0; i < children; ++i) expect_success(child[i]);
  stop = 1;
  for (unsigned i = 0; i < kThreads; ++i) CHECK(pthread_join(running[i], NULL) == 0);
  check_data(&data);
  for (unsigned i = 0; i < kThreads; ++i) check_data(&scratch[i]);
  change(getenv("LIMIT_SWAP"));
  expect_open_files(1);
  check_data(&data);
}

/* The child waits until its parent has given up the file that its pages are in. */
static void fork_once(void) {
  int ends[2];
  char word = 0;
  make_twice_the_limit(&data);
  CHECK(pipe(ends) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    end_if_hung(90);
    CHECK(read(ends[0], &word, 1) == 1);
    pid_t grandchild = fork();
    CHECK(grandchild >= 0);
    check_data(&data);
    rewrite_data(&data, 3);
    check_data(&data);
    if (grandchild != 0) expect_success(grandchild);
    _exit(0);
  }
  expect_set("swap", getenv("LIMIT_SWAP"));
  /* Empty by now or soon, but the child may read it. */
  rewrite_data(&data, 2);
  check_data(&data);
  usleep(300000);
  CHECK(open_files() == 2);
  CHECK(write(ends[1], "g", 1) == 1);
  expect_success(child);
  expect_open_files(1);
  check_data(&data);
}

int main(int argc, char** argv) {
  contract_begin(90);
  CHECK(argc == 2);
  if (strcmp(argv[1], "calls") == 0) calls();
  if (strcmp(argv[1], "threads") == 0) threads(0);
  if (strcmp(argv[1], "forks") == 0) threads(kChildren);
  if (strcmp(argv[1], "fork") == 0) fork_once();
  if (strcmp(argv[1], "rights") == 0) {
    if (getuid() != 0) return kSkip;
    give_up_rights();
  }
  return 0;
}
