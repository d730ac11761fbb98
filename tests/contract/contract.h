/* contract.h: what every contract program is written with: checks that end the program with one line, the question
 * which allocator is underneath, child processes whose stderr and exit are examined.
 *
 * Thread safety: CHECK may be used in any thread and in forked children; it neither allocates nor runs exit handlers.
 * A contract program passes by returning 0 and skips by returning kSkip after one line that says why.
 */
#ifndef WEIR_TESTS_CONTRACT_CONTRACT_H_
#define WEIR_TESTS_CONTRACT_CONTRACT_H_

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* ctest's SKIP_RETURN_CODE, the number automake made customary. */
enum { kSkip = 77 };

#define CHECK(condition) ((condition) ? (void)0 : contract_fail(__FILE__, __LINE__, #condition))

__attribute__((noreturn, unused)) static void contract_fail(const char* file, int line, const char* what) {
  char text[512];
  int error = errno;
  const char* name = strrchr(file, '/');
  int length = snprintf(text, sizeof text, "%s:%d: does not hold: %s (errno %d, process %d)\n",
                        name != NULL ? name + 1 : file, line, what, error, (int)getpid());
  if (write(STDERR_FILENO, text, (size_t)length) < 0) _exit(2);
  _exit(1);
}

/* Hides from the compiler where a pointer comes from, so that it may neither elide a call nor warn of misuse. */
__attribute__((unused)) static inline void* opaque(void* ptr) {
  __asm__ volatile("" : "+r"(ptr) : : "memory");
  return ptr;
}

__attribute__((unused)) static inline size_t opaque_size(size_t size) {
  __asm__ volatile("" : "+r"(size));
  return size;
}

/* The file that the program's malloc comes from. */
__attribute__((unused)) static const char* allocator_file(void) {
  Dl_info info;
  void* address = dlsym(RTLD_DEFAULT, "malloc");
  return address != NULL && dladdr(address, &info) != 0 && info.dli_fname != NULL ? info.dli_fname : "unknown";
}

__attribute__((unused)) static int allocator_is_weir(void) {
  return strstr(allocator_file(), "libweir-malloc") != NULL;
}

/* Ends a process that hangs. `seconds` is what it may take on an idle machine; the factor is for one that does other
 * things at the same time, and WEIR_PATIENCE a further one, for emulated machines. How long something takes is for
 * benchmarks. */
__attribute__((unused)) static void end_if_hung(unsigned seconds) {
  enum { kPatience = 4 };
  const char* further = getenv("WEIR_PATIENCE");
  int times = further != NULL ? atoi(further) : 1;
  alarm(seconds * kPatience * (unsigned)(times > 1 ? times : 1));
}

/* Ends the program if it does not run on the allocator that the runner promised, and a program that hangs. */
__attribute__((unused)) static void contract_begin(unsigned seconds) {
  const char* wanted = getenv("CONTRACT_ALLOCATOR");
  if (wanted != NULL) {
    const char* part = strcmp(wanted, "weir") == 0 ? "libweir-malloc" : "libc.so";
    if (strstr(allocator_file(), part) == NULL) {
      fprintf(stderr, "malloc comes from %s, wanted %s\n", allocator_file(), wanted);
      exit(1);
    }
  }
  end_if_hung(seconds);
}

/* A child's end and the first part of what it wrote to stderr. */
struct ChildResult {
  int status;
  size_t length;
  char text[4096];
};

/* Runs body(argument) in a forked child; returning from it is exit status 0. */
__attribute__((unused)) static struct ChildResult run_child(void (*body)(void*), void* argument) {
  struct ChildResult result;
  int ends[2];
  memset(&result, 0, sizeof result);
  CHECK(pipe(ends) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    body(argument);
    _exit(0);
  }
  close(ends[1]);
  for (;;) {
    char rest[512];
    size_t room = sizeof result.text - 1 - result.length;
    ssize_t got = read(ends[0], room > 0 ? result.text + result.length : rest, room > 0 ? room : sizeof rest);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    if (room > 0) result.length += (size_t)got;
  }
  close(ends[0]);
  while (waitpid(child, &result.status, 0) < 0) CHECK(errno == EINTR);
  return result;
}

__attribute__((unused)) static int exited_with(int status, int code) {
  return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

__attribute__((unused)) static int killed_by(int status, int signo) {
  return WIFSIGNALED(status) && WTERMSIG(status) == signo;
}

/* Waits for a child and demands that it ended with status 0. */
__attribute__((unused)) static void expect_success(pid_t child) {
  int status = 0;
  CHECK(child > 0);
  while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
  CHECK(exited_with(status, 0));
}

/* Replaces the process by the same program with one argument, WEIR_CONF set to `conf` when that is not null. */
__attribute__((unused, noreturn)) static void exec_self(const char* argument, const char* conf) {
  char self[4096];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  CHECK(length > 0);
  self[length] = '\0';
  if (conf != NULL) setenv("WEIR_CONF", conf, 1);
  execl(self, self, argument, (char*)NULL);
  contract_fail(__FILE__, __LINE__, "execl");
}

/* Resident bytes of a process, 0 for our own; read with system calls only, because the observer must not allocate. */
__attribute__((unused)) static size_t resident_bytes(pid_t process) {
  char path[64];
  char text[256];
  unsigned long total = 0;
  unsigned long resident = 0;
  snprintf(path, sizeof path, "/proc/%d/statm", process == 0 ? (int)getpid() : (int)process);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return 0;
  text[length] = '\0';
  if (sscanf(text, "%lu %lu", &total, &resident) != 2) return 0;
  return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Threads of this process, weir's among them. */
__attribute__((unused)) static unsigned nr_threads(void) {
  unsigned count = 0;
  DIR* list = opendir("/proc/self/task");
  CHECK(list != NULL);
  for (struct dirent* entry; (entry = readdir(list)) != NULL;) count += entry->d_name[0] != '.';
  closedir(list);
  return count;
}

/* Fills and verifies an object with a pattern that depends on the tag and on the place. */
__attribute__((unused)) static void fill(void* ptr, size_t size, unsigned tag) {
  unsigned char* bytes = (unsigned char*)ptr;
  for (size_t i = 0; i < size; ++i) bytes[i] = (unsigned char)(tag * 31u + i * 7u + (i >> 8));
}

__attribute__((unused)) static int filled(const void* ptr, size_t size, unsigned tag) {
  const unsigned char* bytes = (const unsigned char*)ptr;
  for (size_t i = 0; i < size; ++i) {
    if (bytes[i] != (unsigned char)(tag * 31u + i * 7u + (i >> 8))) return 0;
  }
  return 1;
}

__attribute__((unused)) static int all_zero(const void* ptr, size_t size) {
  const unsigned char* bytes = (const unsigned char*)ptr;
  for (size_t i = 0; i < size; ++i) {
    if (bytes[i] != 0) return 0;
  }
  return 1;
}

/* A small generator of its own per thread: repeatable, and it never allocates or locks. */
__attribute__((unused)) static inline uint32_t next_random(uint64_t* state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*state >> 33);
}

/* A size as programs ask for them: mostly small, sometimes pages, rarely large. */
__attribute__((unused)) static inline size_t random_size(uint64_t* state) {
  uint32_t kind = next_random(state) % 100;
  uint32_t value = next_random(state);
  if (kind < 80) return value % 512;
  if (kind < 97) return value % (16 * 1024);
  return value % (512 * 1024);
}

#endif /* WEIR_TESTS_CONTRACT_CONTRACT_H_ */
