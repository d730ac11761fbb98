/* dirty.c: under a limit of the whole process, changed pages of mapped files are written to their disks by the settings
 * that the kernel has for it: beyond a share of the limit at once, all of them after a time; in children of a fork as
 * well. A file is not kept open once it is not mapped any more. */
// limit: conf=rss_limit=64M,swap=DIR cases=background,expire,off,child,closed weir timeout=60
#include <dirent.h>
#include <sys/syscall.h>

#include "limit.h"
#include "weir/options.h"
#include "weir/stats_page.h"
#include "weir/weir.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

enum { kFilePages = 8192 }; /* 32 MiB */
#define FILE_BYTES (kFilePages * PAGE)

/* They come from the library that is preloaded. */
#pragma weak weir_stats
#pragma weak weir_sysctl

static char path[] = "/var/tmp/weir-test-XXXXXX";
static int fd = -1;
static char* begin;
static size_t most_dirty;

static void remove_file(void) {
  unlink(path);
}

static size_t dirty(void) {
  struct {
    uint64_t offset, bytes;
  } range = {0, FILE_BYTES};
  struct {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
  } state = {0, 0, 0, 0, 0};
  if (syscall(SYS_cachestat, fd, &range, &state, 0) != 0) {
    printf("skipped: before Linux 6.5 the kernel does not tell what is dirty\n");
    exit(77);
  }
  return state.dirty;
}

static void write_pages(size_t first, size_t end) {
  for (size_t i = first; i < end; ++i) ++begin[i * PAGE];
}

static void set(const char* name, const char* value) {
  char report[WEIR_OPTION_TEXT];
  CHECK(weir_sysctl(name, NULL, 0, value, report, sizeof report) == 0);
}

static int is_at_most(void) {
  return dirty() <= most_dirty;
}

/* Whether no thread of weir's has the file open; the program has but one. */
static int is_closed(void) {
  char name[300], target[512];
  unsigned count = 0;
  DIR* tasks = opendir("/proc/self/task");
  CHECK(tasks != NULL);
  for (struct dirent* task; (task = readdir(tasks)) != NULL;) {
    snprintf(name, sizeof name, "/proc/self/task/%s/fd", task->d_name);
    const int is_own = task->d_name[0] == '.' || atoi(task->d_name) == (int)getpid();
    DIR* fds = is_own ? NULL : opendir(name);
    for (struct dirent* each; fds != NULL && (each = readdir(fds)) != NULL;) {
      char link[600];
      snprintf(link, sizeof link, "%s/%s", name, each->d_name);
      ssize_t length = readlink(link, target, sizeof target - 1);
      target[length < 0 ? 0 : length] = '\0';
      count += strcmp(target, path) == 0;
    }
    if (fds != NULL) closedir(fds);
  }
  closedir(tasks);
  return count == 0;
}

static int is_open(void) {
  return !is_closed();
}

static void wait_until(int (*what)(void)) {
  for (int tries = 0; tries < 2000 && !what(); ++tries) usleep(10000);
  CHECK(what());
}

/* Where the name of a file is not its own, weir cannot open it. */
static void expect_known(void) {
  for (int tries = 0; tries < 300 && !is_open(); ++tries) usleep(10000);
  if (is_open()) return;
  printf("skipped: on the file system of /var/tmp, names of files are not their own\n");
  exit(77);
}

static void background(void) {
  set("vm.dirty_background_bytes", "4M");
  set("vm.dirty_writeback_centisecs", "10");
  expect_known();
  write_pages(0, kFilePages);
  most_dirty = 4 * MIB / PAGE;
  wait_until(is_at_most);
  /* What may be dirty stays so. */
  write_pages(0, most_dirty / 2);
  usleep(500000);
  CHECK(dirty() != 0);
  /* A ratio counts from when it is set: 2% of 64 MiB. */
  set("vm.dirty_background_ratio", "2");
  most_dirty = 64 * MIB / 50 / PAGE;
  wait_until(is_at_most);
  CHECK(weir_stats() == NULL || weir_stats()->files_dirty <= most_dirty);
}

static void expire(void) {
  set("vm.dirty_writeback_centisecs", "10");
  expect_known();
  write_pages(0, 100);
  usleep(500000);
  CHECK(dirty() != 0);
  set("vm.dirty_expire_centisecs", "20");
  wait_until(is_at_most);
}

static void off(void) {
  set("vm.dirty_writeback_centisecs", "10");
  expect_known();
  set("vm.dirty_writeback_centisecs", "0");
  set("vm.dirty_expire_centisecs", "0");
  usleep(200000);
  write_pages(0, kFilePages / 4);
  usleep(500000);
  CHECK(dirty() == kFilePages / 4);
  set("vm.dirty_writeback_centisecs", "10");
  wait_until(is_at_most);
}

static void child(void) {
  set("vm.dirty_writeback_centisecs", "10");
  set("vm.dirty_expire_centisecs", "20");
  expect_known();
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    expect_known();
    /* (Its parent may be the one that writes them.) */
    write_pages(0, kFilePages);
    wait_until(is_at_most);
    _exit(0);
  }
  set("vm.dirty_writeback_centisecs", "0");
  expect_success(pid);
  CHECK(dirty() == 0);
}

static void closed(void) {
  set("vm.dirty_writeback_centisecs", "100");
  expect_known();
  CHECK(munmap(begin, FILE_BYTES) == 0);
  wait_until(is_closed);
}

int main(int argc, char** argv) {
  contract_begin(50);
  CHECK(argc == 2);
  fd = mkostemp(path, O_CLOEXEC);
  CHECK(fd >= 0 && ftruncate(fd, (off_t)FILE_BYTES) == 0);
  atexit(remove_file);
  begin = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(begin != MAP_FAILED && dirty() == 0);
  static const struct {
    const char* name;
    void (*run)(void);
  } cases[] = {{"background", background}, {"expire", expire}, {"off", off}, {"child", child}, {"closed", closed}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
    if (strcmp(argv[1], cases[i].name) == 0) return cases[i].run(), 0;
  CHECK(0);
  return 0;
}
