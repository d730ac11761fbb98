/* spawn.c: vfork, posix_spawn, system and popen work from a process whose threads allocate all the time. */
#include <pthread.h>
#include <spawn.h>

#include "contract.h"

enum { kRounds = 20 };
extern char** environ;
static volatile int stop;

static void* allocate_until_stop(void* seed) {
  uint64_t random = (uintptr_t)seed;
  while (!stop) {
    size_t size = random_size(&random);
    char* ptr = malloc(size);
    CHECK(ptr != NULL);
    memset(ptr, 1, size);
    free(ptr);
  }
  return NULL;
}

static void check_vfork(void) {
  char* volatile shared = malloc(100);
  CHECK(shared != NULL);
  pid_t child = vfork();
  if (child == 0) {
    /* The child shares the address space: what it allocates and frees is the parent's. */
    char* own = malloc(300);
    if (own == NULL) _exit(3);
    own[0] = 1;
    free(own);
    shared[0] = 'c';
    execl("/bin/sh", "sh", "-c", "exit 7", (char*)NULL);
    _exit(4);
  }
  int status = 0;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && exited_with(status, 7));
  CHECK(shared[0] == 'c');
  free(shared);
}

static void check_spawn(void) {
  char* const arguments[] = {"sh", "-c", "exit 9", NULL};
  posix_spawn_file_actions_t actions;
  pid_t child = 0;
  int status = 0;
  CHECK(posix_spawn_file_actions_init(&actions) == 0);
  CHECK(posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0) == 0);
  CHECK(posix_spawnp(&child, "sh", &actions, NULL, arguments, environ) == 0);
  CHECK(waitpid(child, &status, 0) == child && exited_with(status, 9));
  CHECK(posix_spawn_file_actions_destroy(&actions) == 0);
}

static void check_popen(void) {
  char line[200] = "";
  FILE* stream = popen("echo from the child; exit 5", "r");
  CHECK(stream != NULL && fgets(line, sizeof line, stream) != NULL);
  CHECK(strcmp(line, "from the child\n") == 0);
  CHECK(exited_with(pclose(stream), 5));
}

int main(void) {
  pthread_t threads[2];
  contract_begin(60);
  for (uintptr_t i = 0; i < 2; ++i) {
    CHECK(pthread_create(&threads[i], NULL, allocate_until_stop, (void*)(i + 1)) == 0);
  }
  for (int i = 0; i < kRounds; ++i) {
    check_vfork();
    check_spawn();
    check_popen();
    CHECK(exited_with(system("exit 3"), 3));
  }
  stop = 1;
  for (int i = 0; i < 2; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  return 0;
}
