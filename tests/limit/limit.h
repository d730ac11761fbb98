/* limit.h: what the programs under a limit are written with, on top of contract.h: a data set that is larger than the
 * limit, half of its pages compressible and half not, verified word by word; what of it is away at the moment; whether
 * the process is within its limit.
 *
 * Thread safety: a Dataset may be checked by any number of threads; a block is written by one at a time.
 * On plain glibc (no limit) everything holds but what is asked of the limit itself, which is not asked then.
 */
#ifndef WEIR_TESTS_LIMIT_LIMIT_H_
#define WEIR_TESTS_LIMIT_LIMIT_H_

#include <grp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "../contract/contract.h"

/* Enough for 100 MiB of blocks of 24 KiB on average. */
enum { kMostBlocks = 4096, kWordsPerPage = 512 };
#define PAGE ((size_t)4096)

struct Block {
  uint64_t* words;
  size_t count; /* of words */
  uint32_t generation;
};

struct Dataset {
  struct Block blocks[kMostBlocks];
  unsigned count;
  size_t bytes;
};

/* The limit that tests/limit/run set, in bytes; 0 when there is none. */
__attribute__((unused)) static size_t memory_limit(void) {
  const char* conf = getenv("WEIR_CONF");
  const char* limit = conf != NULL && allocator_is_weir() ? strstr(conf, "limit=") : NULL;
  return limit != NULL ? strtoul(limit + 6, NULL, 10) * MIB : 0;
}

__attribute__((unused)) static int kernel_is_at_least(int major, int minor) {
  struct utsname kernel;
  int its_major = 0, its_minor = 0;
  CHECK(uname(&kernel) == 0 && sscanf(kernel.release, "%d.%d", &its_major, &its_minor) == 2);
  return its_major > major || (its_major == major && its_minor >= minor);
}

/* What a touch of a page raises that is lost, or was taken away: before Linux 6.6 pages cannot be poisoned. */
__attribute__((unused)) static int lost_signal(void) {
  return kernel_is_at_least(6, 6) ? SIGBUS : SIGSEGV;
}
__attribute__((unused)) static const char* lost_signal_name(void) {
  return lost_signal() == SIGBUS ? "SIGBUS" : "SIGSEGV";
}

