/* heap_calls.c: what programs do to their own memory keeps working under a limit: huge allocations touched here and
 * there, calloc of such, arrays that grow, mlock, MADV_DONTNEED, mprotect, system calls that fill and send buffers. */
// limit: cases=sparse,calloc,realloc,shrink,mlock,dontneed,mprotect,syscalls,children timeout=60
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "limit.h"

static struct Dataset data;

/* 8 GiB, each 997th page touched: charged by what is touched. */
static void sparse(int zeroed) {
  /* weir's tables: 8 bytes for a page, which lie in as many places. */
  const size_t size = 8 * GIB, step = 997 * PAGE, tables = size / 512;
  uint64_t* words = zeroed ? calloc(size / 8, 8) : malloc(size);
  CHECK(words != NULL);
  for (int round = 0; round < 3; ++round) {
    for (size_t at = 0; at < size; at += step) {
      uint64_t wanted = round == 0 ? 0 : at + (size_t)round - 1;
      /* Memory that malloc gives is not promised to be zero. */
      if (zeroed || round != 0) CHECK(words[at / 8] == wanted);
      words[at / 8] = at + (size_t)round;
    }
    expect_within_limit(tables);
  }
  for (size_t at = 0; zeroed && at < size; at += 50 * step) CHECK(words[at / 8 + 512 * 500] == 0);
  /* And densely, in the middle of it. */
  data.blocks[0].words = words + size / 16;
  data.blocks[0].words = (uint64_t*)(((uintptr_t)data.blocks[0].words + 4095) & ~(uintptr_t)4095);
  data.blocks[0].count = 60 * MIB / 8;
  data.count = 1;
  write_block(&data, 0, 3);
  check_block(&data, 0);
  expect_within_limit(tables);
  pid_t child = fork();
  if (child == 0) {
    check_block(&data, 0);
    CHECK(words[0] == 2);
    _exit(0);
  }
  expect_success(child);
  free(words);
  expect_within_limit(tables);
  words = calloc(1, 200 * MIB);
  CHECK(words != NULL);
  for (size_t at = 0; at < 200 * MIB; at += PAGE) CHECK(words[at / 8] == 0);
  free(words);
}

static void grow(void) {
  uint64_t* words = NULL;
  size_t count = 0;
  data.count = 1;
  for (size_t size = 100 * KIB; size <= 80 * MIB; size += size / 3) {
    words = realloc(words, size);
    CHECK(words != NULL);
    for (size_t i = count; i < size / 8; ++i) words[i] = word_of(0, 1, i);
    count = size / 8;
    expect_within_limit(0);
  }
  data.blocks[0] = (struct Block){words, count, 1};
  check_block(&data, 0);
  /* Two that cannot both grow in place, around twice the limit together. */
  uint64_t* other = NULL;
  free(words);
  words = NULL;
  data.count = 2;
  for (size_t size = 4 * MIB; size <= 40 * MIB; size += 3 * MIB) {
    words = realloc(words, size);
    other = realloc(other, size);
    CHECK(words != NULL && other != NULL);
    size_t from = size == 4 * MIB ? 0 : (size - 3 * MIB) / 8;
    for (size_t i = from; i < size / 8; ++i) words[i] = word_of(0, 2, i), other[i] = word_of(1, 2, i);
    data.blocks[0] = (struct Block){words, size / 8, 2};
    data.blocks[1] = (struct Block){other, size / 8, 2};
  }
  check_data(&data);
  expect_within_limit(0);
  free_data(&data);
}

static void shrink(void) {
  make_twice_the_limit(&data);
  for (unsigned b = 0; b < data.count; ++b) {
    struct Block* block = &data.blocks[b];
    if (b % 3 == 0) {
      block->count = block->count / 2 + 1;
      block->words = realloc(block->words, block->count * 8);
    }
    if (b % 3 == 1) {
      free(block->words);
      block->count = 3000;
      block->words = calloc(block->count, 8);
      for (size_t i = 0; i < block->count; ++i) CHECK(block->words[i] == 0);
      write_block(&data, b, 9);
    }
  }
  check_data(&data);
  expect_within_limit(0);
}

