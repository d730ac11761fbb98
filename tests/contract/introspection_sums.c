/* introspection_sums.c: what mallinfo2, malloc_stats and malloc_info say adds up, the three agree with each other, and
 * they follow what the program does. */
#include <malloc.h>

#include "contract.h"

enum { kObjects = 4000, kObjectSize = 3000, kTextRoom = 1 << 20 };
static char* objects[kObjects];
static char text[kTextRoom];

/* The first number behind `key`, from `at` on. */
static size_t number_behind(const char* at, const char* key) {
  const char* found = strstr(at, key);
  CHECK(found != NULL);
  return (size_t)strtoull(found + strlen(key), NULL, 10);
}

/* What malloc_stats writes; nothing here allocates. */
static const char* stats_text(void) {
  int ends[2];
  int kept = dup(STDERR_FILENO);
  CHECK(kept >= 0 && pipe(ends) == 0 && dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
  malloc_stats();
  fflush(stderr);
  CHECK(dup2(kept, STDERR_FILENO) == STDERR_FILENO);
  close(kept);
  close(ends[1]);
  size_t length = 0;
  for (ssize_t got; (got = read(ends[0], text + length, kTextRoom - 1 - length)) > 0;) length += (size_t)got;
  close(ends[0]);
  text[length] = '\0';
  return text;
}

/* What malloc_info writes, by way of a buffer that is there already. */
static const char* info_text(void) {
  memset(text, 0, sizeof text);
  FILE* stream = fmemopen(text, sizeof text, "w");
  CHECK(stream != NULL && malloc_info(0, stream) == 0 && fclose(stream) == 0);
  return text;
}

static size_t in_use(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

static void check_mallinfo_adds_up(void) {
  struct mallinfo2 info = mallinfo2();
  CHECK(info.arena == info.uordblks + info.fordblks);
  CHECK(info.keepcost <= info.fordblks);
  CHECK(info.ordblks > 0 || info.fordblks == 0);
  struct mallinfo old = mallinfo();
  CHECK((size_t)old.arena == info.arena && (size_t)old.uordblks == info.uordblks);
  CHECK((size_t)old.ordblks == info.ordblks && (size_t)old.keepcost == info.keepcost);
}

static void check_stats_agree(void) {
  struct mallinfo2 info = mallinfo2();
  const char* all = strstr(stats_text(), "Total (incl. mmap):\n");
  CHECK(strncmp(text, "Arena 0:\nsystem bytes     = ", 28) == 0 && all != NULL);
  CHECK(number_behind(text, "in use bytes     = ") + info.hblkhd == number_behind(all, "in use bytes     = "));
  CHECK(number_behind(all, "in use bytes     = ") == info.uordblks + info.hblkhd);
  CHECK(number_behind(all, "system bytes     = ") == info.arena + info.hblkhd);
  CHECK(strstr(all, "\nmax mmap regions = ") != NULL && strstr(all, "\nmax mmap bytes   = ") != NULL);
}

/* Of a heap: its chunks by size are its free chunks; 0 where it names none although it has some (glibc leaves the top
 * out). Returns their bytes. */
static size_t sum_of_sizes(const char* heap, size_t* count) {
  size_t bytes = 0;
  const char* end = strstr(heap, "</sizes>");
  CHECK(end != NULL);
  *count = 0;
  for (const char* at = heap; (at = strstr(at, "<size from=\"")) != NULL && at < end; ++at) {
    size_t least = number_behind(at, "from=\"");
    size_t most = number_behind(at, "to=\"");
    size_t total = number_behind(at, "total=\"");
    size_t chunks = number_behind(at, "count=\"");
    CHECK(least <= most && total >= least * chunks && total <= most * chunks);
    bytes += total;
    *count += chunks;
  }
  return bytes;
}

static void check_info_agrees(void) {
  const char* info = info_text();
  const char* sums = strstr(info, "</heap>\n<total type=\"fast\"");
  CHECK(sums != NULL);
  struct mallinfo2 now = mallinfo2();
  CHECK(number_behind(sums, "<system type=\"current\" size=\"") <= now.arena);
  size_t rest = number_behind(strstr(sums, "type=\"rest\""), "size=\"");
  CHECK(rest <= number_behind(sums, "<system type=\"current\" size=\""));
  CHECK(number_behind(sums, "<system type=\"max\" size=\"") >= number_behind(sums, "<system type=\"current\" size=\""));
  if (!allocator_is_weir()) return;
  size_t bytes = 0;
  size_t count = 0;
  for (const char* heap = info; (heap = strstr(heap, "<heap nr=\"")) != NULL; ++heap) {
    size_t here = 0;
    bytes += sum_of_sizes(heap, &here);
    count += here;
  }
  CHECK(count == number_behind(strstr(sums, "type=\"rest\""), "count=\""));
  CHECK(bytes == rest);
}

/* Half of the objects are freed: that much more is free, and in pieces. */
static void check_follows(void) {
  const size_t wanted = (size_t)kObjects * kObjectSize;
  const size_t before = in_use();
  for (unsigned i = 0; i < kObjects; ++i) {
    objects[i] = malloc(kObjectSize);
    CHECK(objects[i] != NULL);
    objects[i][0] = 1;
  }
  const size_t full = in_use();
  CHECK(full - before >= wanted && full - before <= wanted * 5 / 4);
  const size_t chunks = mallinfo2().ordblks;
  for (unsigned i = 0; i < kObjects; i += 2) free(objects[i]);
  /* A cache may hold some of them; what it holds counts as in use. */
  const size_t half = in_use();
  CHECK(full - half >= wanted / 2 * 9 / 10 && full - half <= wanted / 2 * 5 / 4);
  CHECK(mallinfo2().ordblks >= chunks + kObjects / 2 * 9 / 10);
  check_mallinfo_adds_up();
  check_stats_agree();
  check_info_agrees();
  for (unsigned i = 1; i < kObjects; i += 2) free(objects[i]);
}

int main(void) {
  contract_begin(60);
  free(malloc(100));
  check_mallinfo_adds_up();
  check_stats_agree();
  check_info_agrees();
  check_follows();
  check_mallinfo_adds_up();
  return 0;
}
