/* huge.c: an object of 64 GiB, touched here and there, works where the address space does, costs what was touched, and
 * its memory is gone after free. */
// contract: serial
#include "contract.h"

enum { kTouches = 64 };

int main(void) {
  size_t size = opaque_size(64 * GIB);
  size_t before = resident_bytes(0);
  contract_begin(60);
  char* ptr = malloc(size);
  if (ptr == NULL && !allocator_is_weir()) {
    puts("skipped: the kernel's overcommit policy refuses 64 GiB to the C library's malloc here");
    return kSkip;
  }
  CHECK(ptr != NULL);
  for (size_t i = 0; i < kTouches; ++i) ptr[i * (size / kTouches) + i] = (char)(i + 1);
  ptr[size - 1] = 'e';
  for (size_t i = 0; i < kTouches; ++i) CHECK(ptr[i * (size / kTouches) + i] == (char)(i + 1));
  CHECK(ptr[size - 1] == 'e');
  /* Even if each touch brought a huge page of 2 MiB. */
  size_t cost = resident_bytes(0) - before;
  printf("touched in %d places: %zu MiB resident\n", kTouches + 1, cost / MIB);
  CHECK(cost < (kTouches + 8) * 2 * MIB);
  char* grown = realloc(ptr, size + 4 * GIB);
  if (grown != NULL) ptr = grown;
  for (size_t i = 0; i < kTouches; ++i) CHECK(ptr[i * (size / kTouches) + i] == (char)(i + 1));
  free(ptr);
  char* zeroed = calloc(1, size);
  CHECK(zeroed != NULL || !allocator_is_weir());
  if (zeroed != NULL) {
    for (size_t i = 0; i < kTouches; ++i) CHECK(zeroed[i * (size / kTouches) + i] == 0);
  }
  free(zeroed);
  return 0;
}
