// Runs one command and reports what it cost: launch [--env NAME=VALUE]... -- COMMAND [ARGUMENT]...
//
// Standard output of the command is passed on; the report goes to file descriptor 3 as one line of JSON. A small
// process of its own does this because Linux lets a child inherit the peak memory of the process that started it: a
// Python interpreter as parent would hide every program below its own size. Usage errors end with 64.
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

extern char** environ;

namespace {

constexpr int kReportFd = 3;

double now() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<double>(ts.tv_sec) + static_cast<double>(ts.tv_nsec) * 1e-9;
}

double seconds(const timeval& tv) {
  return static_cast<double>(tv.tv_sec) + static_cast<double>(tv.tv_usec) * 1e-6;
}

[[noreturn]] void usage(const char* bad) {
  fprintf(stderr, "launch: bad argument '%s', expected [--env NAME=VALUE]... -- COMMAND [ARGUMENT]...\n", bad);
  exit(64);
}

// The environment of this process and the assignments given, the latter first so that they win.
char** child_environment(char** assignments, size_t count) {
  size_t inherited = 0;
  while (environ[inherited] != nullptr) ++inherited;
  auto** result = static_cast<char**>(calloc(count + inherited + 1, sizeof(char*)));
  size_t n = 0;
  for (size_t i = 0; i < count; ++i) result[n++] = assignments[i];
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const size_t name = static_cast<size_t>(strchrnul(*entry, '=') - *entry) + 1;
    bool overridden = false;
    for (size_t i = 0; i < count; ++i) overridden = overridden || strncmp(*entry, assignments[i], name) == 0;
    if (!overridden) result[n++] = *entry;
  }
  return result;
}

int report(double wall, int status, const rusage& usage) {
  const int exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  const int written =
      dprintf(kReportFd,
              "{\"wall\": %.6f, \"user\": %.6f, \"sys\": %.6f, \"rss_kib\": %ld, \"minflt\": %ld, "
              "\"status\": %d}\n",
              wall, seconds(usage.ru_utime), seconds(usage.ru_stime), usage.ru_maxrss, usage.ru_minflt, exit_status);
  return written > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  auto** assignments = static_cast<char**>(calloc(static_cast<size_t>(argc), sizeof(char*)));
  size_t count = 0;
  int at = 1;
  for (; at < argc && strcmp(argv[at], "--") != 0; ++at) {
    if (strcmp(argv[at], "--env") != 0 || at + 1 >= argc || strchr(argv[at + 1], '=') == nullptr) usage(argv[at]);
    assignments[count++] = argv[++at];
  }
  if (at + 1 >= argc) usage("(no command)");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addclose(&actions, kReportFd);
  char** environment = child_environment(assignments, count);

  pid_t pid = 0;
  const double start = now();
  const int error = posix_spawnp(&pid, argv[at + 1], &actions, nullptr, argv + at + 1, environment);
  if (error != 0) {
    fprintf(stderr, "launch: cannot start '%s': %s\n", argv[at + 1], strerror(error));
    return 1;
  }
  int status = 0;
  rusage usage_of_child{};
  while (wait4(pid, &status, 0, &usage_of_child) < 0) {
    if (errno != EINTR) return 1;
  }
  return report(now() - start, status, usage_of_child);
}
