/* early.c: memory is there before main: in .preinit_array and in the earliest constructor; what was made there is
 * resized and freed later, and memory still works in the latest destructor. */
#include "contract.h"

static char* from_preinit;
static char* from_constructor;

static void preinit(void) {
  from_preinit = malloc(5000);
  if (from_preinit != NULL) fill(from_preinit, 5000, 2);
  free(malloc(2 * MIB));
}

__attribute__((section(".preinit_array"), used)) static void (*const preinit_entry)(void) = preinit;

__attribute__((constructor(101))) static void construct_early(void) {
  from_constructor = calloc(10, 1000);
  if (from_constructor != NULL) fill(from_constructor, 10000, 3);
  from_preinit = realloc(from_preinit, 50000);
}

__attribute__((destructor(101))) static void destruct_late(void) {
  char* ptr = malloc(100);
  CHECK(ptr != NULL);
  fill(ptr, 100, 4);
  ptr = realloc(ptr, 100000);
  CHECK(ptr != NULL && filled(ptr, 100, 4));
  free(ptr);
  free(from_constructor);
}

int main(void) {
  contract_begin(60);
  CHECK(from_preinit != NULL && filled(from_preinit, 5000, 2));
  CHECK(from_constructor != NULL && filled(from_constructor, 10000, 3));
  free(from_preinit);
  return 0;
}
