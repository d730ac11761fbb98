/* holder.c: the program that is looked at: holds so many MiB, of which it touches some all the time. SIGUSR1: forks a
 * child that does the same; SIGUSR2: becomes sleep(1). Says "ready", and ends after five minutes whatever happens. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* No test takes so long, even where many others run. */
enum { kBlock = 1 << 20, kMostBlocks = 1024, kMostSeconds = 900 };

static volatile sig_atomic_t wish;

static void on_signal(int number) {
  wish = number;
}

static void become_sleep(void) {
  execlp("sleep", "sleep", "60", (char*)NULL);
  _exit(1);
}

int main(int argc, char** argv) {
  static char* blocks[kMostBlocks];
  const int count = argc == 2 ? atoi(argv[1]) : 0;
  unsigned sum = 0;
  if (count <= 0 || count > kMostBlocks) return 64;
  signal(SIGUSR1, on_signal);
  signal(SIGUSR2, on_signal);
  alarm(kMostSeconds);
  for (int i = 0; i < count; ++i) {
    blocks[i] = malloc(kBlock);
    if (blocks[i] == NULL) return 1;
    for (int at = 0; at < kBlock; at += 16) memset(blocks[i] + at, at / 4096 * 7 + i, 16);
  }
  printf("ready\n");
  fflush(stdout);
  for (unsigned step = 0;; ++step) {
    for (int i = 0; i < count; ++i) sum += (unsigned char)blocks[i][step * 4096 % kBlock];
    if (wish == SIGUSR1 && fork() == 0) sum = 0;
    if (wish == SIGUSR2) become_sleep();
    wish = 0;
    usleep(20000 + sum % 2);
  }
}
