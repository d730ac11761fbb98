/* usable_size.c: malloc_usable_size is at least the size asked for, all of it may be written, and it stays the same
 * over the object's life, whatever happens around it and whichever thread asks. */
#include <malloc.h>
#include <pthread.h>

#include "contract.h"

enum { kCount = 3000 };
static char* objects[kCount];
static size_t usable[kCount];

static void* look_again(void* unused) {
  for (unsigned i = 0; i < kCount; ++i) CHECK(malloc_usable_size(objects[i]) == usable[i]);
  return unused;
}

int main(void) {
  pthread_t thread;
  uint64_t random = 7;
  contract_begin(60);
  CHECK(malloc_usable_size(NULL) == 0);
  for (unsigned i = 0; i < kCount; ++i) {
    size_t size = random_size(&random);
    objects[i] = i % 5 == 0 ? memalign(256, size) : malloc(size);
    CHECK(objects[i] != NULL);
    usable[i] = malloc_usable_size(objects[i]);
    CHECK(usable[i] >= size);
    fill(objects[i], usable[i], i);
  }
  CHECK(pthread_create(&thread, NULL, look_again, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  for (unsigned i = 0; i < kCount; i += 2) free(objects[i]);
  for (unsigned i = 1; i < kCount; i += 2) {
    CHECK(malloc_usable_size(objects[i]) == usable[i] && filled(objects[i], usable[i], i));
    /* Growing within the usable size must keep every byte of it. */
    objects[i] = realloc(objects[i], usable[i]);
    CHECK(objects[i] != NULL && filled(objects[i], usable[i], i));
    free(objects[i]);
  }
  return 0;
}
