/* large_part.c: allocations of more than half of a small limit, which kswapd must make room for at once: what
 * compresses goes, and noise does not, without a file; then malloc says so, and does not wait for ever. */
// limit: cases=room,noise conf=limit=6M,swap=none timeout=60 weir
#include "limit.h"

enum { kChunk = 16 * KIB, kMostChunks = 256 };
static uint64_t* chunks[kMostChunks];

/* Words of even pages compress, those of odd ones are noise (limit.h). */
static uint64_t word(unsigned chunk, size_t i, int noise) {
  return word_of(chunk, 1, i % kWordsPerPage + (noise ? kWordsPerPage : 0)) + i / kWordsPerPage;
}

static void hold(size_t bytes, int noise) {
  for (unsigned n = 0; n < bytes / kChunk; ++n) {
    CHECK((chunks[n] = malloc(kChunk)) != NULL);
    for (size_t i = 0; i < kChunk / 8; ++i) chunks[n][i] = word(n, i, noise);
  }
}

static void let_go(size_t bytes, int noise) {
  for (unsigned n = 0; n < bytes / kChunk; ++n) {
    for (size_t i = 0; i < kChunk / 8; ++i) CHECK(chunks[n][i] == word(n, i, noise));
    free(chunks[n]);
  }
}

int main(int argc, char** argv) {
  contract_begin(55);
  CHECK(argc == 2);
  const int noise = strcmp(argv[1], "noise") == 0;
  unsigned got = 0, refused = 0;
  for (size_t held = MIB; held <= 3 * MIB; held += MIB / 2) {
    for (size_t size = 5 * MIB / 2; size < 4 * MIB; size += 300 * KIB) {
      hold(held, noise);
      errno = 0;
      char* large = malloc(size);
      if (large != NULL) memset(large, 1, size);
      CHECK(large != NULL || errno == ENOMEM);
      if (large == NULL)
        ++refused;
      else
        ++got;
      expect_within_limit(0);
      let_go(held, noise);
      free(large);
    }
  }
  CHECK(got > 0 && (noise ? refused > 0 : refused == 0));
  return 0;
}
