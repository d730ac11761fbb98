/* decay.c: after a peak of 270 MiB is freed and the program only sleeps, its resident memory falls below 10 MiB within
 * 10 seconds without any further call. With `small` the peak is small objects, with `large` large ones, with `threads`
 * it was made by threads that then sleep too. A forked observer watches and stops at the first good sample. */
// contract: weir serial cases=small,large,threads
#include <pthread.h>
#include <time.h>

#include "contract.h"

enum { kPeakMib = 270, kThreads = 2, kSmallSize = 256 };

/* The promise is 10 s; the half second is for the last round of giving back to end. */
static const double kSeconds = 10.5;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void sleep_for(double seconds) {
  struct timespec rest = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  while (nanosleep(&rest, &rest) != 0) continue;
}

/* The observer is a child with memory of its own, so that watching does not wake the watched. */
static int observe(pid_t watched, int start) {
  char byte;
  if (read(start, &byte, 1) != 1) return 1;
  double end = now() + kSeconds;
  size_t resident = resident_bytes(watched);
  fprintf(stderr, "decay.c: %zu MiB resident after the frees\n", resident / MIB);
  for (double begun = now(); now() < end; sleep_for(0.1)) {
    resident = resident_bytes(watched);
    if (resident < 10 * MIB) {
      fprintf(stderr, "decay.c: %zu KiB resident after %.1f s\n", resident / KIB, now() - begun);
      return 0;
    }
  }
  fprintf(stderr, "decay.c: still %zu KiB resident after %.1f s\n", resident / KIB, kSeconds);
  return 1;
}

static void peak_small(size_t bytes) {
  size_t count = bytes / kSmallSize;
  char** objects = malloc(count * sizeof *objects);
  CHECK(objects != NULL);
  for (size_t i = 0; i < count; ++i) {
    objects[i] = malloc(kSmallSize);
    CHECK(objects[i] != NULL);
    memset(objects[i], 1, kSmallSize);
  }
  for (size_t i = 0; i < count; ++i) free(objects[i]);
  free(objects);
}

static void peak_large(void) {
  char* objects[kPeakMib / 10];
  for (int i = 0; i < kPeakMib / 10; ++i) {
    objects[i] = malloc(10 * MIB);
    CHECK(objects[i] != NULL);
    memset(objects[i], 1, 10 * MIB);
  }
  for (int i = 0; i < kPeakMib / 10; ++i) free(objects[i]);
}

static pthread_barrier_t freed;

static void* peak_in_thread(void* unused) {
  peak_small(kPeakMib * MIB / kThreads);
  pthread_barrier_wait(&freed);
  pause();
  return unused;
}

int main(int argc, char** argv) {
  int ends[2];
  pthread_t threads[kThreads];
  contract_begin(60);
  CHECK(argc == 2 && pipe(ends) == 0);
  pid_t watched = getpid();
  pid_t observer = fork();
  CHECK(observer >= 0);
  if (observer == 0) _exit(observe(watched, ends[0]));
  if (strcmp(argv[1], "small") == 0) peak_small(kPeakMib * MIB);
  if (strcmp(argv[1], "large") == 0) peak_large();
  if (strcmp(argv[1], "threads") == 0) {
    CHECK(pthread_barrier_init(&freed, NULL, kThreads + 1) == 0);
    for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, peak_in_thread, NULL) == 0);
    pthread_barrier_wait(&freed);
  }
  CHECK(write(ends[1], "x", 1) == 1);
  expect_success(observer);
  return 0;
}
