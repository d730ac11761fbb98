/* files.c: mapped files under a limit of the whole process. Their pages leave memory before the heap does, and come
 * back as they are in the file; what the program wrote to a private mapping, or put in the place of one, stays; calls
 * for address space do what they always do; a child of a fork is within its limit, too. */
// limit: conf=rss_limit=64M,swap=DIR cases=shared,written,private,calls,fork,swappiness,both timeout=60
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "limit.h"
#include "weir/options.h"
#include "weir/stats_page.h"
#include "weir/weir.h"

enum { kFilePages = 40000 }; /* 156 MiB */
#define FILE_BYTES (kFilePages * PAGE)

/* They come from the library that is preloaded. */
#pragma weak weir_stats
#pragma weak weir_sysctl

static struct Dataset data;
static int fd = -1;

static uint64_t number(size_t page, unsigned generation) {
  return page * 0x9e3779b97f4a7c15u + generation;
}

static void make_file(void) {
  static uint64_t page[kWordsPerPage];
  /* Not in /tmp, which may be memory. */
  char path[] = "/var/tmp/weir-test-XXXXXX";
  fd = mkostemp(path, O_CLOEXEC);
  CHECK(fd >= 0 && unlink(path) == 0);
  for (size_t i = 0; i < kFilePages; ++i) {
    page[0] = page[kWordsPerPage - 1] = number(i, 0);
    CHECK(pwrite(fd, page, PAGE, (off_t)(i * PAGE)) == (ssize_t)PAGE);
  }
}

static char* map(int protection, int flags) {
  char* begin = mmap(NULL, FILE_BYTES, protection, flags, fd, 0);
  CHECK(begin != MAP_FAILED);
  return begin;
}

static void check_pages(const char* begin, size_t first, size_t end, unsigned generation) {
  for (size_t i = first; i < end; ++i) {
    const volatile uint64_t* words = (const volatile uint64_t*)(begin + i * PAGE);
    CHECK(words[0] == number(i, generation) && words[kWordsPerPage - 1] == number(i, generation));
  }
}

static void write_pages(char* begin, size_t first, size_t end, unsigned generation) {
  for (size_t i = first; i < end; ++i) {
    uint64_t* words = (uint64_t*)(begin + i * PAGE);
    words[0] = words[kWordsPerPage - 1] = number(i, generation);
  }
}

/* weir's own tables and buffers are not part of the limit (limit.h). */
static int is_within_limit(void) {
  return status_bytes("VmRSS:") <= memory_limit() + 14 * MIB;
}

/* kswapd needs milliseconds; end_if_hung ends what waits for ever. */
static void wait_until(int (*is_so)(void)) {
  while (memory_limit() != 0 && !is_so()) usleep(1000);
}

/* An overlay over memory, as in the virtual machine, counts as the latter. */
static size_t files_now(void) {
  return status_bytes("RssFile:") + status_bytes("RssShmem:");
}

/* But for libraries; and what was dropped a moment ago it may not have looked at yet. */
static int weir_sees_files(void) {
  const size_t seen = weir_stats()->files * PAGE, files = files_now();
  return seen + 8 * MIB > files && seen < files + 8 * MIB;
}

/* Files that are read again and again, from one end to the other and at random, take nothing from a heap in use. */
static void shared(void) {
  make_data(&data, 24 * MIB);
  char* begin = map(PROT_READ, MAP_SHARED);
  uint64_t random = 1;
  for (int round = 0; round < 4; ++round) {
    check_pages(begin, 0, kFilePages, 0);
    for (int i = 0; i < 20000; ++i) {
      size_t page = next_random(&random) % kFilePages;
      check_pages(begin, page, page + 1, 0);
    }
    wait_until(is_within_limit);
    check_data(&data);
  }
  if (memory_limit() != 0) {
    /* A part may have gone before anything was known of the file. */
    CHECK(data_away(&data) <= data.bytes / 2);
    CHECK(files_now() > 8 * MIB);
    wait_until(weir_sees_files);
    const struct weir_stats_page* page = weir_stats();
    CHECK(page->files_allowed * PAGE < memory_limit() && page->files_active <= page->files);
  }
  CHECK(munmap(begin, FILE_BYTES) == 0);
  check_data(&data);
}

