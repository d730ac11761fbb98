/* closed_fds.c: a program started with stdin, stdout and stderr closed, or that closes every descriptor (daemons do),
 * works; nothing is ever written into files that then get the numbers 0 to 2. */
#include <pthread.h>
#include <sys/stat.h>

#include "contract.h"

/* Nothing can be printed here, so failures are exit codes of their own. */
static int churn(void) {
  for (size_t i = 1; i < 3000; ++i) {
    char* ptr = malloc(i * 11);
    if (ptr == NULL) return 2;
    memset(ptr, 1, i * 11);
    ptr = realloc(ptr, i * 13);
    if (ptr == NULL) return 3;
    free(ptr);
  }
  char* large = malloc(128 * MIB);
  if (large == NULL) return 4;
  memset(large, 1, 128 * MIB);
  free(large);
  return 0;
}

static void* churn_in_thread(void* unused) {
  return churn() == 0 ? unused : NULL;
}

static int live_without_descriptors(void) {
  char name[] = "/tmp/weir-closed-fds-XXXXXX";
  pthread_t thread;
  void* result = NULL;
  int status = 0;
  struct stat info;
  int marker = 0;
  int first = mkstemp(name);
  if (first != 0 || dup(first) != 1 || dup(first) != 2) return 5;
  unlink(name);
  int code = churn();
  if (code != 0) return code;
  if (pthread_create(&thread, NULL, churn_in_thread, &marker) != 0) return 6;
  if (pthread_join(thread, &result) != 0 || result != &marker) return 7;
  pid_t child = fork();
  if (child == 0) _exit(churn());
  if (waitpid(child, &status, 0) != child || !exited_with(status, 0)) return 8;
  for (int fd = 3; fd < 1024; ++fd) close(fd);
  code = churn();
  if (code != 0) return code;
  /* Nobody wrote to the file that stands where stderr stood. */
  if (fstat(2, &info) != 0 || info.st_size != 0) return 9;
  return 0;
}

static void start_closed(void* unused) {
  (void)unused;
  for (int fd = 0; fd < 64; ++fd) close(fd);
  exec_self("closed", NULL);
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "closed") == 0) {
    end_if_hung(60);
    return live_without_descriptors();
  }
  contract_begin(60);
  struct ChildResult result = run_child(start_closed, NULL);
  if (!exited_with(result.status, 0)) fprintf(stderr, "closed_fds.c: child status 0x%x\n", (unsigned)result.status);
  CHECK(exited_with(result.status, 0));
  return 0;
}
