/* fork_chain.c: many children and long lines of them, each seeing every byte: a storm in waves, grandchildren five
 * deep that all write, daemon(), a snapshot that is verified while the parent overwrites everything, and threads that
 * fork at the same time while memory is short. */
// limit: cases=storm,deep,daemon,snapshot,together timeout=120
#include <pthread.h>

#include "limit.h"

enum { kWaves = 20, kWaveChildren = 10, kDepth = 5 };
static struct Dataset data;

static void check_some(uint64_t seed, unsigned count) {
  for (unsigned i = 0; i < count; ++i) check_block(&data, next_random(&seed) % data.count);
}

static void storm(void) {
  pid_t children[kWaveChildren];
  for (int wave = 0; wave < kWaves; ++wave) {
    for (int i = 0; i < kWaveChildren; ++i) {
      children[i] = fork();
      CHECK(children[i] >= 0);
      if (children[i] != 0) continue;
      uint64_t random = (uint64_t)(wave * kWaveChildren + i);
      check_some(random, 100);
      for (int n = 0; n < 100; ++n) write_block(&data, next_random(&random) % data.count, 7);
      check_some(random, 200);
      _exit(0);
    }
    for (int n = 0; n < 50; ++n) write_block(&data, (unsigned)(wave * 50 + n) % data.count, (uint32_t)wave + 2);
    for (int i = 0; i < kWaveChildren; ++i) expect_success(children[i]);
  }
  check_data(&data);
}

static void descend(int depth) {
  end_if_hung(100);
  check_data(&data);
  if (depth == kDepth) return;
  for (unsigned b = (unsigned)depth; b < data.count; b += 3) write_block(&data, b, (uint32_t)(depth + 10));
  expect_away(&data);
  pid_t child = fork();
  if (child == 0) {
    descend(depth + 1);
    _exit(0);
  }
  rewrite_data(&data, (uint32_t)(depth + 20));
  expect_success(child);
  check_data(&data);
  expect_within_limit(0);
}

static void as_daemon(void) {
  int ends[2];
  char word = 0;
  CHECK(pipe(ends) == 0);
  pid_t child = fork();
  if (child == 0) {
    int report = dup2(ends[1], 200);
    CHECK(report == 200 && daemon(1, 1) == 0);
    end_if_hung(60);
    check_data(&data);
    rewrite_data(&data, 5);
    check_data(&data);
    expect_away(&data);
    CHECK(write(report, "k", 1) == 1);
    exit(0);
  }
  close(ends[1]);
  expect_success(child);
  CHECK(read(ends[0], &word, 1) == 1 && word == 'k');
  check_data(&data);
}

static void snapshot(void) {
  for (uint32_t round = 1; round <= 4; ++round) {
    pid_t child = fork();
    if (child == 0) {
      check_data(&data);
      _exit(0);
    }
    rewrite_data(&data, round + 30);
    check_data(&data);
    expect_within_limit(0);
    expect_success(child);
  }
}

enum { kForkers = 4, kWriters = 2, kForks = 120 };
static struct Dataset scratch[kWriters];
static volatile int stop;

static void* fork_often(void* unused) {
  for (int i = 0; i < kForks; ++i) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) _exit(0);
    expect_success(child);
  }
  return unused;
}

static void* write_until_stop(void* number) {
  struct Dataset* own = &scratch[(uintptr_t)number];
  for (uint32_t generation = 2; !stop; ++generation) {
    rewrite_data(own, generation % 4000);
    free(calloc(1, 3 * MIB));
  }
  check_data(own);
  return NULL;
}

static void together(void) {
  pthread_t forkers[kForkers], writers[kWriters];
  for (uintptr_t i = 0; i < kWriters; ++i) {
    make_data(&scratch[i], 16 * MIB);
    CHECK(pthread_create(&writers[i], NULL, write_until_stop, (void*)i) == 0);
  }
  for (int i = 0; i < kForkers; ++i) CHECK(pthread_create(&forkers[i], NULL, fork_often, NULL) == 0);
  for (int i = 0; i < kForkers; ++i) CHECK(pthread_join(forkers[i], NULL) == 0);
  stop = 1;
  for (int i = 0; i < kWriters; ++i) CHECK(pthread_join(writers[i], NULL) == 0);
  check_data(&data);
}

int main(int argc, char** argv) {
  contract_begin(110);
  CHECK(argc == 2);
  make_twice_the_limit(&data);
  if (strcmp(argv[1], "storm") == 0) storm();
  if (strcmp(argv[1], "deep") == 0) descend(0);
  if (strcmp(argv[1], "daemon") == 0) as_daemon();
  if (strcmp(argv[1], "snapshot") == 0) snapshot();
  if (strcmp(argv[1], "together") == 0) together();
  free_data(&data);
  return 0;
}
