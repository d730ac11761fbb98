/* fork_libc.c: what the C library itself keeps in the heap is there in the child of a fork, although it is swapped out
 * and the library uses it before any handler of the child runs: streams with their locks and buffers, environment,
 * handlers of pthread_atfork, a thread's keys, and the stack of the forking thread. */
// limit: cases=streams,unbuffered,stack,keys,environment timeout=60
#include <pthread.h>

#include "limit.h"

enum { kKeys = 40, kSleepers = 20, kNeighbours = 16, kStreams = 600, kStackBytes = 1 << 20 };
static struct Dataset data;
static FILE* streams[kStreams];

static void* sleep_on(void* ends) {
  char byte;
  CHECK(read(((int*)ends)[0], &byte, 1) >= 0);
  return NULL;
}

/* glibc resets the locks of all streams in the child when there is more than one thread. */
static void fork_with_streams(int with_buffers) {
  pthread_t thread;
  int ends[2];
  char text[64];
  CHECK(pipe(ends) == 0);
  for (int i = 0; i < kStreams; ++i) {
    streams[i] = tmpfile();
    CHECK(streams[i] != NULL);
    if (!with_buffers) setvbuf(streams[i], NULL, _IONBF, 0);
    fprintf(streams[i], "stream %d\n", i);
    CHECK(malloc(9000) != NULL);
  }
  CHECK(pthread_create(&thread, NULL, sleep_on, ends) == 0);
  make_twice_the_limit(&data);
  for (int round = 0; round < 10; ++round) {
    check_data(&data);
    pid_t child = fork();
    if (child == 0) {
      for (int i = 0; i < kStreams; ++i) {
        rewind(streams[i]);
        CHECK(fgets(text, sizeof text, streams[i]) != NULL);
        CHECK(strncmp(text, "stream ", 7) == 0 && atoi(text + 7) == i);
      }
      check_data(&data);
      exit(0);
    }
    expect_success(child);
  }
  CHECK(write(ends[1], "x", 1) == 1);
  CHECK(pthread_join(thread, NULL) == 0);
}

/* glibc keeps a thread's values of keys beyond the 32nd in the heap and clears those of other threads in the child:
 * what lies in the same pages must not be lost with that. */
static pthread_key_t keys[kKeys];
static uint64_t* neighbours[kSleepers][kNeighbours];
static int sleepers_ends[2];
static pthread_barrier_t all_there;

static void* sleep_with_keys(void* number) {
  char byte;
  unsigned self = (unsigned)(uintptr_t)number;
  for (int i = 0; i < kNeighbours; ++i) {
    if (i == kNeighbours / 2)
      for (int k = 0; k < kKeys; ++k) CHECK(pthread_setspecific(keys[k], number) == 0);
    neighbours[self][i] = malloc(512);
    CHECK(neighbours[self][i] != NULL);
    fill(neighbours[self][i], 512, self * 100 + (unsigned)i);
  }
  pthread_barrier_wait(&all_there);
  CHECK(read(sleepers_ends[0], &byte, 1) == 1);
  CHECK(pthread_getspecific(keys[kKeys - 1]) == number);
  return NULL;
}

static void check_neighbours(void) {
  for (unsigned t = 0; t < kSleepers; ++t) {
    for (unsigned i = 0; i < kNeighbours; ++i) CHECK(filled(neighbours[t][i], 512, t * 100 + i));
  }
}

static void fork_with_keys(void) {
  pthread_t threads[kSleepers];
  CHECK(pipe(sleepers_ends) == 0 && pthread_barrier_init(&all_there, NULL, kSleepers + 1) == 0);
  for (int k = 0; k < kKeys; ++k) CHECK(pthread_key_create(&keys[k], NULL) == 0);
  for (uintptr_t i = 0; i < kSleepers; ++i) CHECK(pthread_create(&threads[i], NULL, sleep_with_keys, (void*)i) == 0);
  pthread_barrier_wait(&all_there);
  make_twice_the_limit(&data);
  for (int round = 0; round < 3; ++round) {
    check_data(&data);
    pid_t child = fork();
    if (child == 0) {
      check_neighbours();
      check_data(&data);
      exit(0);
    }
    expect_success(child);
  }
  check_neighbours();
  for (int i = 0; i < kSleepers; ++i) CHECK(write(sleepers_ends[1], "x", 1) == 1);
  for (int i = 0; i < kSleepers; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
}

__attribute__((noinline)) static void fork_deep(int depth) {
  volatile char frame[3000];
  for (size_t i = 0; i < sizeof frame; ++i) frame[i] = (char)(depth + (int)i);
  if (depth > 0) {
    fork_deep(depth - 1);
  } else {
    check_data(&data);
    pid_t child = fork();
    if (child != 0) expect_success(child);
    if (child == 0) end_if_hung(30);
    check_data(&data);
    /* The child comes back through all frames as the parent does, and ends in main. */
  }
  for (size_t i = 0; i < sizeof frame; ++i) CHECK(frame[i] == (char)(depth + (int)i));
}

static void* fork_on_heap_stack(void* unused) {
  for (int i = 0; i < 2; ++i) fork_deep(100);
  return unused;
}

static void fork_with_heap_stack(void) {
  pthread_t thread;
  pthread_attr_t attributes;
  void* stack = aligned_alloc(PAGE, kStackBytes);
  CHECK(stack != NULL && pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstack(&attributes, stack, kStackBytes) == 0);
  make_twice_the_limit(&data);
  CHECK(pthread_create(&thread, &attributes, fork_on_heap_stack, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static int prepared, in_parents, in_children;
static char* for_handlers;
static void prepare(void) {
  prepared += for_handlers[5000] == 'h';
}
static void in_parent(void) {
  in_parents += for_handlers[5000] == 'h';
}
static void in_child(void) {
  in_children += for_handlers[5000] == 'h';
}

static void fork_with_environment(void) {
  char name[32], value[32];
  pthread_key_t key;
  for_handlers = malloc(20000);
  memset(for_handlers, 'h', 20000);
  CHECK(pthread_key_create(&key, free) == 0);
  CHECK(pthread_setspecific(key, strdup("specific")) == 0);
  CHECK(pthread_atfork(prepare, in_parent, in_child) == 0);
  for (int i = 0; i < 2000; ++i) {
    snprintf(name, sizeof name, "LIMIT_%d", i);
    snprintf(value, sizeof value, "value %d", i);
    CHECK(setenv(name, value, 1) == 0);
  }
  make_twice_the_limit(&data);
  for (int round = 0; round < 5; ++round) {
    check_data(&data);
    pid_t child = fork();
    if (child == 0) {
      CHECK(in_children == 1 && prepared == round + 1);
      CHECK(strcmp(pthread_getspecific(key), "specific") == 0);
      for (int i = 0; i < 2000; i += 7) {
        snprintf(name, sizeof name, "LIMIT_%d", i);
        snprintf(value, sizeof value, "value %d", i);
        CHECK(getenv(name) != NULL && strcmp(getenv(name), value) == 0);
      }
      check_data(&data);
      exit(0);
    }
    expect_success(child);
    CHECK(in_parents == round + 1);
  }
}

int main(int argc, char** argv) {
  contract_begin(55);
  CHECK(argc == 2);
  if (strcmp(argv[1], "streams") == 0) fork_with_streams(1);
  if (strcmp(argv[1], "unbuffered") == 0) fork_with_streams(0);
  if (strcmp(argv[1], "keys") == 0) fork_with_keys();
  if (strcmp(argv[1], "stack") == 0) fork_with_heap_stack();
  if (strcmp(argv[1], "environment") == 0) fork_with_environment();
  return 0;
}
