/* hints.c: mmap with an address that is no more than a wish, wherever that is, takes nothing from malloc: the heap
 * grows past it, and what was mapped keeps what it holds. */
#include <sys/mman.h>

#include "contract.h"

enum { kBlock = 4 * MIB, kBlocks = 64, kWishes = 8 };

static char* wish_for(char* address) {
  char* p = mmap(address, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED);
  fill(p, MIB, (unsigned)(uintptr_t)p);
  return p;
}

int main(void) {
  contract_begin(60);
  char* blocks[kBlocks];
  char* wishes[kWishes];
  blocks[0] = malloc(kBlock);
  CHECK(blocks[0] != NULL);
  /* Above what is used of the heap so far, nearer and farther. */
  for (size_t i = 0; i < kWishes; ++i) {
    size_t distance = (size_t)(16 * MIB) << i;
    wishes[i] = wish_for((char*)((uintptr_t)blocks[0] & ~(uintptr_t)4095) + distance);
  }
  for (size_t i = 0; i < kBlocks; ++i) {
    if (i != 0) blocks[i] = malloc(kBlock);
    CHECK(blocks[i] != NULL);
    fill(blocks[i], kBlock, (unsigned)i);
  }
  for (size_t i = 0; i < kWishes; ++i) {
    CHECK(filled(wishes[i], MIB, (unsigned)(uintptr_t)wishes[i]));
    CHECK(munmap(wishes[i], MIB) == 0);
  }
  for (size_t i = 0; i < kBlocks; ++i) {
    CHECK(filled(blocks[i], kBlock, (unsigned)i));
    free(blocks[i]);
  }
  return 0;
}
