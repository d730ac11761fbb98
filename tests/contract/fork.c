/* fork.c: a process whose threads allocate all the time may fork at any moment: the child sees the parent's objects,
 * may allocate, free, start threads, fork again and exit. A hang ends by the alarm. */
// contract: timeout=120
#include <pthread.h>

#include "contract.h"

enum { kThreads = 3, kForks = 150, kShared = 500, kSlots = 200 };
static volatile int stop;
static char* shared[kShared];
static size_t shared_size[kShared];

static void churn(uint64_t* random, char** slots, size_t* sizes, int operations) {
  for (int i = 0; i < operations; ++i) {
    unsigned slot = next_random(random) % kSlots;
    if (slots[slot] != NULL && next_random(random) % 4 == 0) {
      size_t size = random_size(random);
      char* moved = realloc(slots[slot], size + 1);
      CHECK(moved != NULL);
      CHECK(filled(moved, sizes[slot] < size ? sizes[slot] : size, slot));
      slots[slot] = moved;
      sizes[slot] = size;
    } else {
      if (slots[slot] != NULL) CHECK(filled(slots[slot], sizes[slot], slot));
      free(slots[slot]);
      sizes[slot] = random_size(random);
      slots[slot] = malloc(sizes[slot]);
      CHECK(slots[slot] != NULL);
    }
    fill(slots[slot], sizes[slot], slot);
  }
}

static void release(char** slots, const size_t* sizes) {
  for (unsigned i = 0; i < kSlots; ++i) {
    if (slots[i] != NULL) CHECK(filled(slots[i], sizes[i], i));
    free(slots[i]);
    slots[i] = NULL;
  }
}

static void* allocate_until_stop(void* seed) {
  char* slots[kSlots] = {NULL};
  size_t sizes[kSlots] = {0};
  uint64_t random = (uintptr_t)seed;
  while (!stop) churn(&random, slots, sizes, 50);
  release(slots, sizes);
  return NULL;
}

static void* allocate_some(void* seed) {
  char* slots[kSlots] = {NULL};
  size_t sizes[kSlots] = {0};
  uint64_t random = (uintptr_t)seed;
  churn(&random, slots, sizes, 300);
  release(slots, sizes);
  return NULL;
}

static void live_as_child(int number) {
  pthread_t thread;
  end_if_hung(30);
  for (unsigned i = 0; i < kShared; ++i) CHECK(filled(shared[i], shared_size[i], i));
  for (unsigned i = 0; i < kShared; i += 2) free(shared[i]);
  allocate_some((void*)(uintptr_t)(number + 1000));
  if (number % 5 == 0) {
    CHECK(pthread_create(&thread, NULL, allocate_some, (void*)(uintptr_t)(number + 2000)) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  if (number % 10 == 0) {
    pid_t grandchild = fork();
    if (grandchild == 0) {
      for (unsigned i = 1; i < kShared; i += 2) CHECK(filled(shared[i], shared_size[i], i));
      allocate_some((void*)(uintptr_t)(number + 3000));
      exit(0);
    }
    expect_success(grandchild);
  }
  for (unsigned i = 1; i < kShared; i += 2) free(shared[i]);
  if (number % 2 == 0) exit(0);
  _exit(0);
}

int main(void) {
  pthread_t threads[kThreads];
  uint64_t random = 99;
  contract_begin(100);
  for (unsigned i = 0; i < kShared; ++i) {
    shared_size[i] = random_size(&random);
    shared[i] = malloc(shared_size[i]);
    CHECK(shared[i] != NULL);
    fill(shared[i], shared_size[i], i);
  }
  for (uintptr_t i = 0; i < kThreads; ++i) {
    CHECK(pthread_create(&threads[i], NULL, allocate_until_stop, (void*)(i + 1)) == 0);
  }
  for (int i = 0; i < kForks; ++i) {
    pid_t child = fork();
    if (child == 0) live_as_child(i);
    if (i % 3 == 0) allocate_some((void*)(uintptr_t)(i + 4000));
    expect_success(child);
  }
  stop = 1;
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  for (unsigned i = 0; i < kShared; ++i) {
    CHECK(filled(shared[i], shared_size[i], i));
    free(shared[i]);
  }
  return 0;
}
