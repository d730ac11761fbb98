/* calloc_zero.c: calloc's memory is zero even where the memory was just dirtied and freed, at every size, in every
 * thread's cache, and where realloc grew over it. */
#include <pthread.h>

#include "contract.h"

static void dirty(size_t size, int count) {
  char* objects[64];
  for (int i = 0; i < count; ++i) {
    objects[i] = malloc(size);
    CHECK(objects[i] != NULL);
    memset(objects[i], 0xff, size);
  }
  for (int i = 0; i < count; ++i) free(objects[i]);
}

static void check_size(size_t size) {
  int count = size < 64 * KIB ? 64 : 3;
  char* objects[64];
  dirty(size, count);
  for (int i = 0; i < count; ++i) {
    objects[i] = calloc(1, size);
    CHECK(objects[i] != NULL && all_zero(objects[i], size));
  }
  for (int i = 0; i < count; ++i) {
    memset(objects[i], 0x55, size);
    free(objects[i]);
  }
}

static void* check_sizes(void* unused) {
  for (size_t size = 1; size < 64 * KIB; size += 1 + size / 5) check_size(size);
  for (size_t size = 64 * KIB; size <= 8 * MIB; size = size * 3 / 2 + 4097) check_size(size);
  return unused;
}

int main(void) {
  pthread_t threads[2];
  contract_begin(60);
  check_sizes(NULL);
  for (int i = 0; i < 2; ++i) CHECK(pthread_create(&threads[i], NULL, check_sizes, NULL) == 0);
  for (int i = 0; i < 2; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  return 0;
}
