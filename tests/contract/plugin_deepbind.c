/* plugin_deepbind.c: the plug-in of deepbind.c. Loaded with RTLD_DEEPBIND, its malloc and free would be the C library's
 * own, whatever is preloaded. */
#include "contract.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT char* plugin_make(size_t size, unsigned tag);
EXPORT char* plugin_text(const char* text);
EXPORT char* plugin_aligned(size_t alignment, size_t size);
EXPORT int plugin_check_and_return(void* ptr, size_t size, unsigned tag, void (*release)(void*));
EXPORT void plugin_release_own(void* ptr);

char* plugin_make(size_t size, unsigned tag) {
  char* ptr = malloc(size);
  CHECK(ptr != NULL);
  fill(ptr, size, tag);
  return ptr;
}

char* plugin_text(const char* text) {
  return strdup(text);
}

char* plugin_aligned(size_t alignment, size_t size) {
  void* ptr = NULL;
  CHECK(posix_memalign(&ptr, alignment, size) == 0);
  return ptr;
}

int plugin_check_and_return(void* ptr, size_t size, unsigned tag, void (*release)(void*)) {
  int right = filled(ptr, size, tag);
  release(ptr);
  return right;
}

void plugin_release_own(void* ptr) {
  free(ptr);
}
