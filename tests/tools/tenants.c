/* tenants.c: the program with heaps that is looked at: as many as its argument says, beside one with everything set.
 * SIGUSR1: forks a child that has the same, one object more in "all", and lives on. Says "ready", and ends after five
 * minutes whatever happens. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weir/heap.h"

#pragma weak weir_heap_create
#pragma weak weir_heap_malloc

enum { kMib = 1 << 20, kMostSeconds = 300 };

static volatile sig_atomic_t wish;

static void on_signal(int number) {
  wish = number;
}

int main(int argc, char** argv) {
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  const int count = argc == 2 ? atoi(argv[1]) : 0;
  if (weir_heap_create == NULL) return 64;
  signal(SIGUSR1, on_signal);
  alarm(kMostSeconds);
  options.limit = 8 * kMib;
  options.soft_limit = 4 * kMib;
  options.oom_score_adj = -5;
  options.oom_policy = WEIR_HEAP_OOM_RELEASE;
  weir_heap_t all = weir_heap_create("all", &options);
  void* object = weir_heap_malloc(all, 2 * kMib);
  if (object == NULL || weir_heap_malloc(all, 9 * kMib) != NULL) return 1;
  memset(object, 1, 2 * kMib);
  if (weir_heap_create("odd \xc3\xa4 \"name\"", NULL) == NULL) return 2;
  for (int i = 0; i < count; ++i)
    if (weir_heap_create(NULL, NULL) == NULL) return 3;
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    pause();
    if (wish != SIGUSR1) continue;
    wish = 0;
    pid_t child = fork();
    if (child != 0) continue;
    alarm(kMostSeconds);
    if (weir_heap_malloc(all, 1 * kMib) == NULL) return 4;
  }
}
