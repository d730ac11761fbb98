/* introspection.c: the statistics and tuning functions of glibc can be called and answer plausibly: mallinfo,
 * mallinfo2, malloc_stats, malloc_info (its XML parses), malloc_trim, mallopt; and the functions that programs find
 * only through dlsym: cfree, free_sized, free_aligned_sized. */
#include <malloc.h>

#include "contract.h"

enum { kSmall = 20000, kSmallSize = 500 };
static char* small_objects[kSmall];

/* The bytes in use according to mallinfo2, which glibc splits into heap and mmapped. */
static size_t in_use(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

static void check_mallinfo(void) {
  size_t before = in_use();
  for (unsigned i = 0; i < kSmall; ++i) {
    small_objects[i] = malloc(kSmallSize);
    CHECK(small_objects[i] != NULL);
    memset(small_objects[i], 1, kSmallSize);
  }
  char* large = malloc(64 * MIB);
  CHECK(large != NULL);
  memset(large, 1, 64 * MIB);
  size_t wanted = (size_t)kSmall * kSmallSize + 64 * MIB;
  size_t peak = in_use();
  CHECK(peak >= before + wanted && peak <= before + wanted * 3 / 2);
  struct mallinfo old = mallinfo();
  CHECK(old.uordblks != 0 || old.hblkhd != 0);
  struct mallinfo2 info = mallinfo2();
  CHECK(info.arena + info.hblkhd >= wanted);
  for (unsigned i = 0; i < kSmall; ++i) free(small_objects[i]);
  free(large);
  CHECK(in_use() + 64 * MIB <= peak);
}

static void print_stats(void* unused) {
  (void)unused;
  malloc_stats();
}

/* Whether the text is one well-formed element: tags nest and close, attributes are quoted, nothing stands outside. */
static int parses_as_xml(const char* text) {
  const char* stack[64];
  size_t lengths[64];
  int depth = 0;
  int roots = 0;
  for (const char* at = text; *at != '\0';) {
    if (*at != '<') {
      if (depth == 0 && strchr(" \t\r\n", *at) == NULL) return 0;
      if (*at == '>') return 0;
      ++at;
      continue;
    }
    const char* end = strchr(at, '>');
    if (end == NULL) return 0;
    if (at[1] == '?' || at[1] == '!') {
      at = end + 1;
      continue;
    }
    int closing = at[1] == '/';
    const char* name = at + 1 + closing;
    size_t length = strcspn(name, " \t\r\n/>");
    if (length == 0) return 0;
    int quotes = 0;
    for (const char* in = name; in < end; ++in) quotes += *in == '"';
    if (quotes % 2 != 0) return 0;
    if (closing) {
      if (depth == 0 || lengths[depth - 1] != length || strncmp(stack[depth - 1], name, length) != 0) return 0;
      --depth;
    } else if (end[-1] != '/') {
      if (depth == 64) return 0;
      roots += depth == 0;
      stack[depth] = name;
      lengths[depth++] = length;
    }
    at = end + 1;
  }
  return depth == 0 && roots == 1;
}

static void check_malloc_info(void) {
  char* text = NULL;
  size_t length = 0;
  FILE* stream = open_memstream(&text, &length);
  CHECK(stream != NULL);
  CHECK(malloc_info(0, stream) == 0);
  fclose(stream);
  CHECK(length > 0 && strstr(text, "<malloc") != NULL);
  CHECK(parses_as_xml(text));
  CHECK(!parses_as_xml("<malloc><heap></malloc>"));
  free(text);
  /* Only 0 is a defined option; glibc returns the error and does not set errno alone. */
  stream = fopen("/dev/null", "w");
  CHECK(stream != NULL);
  CHECK(malloc_info(1, stream) == EINVAL);
  fclose(stream);
}

static void check_trim_and_mallopt(void) {
  char* large = malloc(32 * MIB);
  CHECK(large != NULL);
  memset(large, 1, 32 * MIB);
  free(large);
  int trimmed = malloc_trim(0);
  CHECK(trimmed == 0 || trimmed == 1);
  CHECK(resident_bytes(0) < 32 * MIB);
  CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
  CHECK(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
  CHECK(mallopt(M_ARENA_MAX, 2) == 1);
  int unknown = mallopt(12345, 1);
  CHECK(unknown == 0 || unknown == 1);
  char* after = malloc(100);
  CHECK(after != NULL);
  free(after);
}

/* Stored through a void* lvalue, because ISO C has no cast from an object pointer to a function pointer. */
static void check_found_by_dlsym(void) {
  void (*cfree_function)(void*) = NULL;
  void (*sized)(void*, size_t) = NULL;
  void (*aligned_sized)(void*, size_t, size_t) = NULL;
  *(void**)&cfree_function = dlsym(RTLD_DEFAULT, "cfree");
  *(void**)&sized = dlsym(RTLD_DEFAULT, "free_sized");
  *(void**)&aligned_sized = dlsym(RTLD_DEFAULT, "free_aligned_sized");
  /* glibc hides cfree since 2.26 and has the C23 functions only since later: there their absence is allowed. */
  if (allocator_is_weir()) CHECK(cfree_function != NULL && sized != NULL && aligned_sized != NULL);
  for (int i = 0; i < 1000; ++i) {
    if (cfree_function != NULL) cfree_function(malloc(77));
    if (sized != NULL) sized(malloc(78), 78);
    if (aligned_sized != NULL) aligned_sized(aligned_alloc(128, 256), 128, 256);
  }
  if (cfree_function != NULL) cfree_function(NULL);
  if (sized != NULL) sized(NULL, 0);
  if (aligned_sized != NULL) aligned_sized(NULL, 16, 0);
}

int main(void) {
  contract_begin(60);
  check_mallinfo();
  struct ChildResult stats = run_child(print_stats, NULL);
  CHECK(exited_with(stats.status, 0) && stats.length > 10);
  check_malloc_info();
  check_trim_and_mallopt();
  check_found_by_dlsym();
  return 0;
}
