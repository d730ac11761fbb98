/* aligned.c: posix_memalign, aligned_alloc, memalign, valloc and pvalloc give what was asked for, fail as glibc's do,
 * and what they give is an ordinary object for free, realloc and malloc_usable_size. */
#include <malloc.h>

#include "contract.h"

/* A macro, so that a failure names the line that asked. */
#define use(ptr, alignment, size)                                                   \
  do {                                                                              \
    if (!usable(ptr, alignment, size)) contract_fail(__FILE__, __LINE__, "usable"); \
  } while (0)

static int usable(void* ptr, size_t alignment, size_t size) {
  if (!(ptr != NULL && (uintptr_t)ptr % alignment == 0 && (uintptr_t)ptr % 16 == 0)) return 0;
  if (malloc_usable_size(ptr) < size) return 0;
  fill(ptr, size, 17);
  return filled(ptr, size, 17);
}

static void check_powers_of_two(void) {
  for (size_t alignment = 8; alignment <= 16 * MIB; alignment *= 2) {
    const size_t sizes[] = {0, 1, 15, 100, 4096, 5000, 70000, 300000, 3 * MIB};
    void* objects[27];
    size_t count = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
      CHECK(posix_memalign(&objects[count], alignment, sizes[i]) == 0);
      use(objects[count++], alignment, sizes[i]);
      use(objects[count++] = memalign(alignment, sizes[i]), alignment, sizes[i]);
      use(objects[count++] = aligned_alloc(alignment, sizes[i]), alignment, sizes[i]);
    }
    for (size_t i = 0; i < count; ++i) {
      size_t size = sizes[i / 3];
      CHECK(filled(objects[i], size, 17));
      if (i % 2 == 0) {
        objects[i] = realloc(objects[i], size + 1000);
        CHECK(objects[i] != NULL && filled(objects[i], size, 17));
      }
      free(objects[i]);
    }
  }
}

/* Neither the pointer nor errno may change when posix_memalign fails. */
static void check_posix_memalign_fails(void) {
  const size_t alignments[] = {0, 1, 2, 4, 7, 24, 48, 100, 4097};
  void* ptr = (void*)0x1234;
  errno = 77;
  for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; ++i) {
    CHECK(posix_memalign(&ptr, opaque_size(alignments[i]), 64) == EINVAL);
    CHECK(ptr == (void*)0x1234);
  }
  CHECK(errno == 77);
  CHECK(posix_memalign(&ptr, 64, opaque_size(SIZE_MAX - 10)) == ENOMEM && ptr == (void*)0x1234);
  CHECK(posix_memalign(&ptr, 4096, opaque_size((size_t)PTRDIFF_MAX + 1)) == ENOMEM && ptr == (void*)0x1234);
  CHECK(posix_memalign(&ptr, opaque_size((size_t)1 << 62), 64) == ENOMEM && ptr == (void*)0x1234);
}

/* glibc rounds memalign's alignment up to a power of two; beyond half the address space it is EINVAL. */
static void check_memalign_rounds(void) {
  const size_t alignments[][2] = {{0, 16}, {1, 16}, {3, 16}, {17, 32}, {24, 32}, {48, 64}, {100, 128}, {5000, 8192}};
  for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; ++i) {
    void* objects[8];
    for (int j = 0; j < 8; ++j) use(objects[j] = memalign(opaque_size(alignments[i][0]), 72), alignments[i][1], 72);
    for (int j = 0; j < 8; ++j) free(objects[j]);
  }
  errno = 0;
  CHECK(memalign(opaque_size(SIZE_MAX), 64) == NULL && errno == EINVAL);
  errno = 0;
  CHECK(memalign(64, opaque_size(SIZE_MAX - 10)) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(aligned_alloc(64, opaque_size((size_t)PTRDIFF_MAX + 1)) == NULL && errno == ENOMEM);
  /* glibc before 2.38 rounds here too, later ones refuse: both are kept, memory of a lesser alignment is not. */
  errno = 0;
  void* odd = aligned_alloc(opaque_size(48), 72);
  CHECK(odd != NULL ? (uintptr_t)odd % 64 == 0 : errno == EINVAL);
  free(odd);
}

static void check_page_functions(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t sizes[] = {0, 1, page - 1, page, page + 1, 5 * page + 3};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    void* ptr = valloc(sizes[i]);
    use(ptr, page, sizes[i]);
    free(ptr);
    ptr = pvalloc(sizes[i]);
    /* pvalloc rounds the size up to whole pages, all of which belong to the caller. */
    size_t rounded = (sizes[i] + page - 1) / page * page;
    use(ptr, page, rounded);
    free(ptr);
  }
  errno = 0;
  CHECK(pvalloc(opaque_size(SIZE_MAX - 100)) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(valloc(opaque_size(SIZE_MAX - 100)) == NULL && errno == ENOMEM);
}

int main(void) {
  contract_begin(60);
  check_powers_of_two();
  check_posix_memalign_fails();
  check_memalign_rounds();
  check_page_functions();
  return 0;
}