static void written(void) {
  make_data(&data, 24 * MIB);
  char* begin = map(PROT_READ | PROT_WRITE, MAP_SHARED);
  for (unsigned generation = 1; generation <= 3; ++generation) {
    write_pages(begin, 0, kFilePages, generation);
    wait_until(is_within_limit);
    for (size_t i = 0; i < kFilePages; i += 7) {
      uint64_t word = 0;
      CHECK(pread(fd, &word, sizeof word, (off_t)(i * PAGE)) == sizeof word && word == number(i, generation));
    }
    check_pages(begin, 0, kFilePages, generation);
    check_data(&data);
  }
}

static void private_mapping(void) {
  const size_t third = kFilePages / 3, tenth = kFilePages / 10;
  char* begin = map(PROT_READ, MAP_PRIVATE);
  check_pages(begin, 0, kFilePages, 0);
  wait_until(is_within_limit);
  CHECK(mprotect(begin + third * PAGE, tenth * PAGE, PROT_READ | PROT_WRITE) == 0);
  write_pages(begin, third, third + tenth, 1);
  /* Read-only again: it is the program's all the same. */
  CHECK(mprotect(begin + third * PAGE, tenth * PAGE, PROT_READ) == 0);
  char* own = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
  write_pages(own, 0, tenth, 2);
  for (int round = 0; round < 3; ++round) {
    check_pages(begin, 0, third, 0);
    check_pages(begin, third, third + tenth, 1);
    check_pages(begin, third + tenth, kFilePages, 0);
    check_pages(own, 0, tenth, 2);
    wait_until(is_within_limit);
  }
}

/* As calls() leaves it. More is touched each time than the limit holds. */
static void check_all(const char* begin, const char* moved, const char* there) {
  for (int round = 0; round < 3; ++round) {
    check_pages(begin, 0, 1000, 0);
    check_pages(begin, 1500, 3500, 5);
    check_pages(begin, 4000, 5000, 0);
    check_pages(begin, 5000, 6000, 6);
    check_pages(begin, 6000, 10000, 0);
    check_pages(moved - 10000 * PAGE, 10000, 20000, 0);
    check_pages(there - 20000 * PAGE, 20000, 30000, 0);
    check_pages(begin, 30000, kFilePages, 0);
    wait_until(is_within_limit);
  }
}

static void calls(void) {
  errno = 4711;
  char* begin = map(PROT_READ, MAP_SHARED);
  check_pages(begin, 0, kFilePages, 0);
  /* A hole, and in it memory of the program's own. */
  CHECK(munmap(begin + 1000 * PAGE, 3000 * PAGE) == 0);
  char* own =
      mmap(begin + 1500 * PAGE, 2000 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  CHECK(own == begin + 1500 * PAGE);
  write_pages(begin, 1500, 3500, 5);
  /* Over a part of what is left, by the system call. */
  long at = syscall(SYS_mmap, begin + 5000 * PAGE, 1000 * PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0L);
  CHECK(at == (long)(begin + 5000 * PAGE));
  write_pages(begin, 5000, 6000, 6);
  /* And a part of it moves elsewhere. */
  char* moved = mremap(begin + 10000 * PAGE, 10000 * PAGE, 10000 * PAGE, MREMAP_MAYMOVE);
  CHECK(moved != MAP_FAILED);
  char* there = mmap(NULL, 20000 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(there != MAP_FAILED);
  CHECK(mremap(begin + 20000 * PAGE, 10000 * PAGE, 10000 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there) == there);
  CHECK(errno == 4711);
  check_all(begin, moved, there);
  /* What is refused. */
  CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, -1, 0) == MAP_FAILED && errno == EBADF);
  CHECK(mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL);
  CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 1) == MAP_FAILED && errno == EINVAL);
  CHECK(munmap(begin + 1, PAGE) == -1 && errno == EINVAL);
  CHECK(mremap(begin + 1, PAGE, PAGE, 0) == MAP_FAILED && errno == EINVAL);
  errno = 0;
  CHECK(syscall(SYS_munmap, begin + 1, PAGE) == -1 && errno == EINVAL);
  CHECK(mprotect(begin + 1, PAGE, PROT_READ | PROT_WRITE) == -1 && errno == EINVAL);
  CHECK(munmap(begin, 0) == -1 && errno == EINVAL);
  CHECK(munmap(begin, SIZE_MAX - PAGE) == -1 && errno == EINVAL);
  /* And nothing of it was taken for something that was done. */
  check_all(begin, moved, there);
}

