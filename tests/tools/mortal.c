/* mortal.c: a program that does not live long, for those who look at it meanwhile: `mortal LIVES SEED` takes some
 * memory and writes it, and then ends, forks and ends, becomes itself again, or is killed, until that happened LIVES
 * times. The first process waits for all others, so that the program is over when it is. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kBlock = 64 << 10, kMostBlocks = 128 };

/* A few thousand lives take some seconds; this is what hangs. */
enum { kMostSeconds = 400 };

static unsigned next_number(unsigned* state) {
  *state = *state * 1103515245u + 12345u;
  return *state >> 16;
}

static void use_memory(unsigned blocks) {
  static char* taken[kMostBlocks];
  for (unsigned i = 0; i < blocks; ++i) {
    taken[i] = malloc(kBlock);
    if (taken[i] == NULL) _exit(1);
    for (unsigned at = 0; at < kBlock; at += 512) memset(taken[i] + at, (int)(at / 4096 * 7 + i), 64);
  }
  for (unsigned i = 0; i < blocks; i += 2) free(taken[i]);
}

static void be_born_again(const char* self, unsigned lives, unsigned seed) {
  char left[16], next[16];
  snprintf(left, sizeof left, "%u", lives);
  snprintf(next, sizeof next, "%u", seed);
  execl(self, self, left, next, "again", (char*)NULL);
  _exit(2);
}

static void live(const char* self, unsigned lives, unsigned state) {
  for (;;) {
    use_memory(next_number(&state) % kMostBlocks);
    if (lives == 0) _exit(0);
    --lives;
    switch (next_number(&state) % 4) {
      case 0: /* ends while its child lives on */
        if (fork() != 0) _exit(0);
        break;
      case 1: /* goes on; its child ends at once */
        if (fork() == 0) _exit(0);
        break;
      case 2:
        be_born_again(self, lives, state);
        break;
      default: /* is killed while its child lives on */
        if (fork() != 0) kill(getpid(), SIGKILL);
        break;
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
  }
}

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  const unsigned lives = (unsigned)atoi(argv[1]), seed = (unsigned)atoi(argv[2]);
  alarm(kMostSeconds);
  if (argc == 4) live(argv[0], lives, seed);
  /* Orphans become children of this process. */
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  if (fork() == 0) live(argv[0], lives, seed);
  while (wait(NULL) > 0) {
  }
  printf("%u lives are over\n", lives);
  return 0;
}