/* Of a word in a block: every other page is noise, the others compress to a tenth. */
static inline uint64_t word_of(uint32_t block, uint32_t generation, size_t index) {
  uint64_t x = ((uint64_t)block << 40) ^ ((uint64_t)generation << 28) ^ (index / kWordsPerPage);
  if (index / kWordsPerPage % 2 == 0) return x * 3 + (index & 15);
  x = (x ^ index << 50 ^ index * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

static inline void write_block(struct Dataset* data, unsigned b, uint32_t generation) {
  struct Block* block = &data->blocks[b];
  for (size_t i = 0; i < block->count; ++i) block->words[i] = word_of(b, generation, i);
  block->generation = generation;
}

__attribute__((noreturn, unused, noinline)) static void wrong_word(const struct Dataset* data, unsigned b, size_t i,
                                                                   uint64_t got) {
  char text[256];
  const struct Block* block = &data->blocks[b];
  int length =
      snprintf(text, sizeof text, "block %u of %zu bytes, word %zu at %p: %016llx, wanted %016llx (process %d)\n", b,
               block->count * 8, i, (const void*)&block->words[i], (unsigned long long)got,
               (unsigned long long)word_of(b, block->generation, i), (int)getpid());
  if (write(STDERR_FILENO, text, (size_t)length) < 0) _exit(2);
  if (getenv("LIMIT_ABORT") != NULL) abort();
  _exit(1);
}

static inline void check_block(const struct Dataset* data, unsigned b) {
  const struct Block* block = &data->blocks[b];
  for (size_t i = 0; i < block->count; ++i) {
    uint64_t got = *(volatile uint64_t*)&block->words[i];
    if (__builtin_expect(got != word_of(b, block->generation, i), 0)) wrong_word(data, b, i, got);
  }
}

__attribute__((unused)) static void check_data(const struct Dataset* data) {
  for (unsigned b = 0; b < data->count; ++b) check_block(data, b);
}

__attribute__((unused)) static void rewrite_data(struct Dataset* data, uint32_t generation) {
  for (unsigned b = 0; b < data->count; ++b) write_block(data, b, generation);
}

/* Blocks as programs have them: objects in slabs, runs, and one that is charged by what is touched (over 4 MiB). */
__attribute__((unused)) static size_t block_size(unsigned b, uint64_t* random) {
  if (b % 512 == 7) return 6 * MIB;
  switch (next_random(random) % 8) {
    case 0:
      return 32 + next_random(random) % 480;
    case 1:
      return 1024 + next_random(random) % 15000;
    case 2:
      return 200 * KIB + next_random(random) % (200 * KIB);
    default:
      return 8 * KIB + next_random(random) % (40 * KIB);
  }
}

/* Fills the data set up to `bytes`. */
__attribute__((unused)) static void make_data(struct Dataset* data, size_t bytes) {
  uint64_t random = 12345;
  while (data->bytes < bytes) {
    unsigned b = data->count++;
    CHECK(b < kMostBlocks);
    size_t size = block_size(b, &random) & ~(size_t)7;
    data->blocks[b].words = malloc(size);
    CHECK(data->blocks[b].words != NULL);
    data->blocks[b].count = size / 8;
    data->bytes += size;
    write_block(data, b, 1);
  }
}

__attribute__((unused)) static void free_data(struct Dataset* data) {
  for (unsigned b = 0; b < data->count; ++b) free(data->blocks[b].words);
  data->count = 0;
  data->bytes = 0;
}

/* Bytes of whole pages of [at, at + size) that are not at their address. Touches nothing. */
__attribute__((unused)) static size_t bytes_away(const void* at, size_t size) {
  unsigned char there[2048];
  uintptr_t first = ((uintptr_t)at + PAGE - 1) & ~(PAGE - 1);
  uintptr_t end = ((uintptr_t)at + size) & ~(PAGE - 1);
  size_t away = 0;
  while (first < end) {
    size_t pages = (end - first) / PAGE < sizeof there ? (end - first) / PAGE : sizeof there;
    CHECK(mincore((void*)first, pages * PAGE, there) == 0);
    for (size_t i = 0; i < pages; ++i) away += (there[i] & 1) == 0 ? PAGE : 0;
    first += pages * PAGE;
  }
  return away;
}

__attribute__((unused)) static size_t data_away(const struct Dataset* data) {
  size_t away = 0;
  for (unsigned b = 0; b < data->count; ++b) away += bytes_away(data->blocks[b].words, data->blocks[b].count * 8);
  return away;
}

/* A test under a limit says nothing unless a good part of the data is swapped out. */
__attribute__((unused)) static void expect_away(const struct Dataset* data) {
  if (memory_limit() != 0) CHECK(data_away(data) >= data->bytes / 4);
}

/* Of /proc/self/status, in bytes. */
__attribute__((unused)) static size_t status_bytes(const char* key) {
  char text[4096];
  int status = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  CHECK(status >= 0);
  ssize_t length = read(status, text, sizeof text - 1);
  close(status);
  CHECK(length > 0);
  text[length] = '\0';
  const char* line = strstr(text, key);
  CHECK(line != NULL);
  return strtoul(line + strlen(key), NULL, 10) * KIB;
}

/* Resident anonymous memory of this process; 0 without /proc. */
__attribute__((unused)) static size_t anonymous_bytes(void) {
  return access("/proc/self/status", R_OK) == 0 ? status_bytes("RssAnon:") : 0;
}

/* 8 MiB is what a limit may be exceeded by; `others` is what the program holds besides its heap. weir's own tables and
 * buffers are not part of the limit, and below 6 MiB here. */
__attribute__((unused)) static void expect_within_limit(size_t others) {
  if (memory_limit() == 0) return;
  size_t now = anonymous_bytes();
  if (now > memory_limit() + others + 14 * MIB)
    fprintf(stderr, "resident: %zu KiB, limit %zu KiB, others %zu KiB\n", now / KIB, memory_limit() / KIB,
            others / KIB);
  CHECK(now <= memory_limit() + others + 14 * MIB);
}

/* Twice the limit; on plain glibc as much as with the usual one. */
__attribute__((unused)) static void make_twice_the_limit(struct Dataset* data) {
  make_data(data, memory_limit() != 0 ? 2 * memory_limit() : 48 * MIB);
  expect_away(data);
}

/* What a thread that faults all the time does next: reads some of the common data, and checks and writes its own. */
__attribute__((unused)) static void fault_and_write(const struct Dataset* common, struct Dataset* own, uint64_t* random,
                                                    uint32_t generation) {
  check_block(common, next_random(random) % common->count);
  unsigned b = next_random(random) % own->count;
  check_block(own, b);
  write_block(own, b, generation);
}

/* Waits for a child and returns its status. */
__attribute__((unused)) static int status_of(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
  return status;
}

/* Nobody else's, so that RLIMIT_NPROC counts this process alone, not another case that runs at the same time. */
__attribute__((unused)) static void become_nobody_else(void) {
  unsigned user = 20000 + (unsigned)getpid() % 40000;
  CHECK(setgroups(0, NULL) == 0 && setgid(user) == 0 && setuid(user) == 0);
}

__attribute__((unused)) static int user_may_have_userfaultfd(void) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    become_nobody_else();
    _exit(syscall(SYS_userfaultfd, O_CLOEXEC) >= 0 || access("/dev/userfaultfd", R_OK | W_OK) == 0);
  }
  status = status_of(child);
  CHECK(WIFEXITED(status));
  return WEXITSTATUS(status);
}

#endif /* WEIR_TESTS_LIMIT_LIMIT_H_ */