static void fork_twice(void) {
  make_data(&data, 24 * MIB);
  char* begin = map(PROT_READ | PROT_WRITE, MAP_SHARED);
  check_pages(begin, 0, kFilePages, 0);
  for (unsigned generation = 1; generation <= 2; ++generation) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      write_pages(begin, 0, kFilePages, generation);
      wait_until(is_within_limit);
      check_pages(begin, 0, kFilePages, generation);
      check_data(&data);
      _exit(0);
    }
    check_data(&data);
    expect_success(child);
    check_pages(begin, 0, kFilePages, generation);
    wait_until(is_within_limit);
  }
}

/* 0: nothing of the heap goes as long as there are files. */
static void swappiness(void) {
  if (memory_limit() != 0) {
    char report[WEIR_OPTION_TEXT];
    CHECK(weir_sysctl("vm.swappiness", NULL, 0, "0", report, sizeof report) == 0);
  }
  make_data(&data, 40 * MIB);
  char* begin = map(PROT_READ, MAP_SHARED);
  for (int round = 0; round < 3; ++round) {
    check_pages(begin, 0, kFilePages, 0);
    wait_until(is_within_limit);
    CHECK(memory_limit() == 0 || data_away(&data) == 0);
  }
  /* But where that is not enough, it goes all the same (kernel: file_is_tiny). */
  make_data(&data, 100 * MIB);
  check_data(&data);
  check_pages(begin, 0, kFilePages, 0);
  expect_away(&data);
  wait_until(is_within_limit);
}

static atomic_int stop;

static void* touch_pages(void* file) {
  uint64_t random = 7;
  while (!atomic_load(&stop)) {
    size_t page = next_random(&random) % kFilePages;
    check_pages(file, page, page + 1, 0);
  }
  return NULL;
}

/* The file's pages come back as fast as they are dropped; the heap, which is larger than the limit, gets its part. */
static void both(void) {
  pthread_t threads[3];
  /* Which the kernel maps 16 pages at a time, or more. */
  char* begin = map(PROT_READ | PROT_WRITE, MAP_SHARED);
  for (int t = 0; t < 3; ++t) CHECK(pthread_create(&threads[t], NULL, touch_pages, begin) == 0);
  make_data(&data, 80 * MIB);
  check_data(&data);
  rewrite_data(&data, 2);
  check_data(&data);
  expect_away(&data);
  atomic_store(&stop, 1);
  for (int t = 0; t < 3; ++t) CHECK(pthread_join(threads[t], NULL) == 0);
  wait_until(is_within_limit);
}

int main(int argc, char** argv) {
  contract_begin(60);
  CHECK(argc == 2);
  make_file();
  static const struct {
    const char* name;
    void (*run)(void);
  } cases[] = {{"shared", shared}, {"written", written}, {"private", private_mapping},
               {"calls", calls},   {"fork", fork_twice}, {"swappiness", swappiness},
               {"both", both}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
    if (strcmp(argv[1], cases[i].name) == 0) return cases[i].run(), 0;
  CHECK(0);
  return 0;
}
