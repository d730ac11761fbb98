/* no_threads.c: where no further thread can be made (RLIMIT_NPROC), allocation and the giving back of memory still
 * work: a helper thread that could not start is not an error. */
#include <grp.h>
#include <pthread.h>
#include <sys/resource.h>

#include "contract.h"

/* The user and group called nobody and nogroup on Debian; root itself is not bound by RLIMIT_NPROC. */
enum { kNobody = 65534 };

static void* nothing(void* unused) {
  return unused;
}

static void churn(void) {
  for (int round = 0; round < 20; ++round) {
    char* large = malloc(64 * MIB);
    CHECK(large != NULL);
    memset(large, round, 64 * MIB);
    free(large);
    char* objects[1000];
    for (size_t i = 0; i < 1000; ++i) {
      objects[i] = malloc(i * 3);
      CHECK(objects[i] != NULL);
      memset(objects[i], round, i * 3);
    }
    for (int i = 0; i < 1000; ++i) free(objects[i]);
  }
}

static void live(void* unused) {
  const struct rlimit limit = {1, 1};
  pthread_t thread;
  (void)unused;
  if (getuid() == 0) CHECK(setgroups(0, NULL) == 0 && setgid(kNobody) == 0 && setuid(kNobody) == 0);
  CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
  churn();
  /* One process counts already, so the limit is reached. */
  CHECK(pthread_create(&thread, NULL, nothing, NULL) == EAGAIN);
  churn();
  sleep(2);
  churn();
}

int main(void) {
  contract_begin(60);
  struct ChildResult result = run_child(live, NULL);
  if (result.length > 0) fputs(result.text, stderr);
  CHECK(exited_with(result.status, 0) && result.length == 0);
  return 0;
}