static void lock_part(void) {
  make_twice_the_limit(&data);
  unsigned b = 7; /* the first block over 4 MiB */
  CHECK(data.blocks[b].count * 8 == 6 * MIB);
  CHECK(mlock(data.blocks[b].words, 6 * MIB) == 0);
  CHECK(bytes_away(data.blocks[b].words, 6 * MIB) == 0);
  check_data(&data);
  rewrite_data(&data, 2);
  check_data(&data);
  /* Locked memory stays where it is. */
  CHECK(bytes_away(data.blocks[b].words, 6 * MIB) == 0);
  expect_away(&data);
  CHECK(munlock(data.blocks[b].words, 6 * MIB) == 0);
  check_data(&data);
  /* Any address stands for its page, also that of a word; what is not in memory is brought in only by mlock. */
  char* last = (char*)data.blocks[b].words + 6 * MIB - 8;
  CHECK(mlock(last, 8) == 0 && bytes_away(last - (PAGE - 8), PAGE) == 0);
  CHECK(mlock2(data.blocks[b].words, 6 * MIB, MLOCK_ONFAULT) == 0);
  CHECK(syscall(SYS_munlock, data.blocks[b].words, 6 * MIB) == 0);
  CHECK(syscall(SYS_mlock, last, 8) == 0 && syscall(SYS_munlock, last, 8) == 0);
  CHECK(mlock2(last, 8, 1u << 20) == -1 && errno == EINVAL);
  CHECK(mlock((void*)PAGE, PAGE) == -1 && errno == ENOMEM);
  check_data(&data);
  free_data(&data);
}

static int is_zero_page(const uint64_t* page) {
  uint64_t all = 0;
  for (size_t i = 0; i < kWordsPerPage; ++i) all |= page[i];
  return all == 0;
}

/* After MADV_DONTNEED pages are zero wherever they were, after MADV_FREE zero or what they were, what is written then
 * stays, and so does everything else. */
static void drop_part(void) {
  make_twice_the_limit(&data);
  for (unsigned b = 0; b < data.count; ++b) {
    struct Block* block = &data.blocks[b];
    if (b % 5 != 2 || block->count * 8 < 4 * PAGE) continue;
    uintptr_t first = ((uintptr_t)block->words + PAGE - 1) & ~(PAGE - 1);
    uintptr_t end = ((uintptr_t)block->words + block->count * 8) & ~(PAGE - 1);
    if (end <= first) continue;
    if (b % 2 != 0) memset((void*)first, 1, end - first);
    const int advice = b % 3 == 0 ? MADV_FREE : MADV_DONTNEED;
    const uint64_t before = *(uint64_t*)first;
    CHECK((b % 7 < 4 ? madvise((void*)first, end - first, advice) : syscall(SYS_madvise, first, end - first, advice)) ==
          0);
    if (advice == MADV_FREE) CHECK(*(uint64_t*)first == before || is_zero_page((uint64_t*)first));
    for (uintptr_t page = first; advice != MADV_FREE && page < end; page += PAGE) CHECK(is_zero_page((uint64_t*)page));
    write_block(&data, b, 11);
  }
  errno = 0;
  CHECK(madvise((char*)data.blocks[0].words + 1, PAGE, MADV_DONTNEED) == -1 && errno == EINVAL);
  errno = 0;
  CHECK(syscall(SYS_madvise, data.blocks[0].words, PAGE, 12345) == -1 && errno == EINVAL);
  check_data(&data);
  rewrite_data(&data, 12);
  check_data(&data);
  expect_within_limit(0);
  free_data(&data);
}

