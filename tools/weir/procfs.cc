#include "procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string_view>
#include <system_error>

namespace weir::tool {
namespace {

namespace fs = std::filesystem;

// By system calls alone: `weir vmstat` reads several a line, and a file stream takes as long as the kernel does.
std::string contents(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::string text;
  char part[4096];  // most such files are shorter
  for (ssize_t got = 0; (got = read(fd, part, sizeof(part))) > 0;) text.append(part, static_cast<size_t>(got));
  close(fd);
  return text;
}

std::optional<pid_t> number(std::string_view text) {
  pid_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value <= 0) return std::nullopt;
  return value;
}

std::vector<pid_t> numbered_entries(const std::string& folder) {
  std::vector<pid_t> numbers;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (const auto n = number(entry->path().filename().string())) numbers.push_back(*n);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// The number behind "<label>:" in a file of such lines; 0 when there is none.
uint64_t labelled(const std::string& text, std::string_view label) {
  const size_t at = text.find(fmt::format("{}:", label));
  return at == std::string::npos ? 0 : strtoull(text.c_str() + at + label.size() + 1, nullptr, 10);
}

// proc_pid_stat(5) counts from 1 and begins with the number and the name: utime is 14, stime 15.
constexpr size_t kFlags = 9 - 3, kUserTime = 14 - 3, kSystemTime = 15 - 3;
// Of those flags (include/linux/sched.h, PF_EXITING): it gives back what it has, or waits for its parent to ask.
constexpr unsigned long kExiting = 4;

// The first words of a stat file behind the name in brackets, which may itself have brackets and blanks; [0] is the
// state, and the last the system's time.
std::vector<std::string> stat_words(const std::string& path) {
  const std::string text = contents(path);
  size_t at = text.rfind(')');
  if (at == std::string::npos) return {};
  std::vector<std::string> words;
  while (words.size() <= kSystemTime && (at = text.find_first_not_of(' ', at + 1)) != std::string::npos) {
    const size_t end = std::min(text.find(' ', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

void add_thread(ProcessUsage& usage, const std::string& thread) {
  const auto words = stat_words(thread + "/stat");
  if (words.empty()) return;
  usage.running += words[0] == "R";
  usage.blocked += words[0] == "D";
  const std::string status = contents(thread + "/status");
  usage.context_switches += labelled(status, "\nvoluntary_ctxt_switches");
  usage.context_switches += labelled(status, "nonvoluntary_ctxt_switches");
}

std::optional<Mapping> parse_mapping(const char* line) {
  Mapping m;
  unsigned long start = 0, end = 0;
  char rights[5] = {};
  int path_at = 0;
  // address, rights, offset, device, inode, path
  if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &start, &end, rights, &path_at) < 3) return std::nullopt;
  m.start = start;
  m.end = end;
  m.writable = rights[1] == 'w';
  m.shared = rights[3] == 's';
  m.path = line + path_at;
  if (m.path.ends_with('\n')) m.path.pop_back();
  return m;
}

}  // namespace

std::vector<pid_t> all_processes() {
  return numbered_entries("/proc");
}

bool process_exists(pid_t pid) {
  if (access(fmt::format("/proc/{}", pid).c_str(), F_OK) != 0) return false;
  const std::string tasks = fmt::format("/proc/{}/task", pid);
  const std::vector<pid_t> threads = numbered_entries(tasks);
  const bool ended = std::all_of(threads.begin(), threads.end(), [&](pid_t thread) {
    const std::vector<std::string> words = stat_words(fmt::format("{}/{}/stat", tasks, thread));
    return words.size() <= kFlags || (strtoul(words[kFlags].c_str(), nullptr, 10) & kExiting) != 0;
  });
  // Threads that cannot be listed are somebody else's.
  return threads.empty() ? access(tasks.c_str(), R_OK) != 0 && errno != ENOENT : !ended;
}

pid_t own_number_of(pid_t pid) {
  constexpr std::string_view kLabel = "\nNSpid:";
  const std::string text = contents(fmt::format("/proc/{}/status", pid));
  const size_t at = text.find(kLabel);
  if (at == std::string::npos) return 0;
  // One for each namespace, the innermost last.
  std::istringstream numbers(text.substr(at + kLabel.size(), text.find('\n', at + 1) - at - kLabel.size()));
  pid_t last = 0;
  for (pid_t each = 0; numbers >> each;) last = each;
  return last;
}

bool is_own(pid_t pid) {
  struct stat info = {};
  return stat(fmt::format("/proc/{}", pid).c_str(), &info) == 0 && info.st_uid == geteuid();
}

std::string command_of(pid_t pid) {
  std::string name = contents(fmt::format("/proc/{}/comm", pid));
  if (name.ends_with('\n')) name.pop_back();
  for (char& c : name)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  return name.empty() ? "?" : name;
}

std::string arguments_of(pid_t pid) {
  constexpr size_t kMostBytes = 4096;
  std::string text = contents(fmt::format("/proc/{}/cmdline", pid)).substr(0, kMostBytes);
  while (text.ends_with('\0')) text.pop_back();
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  return text;
}

std::optional<std::vector<Mapping>> mappings_of(pid_t pid) {
  FILE* file = fopen(fmt::format("/proc/{}/maps", pid).c_str(), "re");
  if (file == nullptr) return std::nullopt;
  std::vector<Mapping> all;
  char* line = nullptr;
  size_t capacity = 0;
  errno = 0;
  while (getline(&line, &capacity, file) >= 0)
    if (const auto mapping = parse_mapping(line)) all.push_back(*mapping);
  const int error = errno;
  free(line);
  fclose(file);
  errno = error;
  if (all.empty() && error != 0 && error != ESRCH) return std::nullopt;
  return all;
}

ProcessUsage usage_of(pid_t pid) {
  ProcessUsage usage;
  const std::string folder = fmt::format("/proc/{}", pid);
  for (const pid_t thread : numbered_entries(folder + "/task"))
    add_thread(usage, fmt::format("{}/task/{}", folder, thread));
  const auto words = stat_words(folder + "/stat");
  if (words.size() > kSystemTime) {
    usage.user_ticks = strtoull(words[kUserTime].c_str(), nullptr, 10);
    usage.system_ticks = strtoull(words[kSystemTime].c_str(), nullptr, 10);
  }
  const std::string io = contents(folder + "/io");
  usage.read_bytes = labelled(io, "\nread_bytes");
  usage.written_bytes = labelled(io, "\nwrite_bytes");
  return usage;
}

}  // namespace weir::tool
