/* tight.c: a working set ten times the limit is slow, never wrong, never stuck, also in threads and in a child. */
// limit: cases=tenth,tenth_threads conf=limit=8M,swap=DIR,swap_size=1G timeout=120
#include <pthread.h>

#include "limit.h"

static struct Dataset data;

static void* visit(void* seed) {
  uint64_t random = (uintptr_t)seed;
  for (int i = 0; i < 2000; ++i) check_block(&data, next_random(&random) % data.count);
  return NULL;
}

int main(int argc, char** argv) {
  pthread_t threads[4];
  contract_begin(110);
  CHECK(argc == 2);
  size_t bytes = memory_limit() != 0 ? 10 * memory_limit() : 80 * MIB;
  make_data(&data, bytes);
  if (memory_limit() != 0) CHECK(data_away(&data) >= bytes - bytes / 5);
  check_data(&data);
  expect_within_limit(0);
  if (strcmp(argv[1], "tenth_threads") == 0) {
    for (uintptr_t i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, visit, (void*)(i + 1)) == 0);
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  } else {
    visit((void*)9);
    rewrite_data(&data, 2);
  }
  expect_within_limit(0);
  pid_t child = fork();
  if (child == 0) {
    visit((void*)10);
    _exit(0);
  }
  check_data(&data);
  expect_success(child);
  free_data(&data);
  make_data(&data, memory_limit() != 0 ? memory_limit() / 2 : 4 * MIB);
  check_data(&data);
  return 0;
}
