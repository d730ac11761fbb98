/* overcommit.c: with vm.overcommit_memory=2 every private writable page counts as committed, so what is only reserved
 * must not: allocation, threads, fork and large objects work within the machine's commit limit, and memory given back
 * is no longer committed. Elsewhere the program checks the same and has an easier time. */
#include <pthread.h>

#include "contract.h"

static size_t committed(void) {
  char line[200];
  unsigned long kib = 0;
  FILE* file = fopen("/proc/meminfo", "r");
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "Committed_AS: %lu", &kib) == 1) break;
  }
  fclose(file);
  return kib * KIB;
}

static int policy(void) {
  int value = 0;
  FILE* file = fopen("/proc/sys/vm/overcommit_memory", "r");
  if (file == NULL) return 0;
  if (fscanf(file, "%d", &value) != 1) value = 0;
  fclose(file);
  return value;
}

static void* churn(void* unused) {
  for (size_t round = 0; round < 20; ++round) {
    char* objects[400];
    for (size_t i = 0; i < 400; ++i) {
      objects[i] = malloc(i * 40);
      CHECK(objects[i] != NULL);
      fill(objects[i], i * 40, (unsigned)i);
    }
    for (size_t i = 0; i < 400; ++i) {
      CHECK(filled(objects[i], i * 40, (unsigned)i));
      free(objects[i]);
    }
  }
  return unused;
}

int main(void) {
  pthread_t threads[4];
  contract_begin(60);
  int strict = policy() == 2;
  churn(NULL);
  if (strict) {
    /* What a small program commits with its stacks and libraries is far below this; an arena would be far above. */
    CHECK(committed() < 2 * GIB);
    errno = 0;
    CHECK(malloc(opaque_size(512 * GIB)) == NULL && errno == ENOMEM);
  }
  for (int i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, churn, NULL) == 0);
  for (int i = 0; i < 4; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  char* large = malloc(64 * MIB);
  CHECK(large != NULL);
  memset(large, 1, 64 * MIB);
  pid_t child = fork();
  if (child == 0) {
    churn(NULL);
    memset(large, 2, 64 * MIB);
    free(large);
    exit(0);
  }
  expect_success(child);
  CHECK(large[0] == 1 && large[64 * MIB - 1] == 1);
  free(large);
  return 0;
}
