/* libc_malloc.c: pointers that came from the C library's own allocator (its __libc_ names stay reachable) go through
 * the program's free, realloc and malloc_usable_size as if nothing were preloaded. */
#include <malloc.h>

#include "contract.h"

extern void* __libc_malloc(size_t size);
extern void* __libc_calloc(size_t count, size_t size);
extern void* __libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void* ptr);

int main(void) {
  const size_t sizes[] = {1, 24, 100, 1000, 5000, 100 * KIB, 300 * KIB, 5 * MIB};
  contract_begin(60);
  for (int round = 0; round < 50; ++round) {
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
      size_t size = sizes[i];
      char* plain = opaque(__libc_malloc(size));
      char* zeroed = opaque(__libc_calloc(1, size));
      char* aligned = opaque(__libc_memalign(4096, size));
      CHECK(plain != NULL && zeroed != NULL && aligned != NULL);
      CHECK(malloc_usable_size(plain) >= size);
      fill(plain, size, 1);
      fill(zeroed, size, 2);
      fill(aligned, size, 3);
      plain = realloc(plain, size * 2);
      CHECK(plain != NULL && filled(plain, size, 1));
      zeroed = realloc(zeroed, size / 2 + 1);
      CHECK(zeroed != NULL && filled(zeroed, size / 2 + 1 < size ? size / 2 + 1 : size, 2));
      CHECK(filled(aligned, size, 3));
      free(plain);
      free(zeroed);
      errno = 99;
      free(aligned);
      CHECK(errno == 99);
      CHECK(realloc(opaque(__libc_malloc(size)), opaque_size(0)) == NULL);
      __libc_free(__libc_malloc(size));
    }
  }
  return 0;
}
