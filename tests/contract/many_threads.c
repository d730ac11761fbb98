/* many_threads.c: a thousand threads at once, each with live objects, that all exit; again and again without growth. */
// contract: timeout=180
#include <pthread.h>

#include "contract.h"

enum { kThreads = 1000, kObjects = 60, kRounds = 4 };
static char* objects[kThreads][kObjects];
static pthread_barrier_t all_alive;

static void* live(void* argument) {
  uintptr_t self = (uintptr_t)argument;
  for (size_t i = 0; i < kObjects; ++i) {
    objects[self][i] = malloc(16 + i * 10);
    CHECK(objects[self][i] != NULL);
    fill(objects[self][i], 16 + i * 10, (unsigned)self);
  }
  pthread_barrier_wait(&all_alive);
  /* Frees half of a neighbour's objects; the rest outlives every thread. */
  uintptr_t other = (self + 1) % kThreads;
  for (size_t i = 0; i < kObjects; i += 2) {
    CHECK(filled(objects[other][i], 16 + i * 10, (unsigned)other));
    free(objects[other][i]);
  }
  return NULL;
}

static void run_round(void) {
  static pthread_t threads[kThreads];
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstacksize(&attributes, 64 * KIB) == 0);
  CHECK(pthread_barrier_init(&all_alive, NULL, kThreads) == 0);
  for (uintptr_t i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], &attributes, live, (void*)i) == 0);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  for (unsigned i = 0; i < kThreads; ++i) {
    for (size_t j = 1; j < kObjects; j += 2) {
      CHECK(filled(objects[i][j], 16 + j * 10, i));
      free(objects[i][j]);
    }
  }
  pthread_barrier_destroy(&all_alive);
  pthread_attr_destroy(&attributes);
}

int main(void) {
  size_t after_first = 0;
  contract_begin(170);
  for (int round = 0; round < kRounds; ++round) {
    run_round();
    if (round == 0) after_first = resident_bytes(0);
  }
  /* A thread's cache that is not given back would add 20 MiB a round. */
  CHECK(resident_bytes(0) < after_first + 32 * MIB);
  return 0;
}
