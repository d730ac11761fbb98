/* atfork.c: a program's own fork handlers may allocate and free, in prepare, parent and child, also those registered by
 * a constructor before main, while other threads allocate. */
#include <pthread.h>

#include "contract.h"

enum { kForks = 100 };
static volatile int stop;
static char* held;
static int prepared;
static int in_parent;

static void churn(void) {
  void* objects[50];
  for (size_t i = 0; i < 50; ++i) {
    objects[i] = malloc(i * i * 37);
    CHECK(objects[i] != NULL);
    memset(objects[i], 1, i * i * 37);
  }
  for (size_t i = 0; i < 50; ++i) free(objects[i]);
}

static void prepare(void) {
  churn();
  held = realloc(held, (size_t)(1000 + prepared));
  CHECK(held != NULL);
  fill(held, 1000, 11);
  ++prepared;
}

static void after_in_parent(void) {
  churn();
  CHECK(filled(held, 1000, 11));
  free(held);
  held = NULL;
  ++in_parent;
}

static void after_in_child(void) {
  CHECK(filled(held, 1000, 11));
  held = realloc(held, 70000);
  CHECK(held != NULL && filled(held, 1000, 11));
  free(held);
  churn();
}

__attribute__((constructor)) static void register_early(void) {
  CHECK(pthread_atfork(churn, churn, churn) == 0);
}

static void* allocate_until_stop(void* unused) {
  while (!stop) churn();
  return unused;
}

int main(void) {
  pthread_t threads[2];
  contract_begin(60);
  CHECK(pthread_atfork(prepare, after_in_parent, after_in_child) == 0);
  for (int i = 0; i < 2; ++i) CHECK(pthread_create(&threads[i], NULL, allocate_until_stop, NULL) == 0);
  for (int i = 0; i < kForks; ++i) {
    pid_t child = fork();
    if (child == 0) {
      end_if_hung(20);
      churn();
      exit(0);
    }
    expect_success(child);
  }
  stop = 1;
  for (int i = 0; i < 2; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(prepared == kForks && in_parent == kForks);
  return 0;
}
