/* exhausted.c: noise and no swap file: when nothing more can be reclaimed malloc returns null with ENOMEM; the process
 * stays whole, its data too, and after frees it can allocate again; so also in threads and in a child. */
// limit: cases=small,pages,large,threads,child conf=limit=32M,swap=none timeout=60 weir
#include <pthread.h>

#include "limit.h"

enum { kMostChunks = 200000 };
static uint64_t* chunks[kMostChunks];

static void fill_noise(uint64_t* words, size_t bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes / 8; ++i) words[i] = word_of((uint32_t)seed, 1, kWordsPerPage + i % kWordsPerPage) + i;
}
static int is_noise(const uint64_t* words, size_t bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes / 8; ++i) {
    if (words[i] != word_of((uint32_t)seed, 1, kWordsPerPage + i % kWordsPerPage) + i) return 0;
  }
  return 1;
}

/* Takes noise until there is no more, checks all of it, frees it; returns how many bytes there were. */
static size_t exhaust(size_t size) {
  size_t count = 0;
  errno = 0;
  while (count < kMostChunks && (chunks[count] = malloc(size)) != NULL) {
    fill_noise(chunks[count], size, count);
    ++count;
  }
  CHECK(count < kMostChunks && errno == ENOMEM);
  /* Small ones may go on for a moment, so that the program can unwind: from half of what is kept below min. */
  size_t refused_at = count;
  while (count < kMostChunks && (chunks[count] = malloc(size)) != NULL) {
    fill_noise(chunks[count], size, count);
    ++count;
  }
  CHECK((count - refused_at) * size <= memory_limit() / 32);
  errno = 0;
  CHECK(calloc(1, size) == NULL && errno == ENOMEM);
  /* Not a very long one: it would be charged by what is touched of it. */
  CHECK(count == 0 || size >= MIB || (realloc(chunks[0], 3 * MIB + 8) == NULL && errno == ENOMEM));
  expect_within_limit(0);
  for (size_t i = 0; i < count; ++i) CHECK(is_noise(chunks[i], size, i));
  for (size_t i = 0; i < count; i += 2) free(chunks[i]);
  for (size_t i = 0; i < count / 4; ++i) {
    CHECK((chunks[2 * i] = malloc(size)) != NULL);
    fill_noise(chunks[2 * i], size, 2 * i);
  }
  for (size_t i = 1; i < count; i += 2) CHECK(is_noise(chunks[i], size, i));
  for (size_t i = 0; i < count / 4; ++i) CHECK(is_noise(chunks[2 * i], size, 2 * i));
  for (size_t i = 0; i < count; ++i) {
    if (i % 2 != 0 || i / 2 < count / 4) free(chunks[i]);
  }
  return count * size;
}

static void exhaust_often(size_t size) {
  for (int i = 0; i < 3; ++i) {
    size_t had = exhaust(size);
    if (had < memory_limit() / 2) fprintf(stderr, "only %zu KiB of %zu\n", had / KIB, memory_limit() / KIB);
    CHECK(had >= memory_limit() / 2);
  }
}

/* Everybody meets ENOMEM in turn, and nobody is stuck. */
static void* take_and_free(void* seed) {
  uint64_t random = (uintptr_t)seed;
  uint64_t* mine[64] = {NULL};
  unsigned refused = 0;
  for (int i = 0; i < 3000; ++i) {
    unsigned slot = next_random(&random) % 64;
    if (mine[slot] != NULL) CHECK(is_noise(mine[slot], 200 * KIB, slot + (uintptr_t)seed));
    free(mine[slot]);
    mine[slot] = malloc(200 * KIB);
    if (mine[slot] == NULL) {
      CHECK(errno == ENOMEM);
      ++refused;
    } else {
      fill_noise(mine[slot], 200 * KIB, slot + (uintptr_t)seed);
    }
    if (refused % 10 == 9) {
      for (unsigned n = 0; n < 32; ++n) free(mine[n]), mine[n] = NULL;
      refused = 0;
    }
  }
  for (unsigned n = 0; n < 64; ++n) free(mine[n]);
  return NULL;
}

int main(int argc, char** argv) {
  pthread_t threads[4];
  contract_begin(55);
  CHECK(argc == 2);
  if (strcmp(argv[1], "small") == 0) exhaust_often(2000);
  if (strcmp(argv[1], "pages") == 0) exhaust_often(40 * KIB);
  if (strcmp(argv[1], "large") == 0) exhaust_often(3 * MIB);
  if (strcmp(argv[1], "threads") == 0) {
    for (uintptr_t i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, take_and_free, (void*)(i + 1)) == 0);
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
    exhaust_often(40 * KIB);
  }
  if (strcmp(argv[1], "child") == 0) {
    uint64_t* mine = malloc(8 * MIB);
    CHECK(mine != NULL);
    fill_noise(mine, 8 * MIB, 99);
    pid_t child = fork();
    if (child == 0) {
      free(mine);
      exhaust_often(40 * KIB);
      _exit(0);
    }
    expect_success(child);
    CHECK(is_noise(mine, 8 * MIB, 99));
    free(mine);
    exhaust_often(40 * KIB);
  }
  return 0;
}
