/* large_realloc.c: realloc of large objects keeps every byte while they grow and shrink between 1 and 512 MiB, alone
 * and with neighbours in the way, from threads at once, and while a forked child still looks at the old content. */
// contract: timeout=180 serial
#include <pthread.h>

#include "contract.h"

/* One word in each 512 bytes tells its place: cheap to verify, and a page that went astray shows. */
static void mark(char* ptr, size_t from, size_t to, uint64_t tag) {
  for (size_t at = (from + 511) / 512 * 512; at + 8 <= to; at += 512) {
    uint64_t word = tag * 0x9e3779b97f4a7c15u + at;
    memcpy(ptr + at, &word, 8);
  }
}

static int marked(const char* ptr, size_t size, uint64_t tag) {
  for (size_t at = 0; at + 8 <= size; at += 512) {
    uint64_t word;
    memcpy(&word, ptr + at, 8);
    if (word != tag * 0x9e3779b97f4a7c15u + at) return 0;
  }
  return 1;
}

static char* resize(char* ptr, size_t old_size, size_t new_size, uint64_t tag) {
  char* moved = realloc(ptr, new_size);
  CHECK(moved != NULL && (uintptr_t)moved % 16 == 0);
  CHECK(marked(moved, old_size < new_size ? old_size : new_size, tag));
  if (new_size > old_size) mark(moved, old_size, new_size, tag);
  return moved;
}

static void check_growth_and_shrinkage(void) {
  size_t size = MIB;
  char* ptr = malloc(size);
  CHECK(ptr != NULL);
  mark(ptr, 0, size, 1);
  while (size < 512 * MIB) {
    size_t next = size * 2 - 12345 % size;
    ptr = resize(ptr, size, next, 1);
    size = next;
  }
  while (size > MIB) {
    size_t next = size / 3 + 777;
    ptr = resize(ptr, size, next, 1);
    size = next;
  }
  ptr = resize(ptr, size, 100, 1);
  free(ptr);
}

/* Small steps with another object placed behind, so that growing in place is impossible half of the time. */
static void check_neighbours(uint64_t tag) {
  size_t size = 3 * MIB;
  char* ptr = malloc(size);
  CHECK(ptr != NULL);
  mark(ptr, 0, size, tag);
  uint64_t random = tag;
  for (int i = 0; i < 60; ++i) {
    size_t next = MIB + next_random(&random) % (24 * MIB);
    void* neighbour = i % 2 == 0 ? malloc(MIB + next_random(&random) % MIB) : NULL;
    ptr = resize(ptr, size, next, tag);
    size = next;
    free(neighbour);
  }
  free(ptr);
}

static void* check_in_thread(void* tag) {
  check_neighbours((uintptr_t)tag);
  return NULL;
}

static void check_under_fork(void) {
  int ready[2];
  char byte = 0;
  size_t size = 32 * MIB;
  char* ptr = malloc(size);
  CHECK(ptr != NULL && pipe(ready) == 0);
  mark(ptr, 0, size, 8);
  pid_t child = fork();
  if (child == 0) {
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(marked(ptr, size, 8));
    ptr = resize(ptr, size, 2 * size, 8);
    free(ptr);
    _exit(0);
  }
  void* wall = malloc(2 * MIB);
  ptr = resize(ptr, size, 3 * size, 8);
  mark(ptr, 0, 3 * size, 9);
  CHECK(write(ready[1], "x", 1) == 1);
  expect_success(child);
  CHECK(marked(ptr, 3 * size, 9));
  free(wall);
  free(ptr);
}

int main(void) {
  pthread_t threads[2];
  contract_begin(170);
  check_growth_and_shrinkage();
  check_neighbours(2);
  for (uintptr_t i = 0; i < 2; ++i) CHECK(pthread_create(&threads[i], NULL, check_in_thread, (void*)(i + 3)) == 0);
  for (int i = 0; i < 2; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  check_under_fork();
  return 0;
}
