/* cross_thread.c: objects outlive the thread that made them and are freed or resized by others; many frees from afar
 * neither lose nor leak memory. */
// contract: timeout=120
#include <malloc.h>
#include <pthread.h>

#include "contract.h"

enum { kObjects = 20000, kRounds = 30, kRing = 256, kPasses = 200000 };

struct Batch {
  char* objects[kObjects];
  unsigned tag;
};

static void* make_objects(void* argument) {
  struct Batch* batch = argument;
  uint64_t random = batch->tag;
  for (unsigned i = 0; i < kObjects; ++i) {
    batch->objects[i] = malloc(64 + next_random(&random) % 400);
    CHECK(batch->objects[i] != NULL);
    fill(batch->objects[i], 64, batch->tag + i);
  }
  return NULL;
}

static void* free_objects(void* argument) {
  struct Batch* batch = argument;
  for (unsigned i = 0; i < kObjects; ++i) {
    CHECK(filled(batch->objects[i], 64, batch->tag + i));
    if (i % 10 == 0) {
      batch->objects[i] = realloc(batch->objects[i], 700);
      CHECK(batch->objects[i] != NULL && filled(batch->objects[i], 64, batch->tag + i));
    }
    free(batch->objects[i]);
  }
  return NULL;
}

/* Makers exit before their objects are freed, by another thread that then exits too: memory must stay level. */
static void check_dead_makers(void) {
  static struct Batch batch;
  size_t after_warm_up = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    pthread_t thread;
    batch.tag = round + 1;
    CHECK(pthread_create(&thread, NULL, make_objects, &batch) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, free_objects, &batch) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    if (round == 4) after_warm_up = resident_bytes(0);
  }
  /* One round makes 5 MiB; losing a quarter of each of the 25 rounds that followed would show. */
  CHECK(resident_bytes(0) < after_warm_up + 32 * MIB);
}

static char* ring[kRing];

static void* produce(void* unused) {
  uint64_t random = 5;
  for (unsigned i = 0; i < kPasses; ++i) {
    size_t size = 16 + next_random(&random) % 1000;
    char* object = malloc(size);
    CHECK(object != NULL);
    fill(object, 16, i);
    while (__atomic_load_n(&ring[i % kRing], __ATOMIC_ACQUIRE) != NULL) sched_yield();
    __atomic_store_n(&ring[i % kRing], object, __ATOMIC_RELEASE);
  }
  return unused;
}

static void* consume(void* unused) {
  for (unsigned i = 0; i < kPasses; ++i) {
    char* object;
    while ((object = __atomic_load_n(&ring[i % kRing], __ATOMIC_ACQUIRE)) == NULL) sched_yield();
    __atomic_store_n(&ring[i % kRing], NULL, __ATOMIC_RELEASE);
    CHECK(filled(object, 16, i));
    free(object);
  }
  return unused;
}

int main(void) {
  pthread_t producer;
  pthread_t consumer;
  contract_begin(120);
  check_dead_makers();
  size_t before = resident_bytes(0);
  CHECK(pthread_create(&producer, NULL, produce, NULL) == 0);
  CHECK(pthread_create(&consumer, NULL, consume, NULL) == 0);
  CHECK(pthread_join(producer, NULL) == 0);
  CHECK(pthread_join(consumer, NULL) == 0);
  /* 100 MiB went through a ring of 256 objects. */
  CHECK(resident_bytes(0) < before + 48 * MIB);
  return 0;
}
