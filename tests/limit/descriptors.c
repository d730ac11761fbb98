/* descriptors.c: a program that closes every descriptor it can (daemons do, and some put others in their place) keeps
 * all of its swapped memory, and so does its child; /proc/self/fd never shows more than its own descriptors. */
// limit: cases=closefrom,close_range,loop,dup2,unshared
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "limit.h"

static struct Dataset data;

struct OldEntry {
  unsigned long inode;
  long offset;
  unsigned short length;
  char name[];
};

/* How many descriptors the process has, told without allocating; the one it takes itself is not counted. */
static int open_descriptors(void) {
  _Alignas(long) char buffer[8192];
  int count = 0;
  int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
  CHECK(fd >= 0);
  for (long got; (got = syscall(SYS_getdents, fd, buffer, sizeof buffer)) > 0;) {
    for (long at = 0; at < got; at += ((struct OldEntry*)(void*)(buffer + at))->length)
      count += ((struct OldEntry*)(void*)(buffer + at))->name[0] != '.';
  }
  close(fd);
  return count - 1;
}

static void close_all(const char* how) {
  if (strcmp(how, "closefrom") == 0) closefrom(3);
  if (strcmp(how, "close_range") == 0) CHECK(close_range(3, ~0u, 0) == 0);
  if (strcmp(how, "unshared") == 0) CHECK(close_range(3, ~0u, CLOSE_RANGE_UNSHARE) == 0);
  if (strcmp(how, "loop") == 0) {
    for (int fd = 3; fd < 1024; ++fd) close(fd);
  }
  if (strcmp(how, "dup2") == 0) {
    int null = open("/dev/null", O_RDWR);
    CHECK(null >= 0);
    for (int fd = 3; fd < 256; ++fd) CHECK(fd == null || dup2(null, fd) == fd);
    for (int fd = 3; fd < 1024; ++fd) close(fd);
  }
}

static void* check_in_thread(void* unused) {
  check_data(&data);
  return unused;
}

static void live_on(uint32_t generation) {
  pthread_t thread;
  check_data(&data);
  expect_away(&data);
  CHECK(pthread_create(&thread, NULL, check_in_thread, NULL) == 0);
  rewrite_data(&data, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  rewrite_data(&data, generation);
  check_data(&data);
}

int main(int argc, char** argv) {
  contract_begin(60);
  CHECK(argc == 2);
  int before = open_descriptors();
  make_twice_the_limit(&data);
  CHECK(open_descriptors() == before);
  close_all(argv[1]);
  CHECK(open_descriptors() == 3);
  expect_away(&data);
  pid_t child = fork();
  if (child == 0) {
    CHECK(open_descriptors() == 3);
    close_all(argv[1]);
    live_on(2);
    CHECK(open_descriptors() == 3);
    _exit(0);
  }
  live_on(3);
  expect_success(child);
  CHECK(open_descriptors() == 3);
  free_data(&data);
  return 0;
}
