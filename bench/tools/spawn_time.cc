// Start-up time of /bin/true with libraries preloaded: spawn_time ROUNDS [LIBRARY]...
//
// Every round starts /bin/true without any library and once with each, the order rotated, and takes the time from
// posix_spawn to the end of wait. Prints one line of JSON: [median, least] in ms for each, without a library first.
// Usage errors end with 64.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

constexpr char kProgram[] = "/bin/true";

double now_ms() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<double>(ts.tv_sec) * 1e3 + static_cast<double>(ts.tv_nsec) * 1e-6;
}

struct Candidate {
  std::string preload;  // "LD_PRELOAD=..." or empty
  std::vector<double> times;

  void run() {
    char path[] = "PATH=/usr/bin:/bin";
    char name[] = "true";
    char* arguments[] = {name, nullptr};
    char* environment[] = {path, preload.empty() ? nullptr : preload.data(), nullptr};
    pid_t pid = 0;
    int status = 0;
    const double start = now_ms();
    const int error = posix_spawn(&pid, kProgram, nullptr, nullptr, arguments, environment);
    if (error != 0 || waitpid(pid, &status, 0) != pid || status != 0) {
      fprintf(stderr, "spawn_time: %s failed with %s\n", kProgram,
              preload.empty() ? "nothing preloaded" : preload.c_str());
      exit(1);
    }
    times.push_back(now_ms() - start);
  }

  void print(const char* before) {
    std::sort(times.begin(), times.end());
    printf("%s[%.4f, %.4f]", before, times[times.size() / 2], times.front());
  }
};

}  // namespace

int main(int argc, char** argv) {
  char* end = nullptr;
  const unsigned long rounds = argc > 1 ? strtoul(argv[1], &end, 10) : 0;
  if (rounds == 0 || *end != '\0') {
    fprintf(stderr, "spawn_time: bad argument '%s', expected ROUNDS [LIBRARY]...\n", argc > 1 ? argv[1] : "(none)");
    return 64;
  }
  std::vector<Candidate> candidates(1);
  for (int i = 2; i < argc; ++i) candidates.push_back({std::string("LD_PRELOAD=") + argv[i], {}});
  for (auto& candidate : candidates) candidate.run();  // files into memory
  for (auto& candidate : candidates) candidate.times.clear();
  for (unsigned long r = 0; r < rounds; ++r) {
    for (size_t i = 0; i < candidates.size(); ++i) candidates[(r + i) % candidates.size()].run();
  }
  printf("[");
  for (auto& candidate : candidates) candidate.print(&candidate == candidates.data() ? "" : ", ");
  printf("]\n");
  return 0;
}
