// The malloc family with glibc's semantics: one-line forwarders to malloc/process.h. Argument rules of the C interface
// are here and nowhere else.
#include <errno.h>
#include <stdint.h>

#include "malloc/process.h"

#define WEIR_EXPORT extern "C" __attribute__((visibility("default")))

using weir::is_power_of_two;
using weir::kPageSize;

namespace {

// glibc's memalign rounds an alignment that is not a power of two up to one; 0 when that cannot be represented.
size_t round_up_to_power_of_two(size_t alignment) {
  if (alignment <= 1) return 1;
  if (alignment > SIZE_MAX / 2 + 1) return 0;
  return size_t{1} << (64 - __builtin_clzl(alignment - 1));
}

void* fail(int error) {
  errno = error;
  return nullptr;
}

}  // namespace

WEIR_EXPORT void* malloc(size_t size) {
  return weir::process_malloc(size);
}

WEIR_EXPORT void free(void* p) {
  weir::process_free(p);
}

WEIR_EXPORT void cfree(void* p) {
  weir::process_free(p);
}

WEIR_EXPORT void free_sized(void* p, size_t) {
  weir::process_free(p);
}

WEIR_EXPORT void free_aligned_sized(void* p, size_t, size_t) {
  weir::process_free(p);
}

WEIR_EXPORT void* calloc(size_t count, size_t size) {
  return weir::process_calloc(count, size);
}

WEIR_EXPORT void* realloc(void* p, size_t size) {
  return weir::process_realloc(p, size);
}

WEIR_EXPORT void* reallocarray(void* p, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return fail(ENOMEM);
  return weir::process_realloc(p, bytes);
}

WEIR_EXPORT void* memalign(size_t alignment, size_t size) {
  const size_t rounded = round_up_to_power_of_two(alignment);
  return rounded == 0 ? fail(EINVAL) : weir::process_memalign(rounded, size);
}

WEIR_EXPORT void* aligned_alloc(size_t alignment, size_t size) {
  return memalign(alignment, size);
}

WEIR_EXPORT int posix_memalign(void** out, size_t alignment, size_t size) {
  if (!is_power_of_two(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
  const int saved_errno = errno;
  void* p = weir::process_memalign(alignment, size);
  errno = saved_errno;
  if (p == nullptr) return ENOMEM;
  *out = p;
  return 0;
}

WEIR_EXPORT void* valloc(size_t size) {
  return weir::process_memalign(kPageSize, size);
}

WEIR_EXPORT void* pvalloc(size_t size) {
  size_t rounded;
  if (__builtin_add_overflow(size, kPageSize - 1, &rounded)) return fail(ENOMEM);
  return weir::process_memalign(kPageSize, weir::align_down(rounded, kPageSize));
}

WEIR_EXPORT size_t malloc_usable_size(void* p) {
  return weir::process_usable_size(p);
}
