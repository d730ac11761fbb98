/* mlockall.c: locking all memory, present and future, does not make what is merely reserved resident; allocation goes
 * on. A parent watches, because a mistake here would fill the machine. */
// contract: serial cases=current,future,both
#include <sys/mman.h>
#include <time.h>

#include "contract.h"

enum { kBoundMib = 300 };

static void lock_and_allocate(int flags) {
  char* objects[500];
  char* before = malloc(10 * MIB);
  CHECK(before != NULL);
  memset(before, 1, 10 * MIB);
  if (mlockall(flags) != 0) _exit(errno == EPERM || errno == ENOMEM ? kSkip : 1);
  for (size_t i = 0; i < 500; ++i) {
    objects[i] = malloc(i * 200);
    CHECK(objects[i] != NULL);
    memset(objects[i], 2, i * 200);
  }
  for (int i = 0; i < 20; ++i) {
    char* large = malloc(8 * MIB);
    CHECK(large != NULL);
    large[0] = 1;
    free(large);
  }
  for (int i = 0; i < 500; ++i) free(objects[i]);
  free(before);
  CHECK(resident_bytes(0) < kBoundMib * MIB);
  _exit(0);
}

int main(int argc, char** argv) {
  const struct timespec pause = {0, 1000000};
  contract_begin(60);
  CHECK(argc == 2);
  int flags = 0;
  if (strcmp(argv[1], "future") != 0) flags |= MCL_CURRENT;
  if (strcmp(argv[1], "current") != 0) flags |= MCL_FUTURE;
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) lock_and_allocate(flags);
  for (;;) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) {
      if (exited_with(status, kSkip)) {
        puts("skipped: mlockall is not permitted here (RLIMIT_MEMLOCK)");
        return kSkip;
      }
      CHECK(exited_with(status, 0));
      return 0;
    }
    size_t resident = resident_bytes(child);
    if (resident > kBoundMib * MIB) {
      kill(child, SIGKILL);
      fprintf(stderr, "mlockall.c: the child grew to %zu MiB, more than %d\n", resident / MIB, kBoundMib);
      return 1;
    }
    nanosleep(&pause, NULL);
  }
}
