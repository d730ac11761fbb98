/* fork_both.c: the child of a fork sees every byte although other threads fault and write at that moment; then parent
 * and child both write and verify, each within its limit. The fork comes from the main thread, or from another. */
// limit: cases=main,thread,exit_first timeout=120
#include <pthread.h>

#include "limit.h"

enum { kThreads = 3, kRounds = 3 };
static struct Dataset data;
static struct Dataset scratch[kThreads];
static volatile int stop;

/* Faults all the time: reads the common data, writes data of its own. */
static void* fault_until_stop(void* number) {
  unsigned self = (unsigned)(uintptr_t)number;
  uint64_t random = self;
  uint32_t generation = 1;
  while (!stop) fault_and_write(&data, &scratch[self], &random, ++generation % 4000);
  return NULL;
}

static void* fault_once(void* unused) {
  check_data(&data);
  return unused;
}

/* The scratch blocks are being written while the process forks, so only their sizes can be trusted. */
static void live_as_child(int round) {
  pthread_t thread;
  end_if_hung(60);
  check_data(&data);
  CHECK(pthread_create(&thread, NULL, fault_once, NULL) == 0);
  check_data(&data);
  CHECK(pthread_join(thread, NULL) == 0);
  rewrite_data(&data, (uint32_t)round + 100);
  for (unsigned i = 0; i < kThreads; ++i) rewrite_data(&scratch[i], (uint32_t)round + 200);
  check_data(&data);
  expect_within_limit(0);
  for (unsigned i = 0; i < kThreads; ++i) check_data(&scratch[i]);
  expect_away(&data);
  free_data(&data);
  make_data(&data, 8 * MIB);
  check_data(&data);
}

static void* fork_rounds(void* unused) {
  for (int round = 0; round < kRounds; ++round) {
    pid_t child = fork();
    if (child == 0) {
      live_as_child(round);
      if (round % 2 == 0) exit(0);
      _exit(0);
    }
    CHECK(child > 0);
    check_data(&data);
    if (round % 2 == 0) expect_success(child);
    check_data(&data);
    if (round % 2 != 0) expect_success(child);
  }
  return unused;
}

/* The parent is gone at once: the orphan verifies alone, and reports through a pipe. */
static void outlive(void) {
  int ends[2];
  char word = 0;
  CHECK(pipe(ends) == 0);
  pid_t child = fork();
  if (child == 0) {
    pid_t orphan = fork();
    if (orphan != 0) _exit(orphan > 0 ? 0 : 1);
    close(ends[0]);
    live_as_child(50);
    CHECK(write(ends[1], "k", 1) == 1);
    _exit(0);
  }
  close(ends[1]);
  expect_success(child);
  CHECK(read(ends[0], &word, 1) == 1 && word == 'k');
  close(ends[0]);
}

int main(int argc, char** argv) {
  pthread_t threads[kThreads];
  pthread_t forker;
  contract_begin(110);
  CHECK(argc == 2);
  for (unsigned i = 0; i < kThreads; ++i) make_data(&scratch[i], 4 * MIB);
  make_twice_the_limit(&data);
  for (uintptr_t i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, fault_until_stop, (void*)i) == 0);
  if (strcmp(argv[1], "main") == 0) fork_rounds(NULL);
  if (strcmp(argv[1], "thread") == 0) {
    CHECK(pthread_create(&forker, NULL, fork_rounds, NULL) == 0);
    CHECK(pthread_join(forker, NULL) == 0);
  }
  if (strcmp(argv[1], "exit_first") == 0) {
    for (int i = 0; i < kRounds; ++i) outlive();
  }
  stop = 1;
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  check_data(&data);
  for (unsigned i = 0; i < kThreads; ++i) check_data(&scratch[i]);
  expect_within_limit(0);
  return 0;
}
