/* churner.c: a program that allocates, checks and frees all the time, and forks children that do the same for a while.
 * Says "ready"; on SIGTERM checks everything once more, says "checked" and ends with 0, or with 1 as soon as a byte is
 * not what it was or a child says so. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kBlocks = 96, kStepsPerFork = 400, kStepsOfChild = 200, kMostBytes = 400000 };

static volatile sig_atomic_t stop;
static unsigned char* blocks[kBlocks];
static size_t sizes[kBlocks];

static void on_signal(int number) {
  stop = number;
}

/* One byte a page says enough: pages are what moves. */
static void fill(int i) {
  for (size_t at = 0; at < sizes[i]; at += 4096) blocks[i][at] = (unsigned char)(at / 4096 * 7 + (size_t)i);
}

static void check(int i) {
  for (size_t at = 0; at < sizes[i]; at += 4096)
    if (blocks[i][at] != (unsigned char)(at / 4096 * 7 + (size_t)i)) _exit(1);
}

/* An allocation may fail while the limit is lower than what is in use. */
static void step(unsigned n) {
  const int i = (int)(n * 37 % kBlocks);
  if (blocks[i] != NULL) check(i);
  free(blocks[i]);
  sizes[i] = 1 + n * 7919u % kMostBytes;
  blocks[i] = malloc(sizes[i]);
  if (blocks[i] == NULL) sizes[i] = 0;
  fill(i);
}

static void run_child(unsigned n) {
  const pid_t child = fork();
  int status = 0;
  if (child == 0) {
    for (unsigned i = 0; i < kStepsOfChild; ++i) step(n + i);
    _exit(0);
  }
  if (child > 0 && (waitpid(child, &status, 0) != child || status != 0)) _exit(1);
}

int main(void) {
  signal(SIGTERM, on_signal);
  alarm(390);
  printf("ready\n");
  fflush(stdout);
  for (unsigned n = 1; stop == 0; ++n) {
    step(n);
    if (n % kStepsPerFork == 0) run_child(n);
  }
  for (int i = 0; i < kBlocks; ++i) check(i);
  printf("checked\n");
  return 0;
}
