/* signals.c: signals that arrive thousands of times inside malloc and free, in several threads, whose handlers do not
 * allocate, change nothing: neither content nor errno nor progress. */
#include <pthread.h>
#include <sys/time.h>

#include "contract.h"

enum { kSlots = 300, kOperations = 300000, kWantedSignals = 300 };
static volatile sig_atomic_t signals_seen;

static void on_signal(int signo) {
  int kept = errno;
  (void)signo;
  ++signals_seen;
  errno = EINTR;
  errno = kept;
}

static void* churn(void* seed) {
  char* slots[kSlots] = {NULL};
  size_t sizes[kSlots] = {0};
  uint64_t random = (uintptr_t)seed;
  for (int i = 0; i < kOperations || signals_seen < kWantedSignals; ++i) {
    unsigned slot = next_random(&random) % kSlots;
    if (slots[slot] != NULL) {
      size_t checked = sizes[slot] < 64 ? sizes[slot] : 64;
      CHECK(filled(slots[slot], checked, slot));
      errno = 71;
      free(slots[slot]);
      CHECK(errno == 71);
    }
    sizes[slot] = random_size(&random);
    slots[slot] = malloc(sizes[slot]);
    CHECK(slots[slot] != NULL);
    fill(slots[slot], sizes[slot] < 64 ? sizes[slot] : 64, slot);
  }
  for (int i = 0; i < kSlots; ++i) free(slots[i]);
  return NULL;
}

int main(void) {
  const struct itimerval often = {{0, 500}, {0, 500}};
  const struct itimerval never = {{0, 0}, {0, 0}};
  struct sigaction action;
  pthread_t threads[2];
  contract_begin(60);
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  CHECK(sigaction(SIGPROF, &action, NULL) == 0);
  CHECK(setitimer(ITIMER_PROF, &often, NULL) == 0);
  for (uintptr_t i = 0; i < 2; ++i) CHECK(pthread_create(&threads[i], NULL, churn, (void*)(i + 1)) == 0);
  churn((void*)(uintptr_t)9);
  for (int i = 0; i < 2; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(setitimer(ITIMER_PROF, &never, NULL) == 0);
  CHECK(signals_seen >= kWantedSignals);
  return 0;
}
