/* spawn.c: programs are started in every way there is while memory is swapped out; the parent keeps every byte, and the
 * program that was started, preloaded too, lives within a limit of its own. */
// limit: cases=vfork,posix_spawn,system,popen,fork_exec timeout=60
#include <pthread.h>
#include <spawn.h>

#include "limit.h"

extern char** environ;
static struct Dataset data;
static char self[4096];
static char command[8300];
static volatile int stop;

static void* fault_until_stop(void* seed) {
  uint64_t random = (uintptr_t)seed;
  while (!stop) check_block(&data, next_random(&random) % data.count);
  return NULL;
}

static char** arguments_in_heap(void) {
  char** arguments = malloc(3 * sizeof *arguments);
  CHECK(arguments != NULL);
  arguments[0] = strdup(self);
  arguments[1] = strdup("started");
  arguments[2] = NULL;
  return arguments;
}

static void start(const char* how, char** arguments) {
  char text[64] = "";
  pid_t child = 0;
  if (strcmp(how, "vfork") == 0) {
    child = vfork();
    if (child == 0) {
      /* The child shares the memory, and touches what is away. */
      if (*(volatile uint64_t*)&data.blocks[5].words[0] != word_of(5, data.blocks[5].generation, 0)) _exit(9);
      execve(arguments[0], arguments, environ);
      _exit(127);
    }
  } else if (strcmp(how, "posix_spawn") == 0) {
    CHECK(posix_spawn(&child, arguments[0], NULL, NULL, arguments, environ) == 0);
  } else if (strcmp(how, "fork_exec") == 0) {
    child = fork();
    if (child == 0) {
      execve(arguments[0], arguments, environ);
      _exit(127);
    }
  } else if (strcmp(how, "system") == 0) {
    CHECK(system(command) == 0);
    return;
  } else {
    FILE* pipe = popen(command, "r");
    CHECK(pipe != NULL);
    CHECK(fgets(text, sizeof text, pipe) != NULL && strcmp(text, "started well\n") == 0);
    CHECK(pclose(pipe) == 0);
    return;
  }
  expect_success(child);
}

int main(int argc, char** argv) {
  pthread_t thread;
  contract_begin(55);
  CHECK(argc == 2);
  if (strcmp(argv[1], "started") == 0) {
    make_data(&data, memory_limit() != 0 ? memory_limit() + 4 * MIB : 8 * MIB);
    check_data(&data);
    expect_within_limit(0);
    printf("started well\n");
    return 0;
  }
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  CHECK(length > 0);
  snprintf(command, sizeof command, "'%s' started", self);
  char** arguments = arguments_in_heap();
  make_twice_the_limit(&data);
  CHECK(pthread_create(&thread, NULL, fault_until_stop, (void*)1) == 0);
  for (int round = 0; round < 3; ++round) {
    check_data(&data);
    start(argv[1], arguments);
  }
  stop = 1;
  CHECK(pthread_join(thread, NULL) == 0);
  check_data(&data);
  return 0;
}
