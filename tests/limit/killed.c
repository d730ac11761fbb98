/* killed.c: whenever a process is killed, nothing stays in the directory that it swaps to (tests/limit/run looks too).
 */
// limit: timeout=60
#include <dirent.h>

#include "limit.h"

static struct Dataset data;

static unsigned files_in(const char* directory) {
  unsigned count = 0;
  DIR* list = opendir(directory);
  CHECK(list != NULL);
  for (struct dirent* entry; (entry = readdir(list)) != NULL;) count += entry->d_name[0] != '.';
  closedir(list);
  return count;
}

int main(int argc, char** argv) {
  uint64_t random = (uint64_t)getpid();
  int ready[2];
  contract_begin(55);
  if (argc == 2 && strcmp(argv[1], "victim") == 0) {
    make_twice_the_limit(&data);
    /* Nobody may be there to read it. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    CHECK(write(3, "r", 1) == 1 || errno == EPIPE);
    for (uint32_t generation = 2;; ++generation) {
      if (generation % 2 == 0 && fork() == 0) {
        /* The child is not killed with it: it ends by itself, soon. */
        alarm(2);
        check_data(&data);
        _exit(0);
      }
      rewrite_data(&data, generation);
    }
  }
  const char* directory = getenv("LIMIT_SWAP");
  for (int round = 0; round < 20; ++round) {
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
      dup2(ready[1], 3);
      if (ready[0] != 3) close(ready[0]);
      if (ready[1] != 3) close(ready[1]);
      exec_self("victim", NULL);
    }
    close(ready[1]);
    if (round % 4 != 0) {
      char byte;
      CHECK(read(ready[0], &byte, 1) == 1);
    }
    close(ready[0]);
    usleep(next_random(&random) % 200000);
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(killed_by(status_of(child), SIGKILL));
    if (directory != NULL) CHECK(files_in(directory) == 0);
  }
  return 0;
}
