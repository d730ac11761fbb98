// Pointers that are not weir's: from before it was loaded, or from a plug-in that is bound to the C library's own
// malloc (RTLD_DEEPBIND). They go to the C library, whose __libc_* names nobody interposes.
#include <string.h>

#include "malloc/process.h"

extern "C" {
void __libc_free(void*);
void* __libc_realloc(void*, size_t);

void weir_foreign_free(void* p) {
  __libc_free(p);
}

void* weir_foreign_realloc(void* p, size_t size) {
  return __libc_realloc(p, size);
}

// The C library has no __libc_ name for this one, and malloc_usable_size is ours. Its chunks keep their size in the
// word before the object, low three bits flags; mmapped chunks (flag 2) end one word earlier (malloc/malloc.c,
// musable).
size_t weir_foreign_usable_size(void* p) {
  size_t head;
  memcpy(&head, static_cast<char*>(p) - sizeof(size_t), sizeof(head));
  const size_t chunk = head & ~size_t{7};
  return chunk - ((head & 2) != 0 ? 2 * sizeof(size_t) : sizeof(size_t));
}
}