static void protect_part(void) {
  make_twice_the_limit(&data);
  for (int round = 0; round < 3; ++round) {
    for (unsigned b = 0; b < data.count; ++b) {
      struct Block* block = &data.blocks[b];
      uintptr_t first = ((uintptr_t)block->words + PAGE - 1) & ~(PAGE - 1);
      uintptr_t end = ((uintptr_t)block->words + block->count * 8) & ~(PAGE - 1);
      if (b % 16 != 3 || end <= first) continue;
      const int protection = round == 1 ? PROT_NONE : PROT_READ;
      CHECK(round == 0   ? mprotect((void*)first, end - first, protection) == 0
            : round == 1 ? syscall(SYS_mprotect, first, end - first, protection) == 0
                         : pkey_mprotect((void*)first, end - first, protection, -1) == 0);
    }
    for (unsigned b = 0; b < data.count; ++b)
      if (b % 16 != 3) check_block(&data, b);
    for (unsigned b = 0; b < data.count; ++b) {
      struct Block* block = &data.blocks[b];
      uintptr_t first = ((uintptr_t)block->words + PAGE - 1) & ~(PAGE - 1);
      uintptr_t end = ((uintptr_t)block->words + block->count * 8) & ~(PAGE - 1);
      if (b % 16 != 3 || end <= first) continue;
      if (round != 1) check_block(&data, b);
      CHECK(mprotect((void*)first, end - first, PROT_READ | PROT_WRITE) == 0);
    }
    check_data(&data);
    rewrite_data(&data, (uint32_t)round + 5);
  }
  errno = 0;
  CHECK(mprotect((char*)data.blocks[0].words + 1, PAGE, PROT_READ) == -1 && errno == EINVAL);
  void* const whole = (void*)((uintptr_t)data.blocks[0].words & ~(PAGE - 1));
  errno = 0;
  CHECK(mprotect(whole, -PAGE, PROT_READ) == -1 && errno == ENOMEM);
  errno = 0;
  CHECK(madvise(whole, -PAGE, MADV_DONTNEED) == -1 && errno == EINVAL);
  errno = 0;
  CHECK(syscall(SYS_mprotect, data.blocks[0].words, PAGE, PROT_GROWSUP | PROT_GROWSDOWN) == -1 && errno == EINVAL);
  expect_within_limit(0);
  free_data(&data);
}

static void through_files(void) {
  FILE* file = tmpfile();
  struct iovec parts[8];
  CHECK(file != NULL);
  int fd = fileno(file);
  make_twice_the_limit(&data);
  for (unsigned b = 0; b < data.count; ++b)
    CHECK(write(fd, data.blocks[b].words, data.blocks[b].count * 8) == (ssize_t)data.blocks[b].count * 8);
  /* Backwards through memory, so that what was used last goes first. */
  for (unsigned b = 0; b < data.count; ++b) memset(data.blocks[b].words, 0x55, data.blocks[b].count * 8);
  expect_away(&data);
  CHECK(lseek(fd, 0, SEEK_SET) == 0);
  for (unsigned b = 0; b < data.count;) {
    int count = 0;
    ssize_t bytes = 0;
    for (; count < 8 && b < data.count; ++count, ++b) {
      parts[count] = (struct iovec){data.blocks[b].words, data.blocks[b].count * 8};
      bytes += (ssize_t)parts[count].iov_len;
    }
    CHECK(readv(fd, parts, count) == bytes);
  }
  check_data(&data);
  expect_within_limit(0);
  fclose(file);
  free_data(&data);
}

static void* free_and_check(void* unused) {
  free_data(&data);
  make_data(&data, 30 * MIB);
  check_data(&data);
  return unused;
}

/* Freed by one thread, allocated by another, in the parent and in the child. */
static void frees_in_children(void) {
  pthread_t thread;
  for (int round = 0; round < 3; ++round) {
    free_data(&data);
    make_twice_the_limit(&data);
    pid_t child = fork();
    if (child == 0) {
      check_data(&data);
      free_and_check(NULL);
      expect_within_limit(0);
      exit(0);
    }
    CHECK(pthread_create(&thread, NULL, free_and_check, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    expect_success(child);
    check_data(&data);
  }
}

int main(int argc, char** argv) {
  contract_begin(55);
  CHECK(argc == 2);
  const char* name = argv[1];
  if (strcmp(name, "sparse") == 0) sparse(0);
  if (strcmp(name, "calloc") == 0) sparse(1);
  if (strcmp(name, "realloc") == 0) grow();
  if (strcmp(name, "shrink") == 0) shrink();
  if (strcmp(name, "mlock") == 0) lock_part();
  if (strcmp(name, "dontneed") == 0) drop_part();
  if (strcmp(name, "mprotect") == 0) protect_part();
  if (strcmp(name, "syscalls") == 0) through_files();
  if (strcmp(name, "children") == 0) frees_in_children();
  return 0;
}
