/* secure.c: run by test_setuid.sh as a setuid program: says whether the loader took it for one, and works as always. */
#include <sys/auxv.h>

#include "contract.h"

int main(void) {
  for (size_t i = 1; i < 2000; ++i) {
    char* ptr = malloc(i * 7);
    CHECK(ptr != NULL);
    fill(ptr, i * 7, 1);
    ptr = realloc(ptr, i * 14);
    CHECK(ptr != NULL && filled(ptr, i * 7, 1));
    free(ptr);
  }
  printf("secure=%lu allocator=%s\n", getauxval(AT_SECURE), allocator_file());
  return 0;
}
