/* own_caches.c: what weir keeps for later of freed objects, in the thread's cache and in the depots, is there when
 * memory is short: a program gets as much in large pieces after it has used small ones of all sizes as before. */
// limit: conf=limit=32M,swap=none timeout=60 weir
#include "limit.h"

enum { kMost = 4096, kPiece = 64 * 1024 };
static uint64_t* pieces[kMost];

/* Noise in pieces until there is no more; returns how many there were. */
static size_t take_all(void) {
  size_t count = 0;
  for (; count < kMost && (pieces[count] = malloc(kPiece)) != NULL; ++count)
    for (size_t i = 0; i < kPiece / 8; ++i) pieces[count][i] = word_of((uint32_t)count, 1, kWordsPerPage + i % 512) + i;
  CHECK(count < kMost && errno == ENOMEM);
  for (size_t i = 0; i < count; ++i) free(pieces[i]);
  return count;
}

int main(void) {
  contract_begin(55);
  size_t before = take_all();
  CHECK(before * kPiece >= memory_limit() / 2);
  for (size_t size = 16; size <= 16 * KIB; size += size < 1024 ? 16 : size / 8) {
    static void* objects[20000];
    size_t count = 0;
    for (; count < 20000 && count * size < 2 * MIB; ++count) {
      CHECK((objects[count] = malloc(size)) != NULL);
      memset(objects[count], 1, size);
    }
    for (size_t i = 0; i < count; ++i) free(objects[i]);
  }
  size_t after = take_all();
  if (after * 100 < before * 97) fprintf(stderr, "%zu pieces before, %zu after\n", before, after);
  CHECK(after * 100 >= before * 97);
  return 0;
}
