/* basics.c: malloc, calloc, realloc, reallocarray and free do what glibc's do at the edges: size 0, null, overflow,
 * more than PTRDIFF_MAX, errno, alignment 16. */
#include "contract.h"

static void check_zero_size(void) {
  void* first = malloc(0);
  void* second = malloc(0);
  CHECK(first != NULL && second != NULL && first != second);
  free(first);
  free(second);
  void* zeroes = calloc(0, 16);
  CHECK(zeroes != NULL);
  free(zeroes);
  zeroes = calloc(16, 0);
  CHECK(zeroes != NULL);
  free(zeroes);
}

static void check_too_large(void) {
  const size_t sizes[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX - 64};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    size_t size = opaque_size(sizes[i]);
    errno = 0;
    CHECK(malloc(size) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(1, size) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(size, 1) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(realloc(NULL, size) == NULL && errno == ENOMEM);
    char* kept = malloc(100);
    CHECK(kept != NULL);
    fill(kept, 100, 3);
    errno = 0;
    CHECK(realloc(kept, size) == NULL && errno == ENOMEM);
    CHECK(filled(kept, 100, 3));
    free(kept);
  }
}

static void check_overflow(void) {
  const size_t counts[][2] = {
      {SIZE_MAX / 2, 3}, {SIZE_MAX, SIZE_MAX}, {(size_t)1 << 32, (size_t)1 << 32}, {SIZE_MAX, 2}};
  char* kept = malloc(64);
  fill(kept, 64, 5);
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; ++i) {
    size_t count = opaque_size(counts[i][0]);
    size_t size = opaque_size(counts[i][1]);
    errno = 0;
    CHECK(calloc(count, size) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(reallocarray(kept, count, size) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(reallocarray(NULL, count, size) == NULL && errno == ENOMEM);
  }
  CHECK(filled(kept, 64, 5));
  kept = reallocarray(kept, 100, 10);
  CHECK(kept != NULL && filled(kept, 64, 5));
  free(kept);
}

static void check_realloc(void) {
  char* ptr = realloc(NULL, 40);
  CHECK(ptr != NULL);
  fill(ptr, 40, 9);
  ptr = realloc(ptr, 4000);
  CHECK(ptr != NULL && filled(ptr, 40, 9));
  ptr = realloc(ptr, 20);
  CHECK(ptr != NULL && filled(ptr, 20, 9));
  /* As glibc: a freeing realloc returns null; realloc(NULL, 0) is malloc(0). */
  CHECK(realloc(ptr, opaque_size(0)) == NULL);
  ptr = realloc(NULL, opaque_size(0));
  CHECK(ptr != NULL);
  CHECK(reallocarray(ptr, 0, 8) == NULL);
}

/* free must keep errno, whatever the object's size makes it do underneath. */
static void check_free_keeps_errno(void) {
  const size_t sizes[] = {1, 100, 5000, 100 * KIB, 2 * MIB, 64 * MIB};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    char* ptr = malloc(sizes[i]);
    CHECK(ptr != NULL);
    memset(ptr, 1, sizes[i]);
    errno = 4321;
    free(ptr);
    CHECK(errno == 4321);
  }
  errno = 1234;
  free(NULL);
  CHECK(errno == 1234);
}

static void check_alignment(void) {
  for (size_t size = 0; size < 70000; size += size < 2048 ? 1 : 509) {
    char* ptr = malloc(size);
    char* zeroed = calloc(1, size);
    char* resized = realloc(malloc(1), size + 1);
    CHECK(ptr != NULL && (uintptr_t)ptr % 16 == 0);
    CHECK(zeroed != NULL && (uintptr_t)zeroed % 16 == 0 && all_zero(zeroed, size));
    CHECK(resized != NULL && (uintptr_t)resized % 16 == 0);
    memset(ptr, 0xab, size);
    memset(zeroed, 0xcd, size);
    free(resized);
    free(zeroed);
    free(ptr);
  }
}

/* Objects that live at once neither overlap nor change. */
static void check_distinct(void) {
  enum { kCount = 4000 };
  static char* objects[kCount];
  static size_t sizes[kCount];
  uint64_t random = 42;
  for (int round = 0; round < 4; ++round) {
    for (unsigned i = 0; i < kCount; ++i) {
      if (objects[i] != NULL) {
        CHECK(filled(objects[i], sizes[i], i));
        free(objects[i]);
      }
      sizes[i] = random_size(&random) % (64 * KIB);
      objects[i] = malloc(sizes[i]);
      CHECK(objects[i] != NULL);
      fill(objects[i], sizes[i], i);
    }
  }
  for (unsigned i = 0; i < kCount; ++i) {
    CHECK(filled(objects[i], sizes[i], i));
    free(objects[i]);
  }
}

int main(void) {
  contract_begin(60);
  check_zero_size();
  check_too_large();
  check_overflow();
  check_realloc();
  check_free_keeps_errno();
  check_alignment();
  check_distinct();
  return 0;
}
