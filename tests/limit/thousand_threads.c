/* thousand_threads.c: 1,000 threads that each use random parts of memory twice as large as the limit, at the same time
 * and in turns, and fork meanwhile. */
// limit: timeout=120 full
#include <pthread.h>

#include "limit.h"

enum { kThreads = 1000 };
static struct Dataset data;
static pthread_t threads[kThreads];

static void* use_parts(void* seed) {
  uint64_t random = (uintptr_t)seed * 7919;
  for (int i = 0; i < 8; ++i) {
    check_block(&data, next_random(&random) % data.count);
    size_t count = 1 + next_random(&random) % 4000;
    uint64_t* mine = malloc(count * 8);
    CHECK(mine != NULL);
    for (size_t n = 0; n < count; ++n) mine[n] = word_of((uint32_t)(uintptr_t)seed, 1, n);
    check_block(&data, next_random(&random) % data.count);
    for (size_t n = 0; n < count; ++n) CHECK(mine[n] == word_of((uint32_t)(uintptr_t)seed, 1, n));
    free(mine);
  }
  return NULL;
}

int main(void) {
  pthread_attr_t attributes;
  contract_begin(110);
  make_twice_the_limit(&data);
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstacksize(&attributes, 128 * KIB) == 0);
  for (uintptr_t i = 0; i < kThreads; ++i)
    CHECK(pthread_create(&threads[i], &attributes, use_parts, (void*)(i + 1)) == 0);
  pid_t child = fork();
  if (child == 0) {
    check_data(&data);
    _exit(0);
  }
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  expect_success(child);
  check_data(&data);
  /* Stacks that were used, which glibc keeps for other threads, and the caches of weir: some 40 KiB for a thread. */
  expect_within_limit(kThreads * 48 * KIB);
  return 0;
}
