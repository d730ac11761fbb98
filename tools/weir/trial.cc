#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "conf.h"
#include "failure.h"
#include "library.h"

namespace weir::tool {
namespace {

// It takes some milliseconds; a machine that is much slower than that is out of memory or worse.
constexpr std::chrono::seconds kPatience{20};

// This command itself, told to print its version: a program that is surely here and ends at once.
[[noreturn]] void become_program(int output, const std::string& preload, const std::string& conf) {
  dup2(output, STDERR_FILENO);
  const int nowhere = open("/dev/null", O_RDWR);
  dup2(nowhere, STDIN_FILENO);
  dup2(nowhere, STDOUT_FILENO);
  setenv("LD_PRELOAD", preload.c_str(), 1);
  setenv("WEIR_CONF", conf.c_str(), 1);
  execl("/proc/self/exe", "weir", "--version", nullptr);
  _exit(kFailed);
}

// Everything up to the end, or false when that does not come in time.
bool read_all(int fd, std::string& text) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd one = {fd, POLLIN, 0};
    if (left.count() <= 0) return false;
    if (poll(&one, 1, static_cast<int>(left.count())) <= 0) continue;
    char buffer[4096];
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got == 0) return true;
    if (got < 0 && errno != EINTR) return false;
    if (got > 0) text.append(buffer, static_cast<size_t>(got));
  }
}

// The summary names the mode; what else begins with "weir: " is a complaint.
Trial understand(const std::string& text) {
  constexpr std::string_view kMode = "\tMode: ", kWeir = "weir: ", kSummary = "weir: summary";
  Trial trial;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kMode)) trial.mode = line.substr(kMode.size());
    if (line.starts_with(kWeir) && !line.starts_with(kSummary)) trial.problem = line.substr(kWeir.size());
  }
  if (trial.mode.empty() && trial.problem.empty()) trial.problem = "a program under a limit did not come to its end";
  return trial;
}

Trial run_trial(const std::string& preload, const std::string& conf) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {"", fmt::format("no pipe: {}", strerror(errno))};
  const pid_t child = fork();
  if (child == 0) become_program(ends[1], preload, conf);
  const int error = errno;
  close(ends[1]);
  std::string text;
  const bool ended = child > 0 && read_all(ends[0], text);
  close(ends[0]);
  if (child < 0) return {"", fmt::format("no program can be started: {}", strerror(error))};
  if (!ended) kill(child, SIGKILL);
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  return ended ? understand(text) : Trial{"", fmt::format("a program under a limit ran for {} s", kPatience.count())};
}

}  // namespace

Trial try_limit(const std::string& swap) {
  try {
    Conf conf("");
    conf.set("limit", "64M", "limit");
    conf.set("swap", swap, fmt::format("--swap {}", swap));
    conf.set("summary", "1", "summary");
    return run_trial(preload_value(find_library(), ""), conf.text());
  } catch (const Failure& failure) {
    return {"", failure.what()};
  }
}

}  // namespace weir::tool
