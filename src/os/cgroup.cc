#include "os/cgroup.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "os/file.h"
#include "os/syscall.h"
#include "os/vm.h"

namespace weir::os {
namespace {

// PATH_MAX of the kernel, with the NUL. A line of mountinfo has two paths and the options behind them, and where paths
// are that long only some of that; a longer line is passed over.
constexpr size_t kMaxPath = 4096;
constexpr size_t kMaxLine = 3 * kMaxPath;

// Without a limit version 1 says LONG_MAX rounded down to pages. No machine has memory of half of that.
constexpr uint64_t kNoLimit = uint64_t{1} << 62;

constexpr int kVersions = 2;

struct Work {
  char groups[kVersions][kMaxPath];  // the group of this process in each version, "" when it is in none
  char line[kMaxLine];
  char mount_root[kMaxPath];
  char mount_point[kMaxPath];
  char path[kMaxPath];
  // Called for each group, the own one first, with its folder in `path`.
  void (*at_group)(Work& work, bool second);
  uint64_t limit;
  CgroupState state;
  bool told_stalls;
};

// (Not substr, which throws.)
std::string_view take_field(std::string_view& line, char separator = ' ') {
  const size_t end = std::min(line.find(separator), line.size());
  const std::string_view field(line.data(), end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return field;
}

bool has_word(std::string_view list, std::string_view word) {
  while (!list.empty())
    if (take_field(list, ',') == word) return true;
  return false;
}

// A path with a NUL behind it; false when it is too long.
bool copy_path(std::string_view path, char* to) {
  if (path.size() >= kMaxPath) return false;
  memcpy(to, path.data(), path.size());
  to[path.size()] = '\0';
  return true;
}

bool is_octal(char c) {
  return c >= '0' && c <= '7';
}

// mountinfo writes blanks, newlines and backslashes of paths as "\040".
bool copy_escaped_path(std::string_view path, char* to) {
  size_t size = 0;
  for (size_t i = 0; i < path.size(); ++i) {
    if (size + 1 >= kMaxPath) return false;
    char c = path[i];
    if (c == '\\' && i + 3 < path.size() && is_octal(path[i + 1]) && is_octal(path[i + 2]) && is_octal(path[i + 3])) {
      c = static_cast<char>((path[i + 1] - '0') * 64 + (path[i + 2] - '0') * 8 + (path[i + 3] - '0'));
      i += 3;
    }
    to[size++] = c;
  }
  to[size] = '\0';
  return true;
}

// Appends to the path in `to`, which ends with a NUL; false when it gets too long.
bool append_path(char* to, std::string_view part) {
  const size_t size = strlen(to);
  return size + part.size() < kMaxPath && copy_path(part, to + size);
}

// Calls each(work, line) for every line of the file.
void for_each_line(const char* root, const char* file, Work& work, void (*each)(Work&, const char*, std::string_view)) {
  work.path[0] = '\0';
  if (!append_path(work.path, root) || !append_path(work.path, file)) return;
  long fd;
  do {
    fd = syscall6(SYS_openat, AT_FDCWD, as_arg(work.path), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (fd == -EINTR);
  if (fd < 0) return;
  size_t held = 0;
  bool skipping = false;  // the rest of a line that is too long
  for (;;) {
    const long got = syscall6(SYS_read, fd, as_arg(work.line + held), static_cast<long>(kMaxLine - held));
    if (got == -EINTR) continue;
    if (got <= 0) break;
    std::string_view text(work.line, held + static_cast<size_t>(got));
    for (size_t end; (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1)) {
      if (!skipping) each(work, root, {text.data(), end});
      skipping = false;
    }
    held = text.size();
    memmove(work.line, text.data(), held);
    if (held < kMaxLine) continue;
    skipping = true;
    held = 0;
  }
  if (held != 0 && !skipping) each(work, root, {work.line, held});
  close_descriptor(static_cast<int>(fd));
}

// A line of /proc/self/cgroup: "4:memory:/group" or "0::/group".
void read_group(Work& work, const char*, std::string_view line) {
  const std::string_view hierarchy = take_field(line, ':');
  const std::string_view controllers = take_field(line, ':');
  const bool second = hierarchy == "0" && controllers.empty();
  if (!second && !has_word(controllers, "memory")) return;
  if (!copy_path(line, work.groups[second ? 1 : 0])) work.groups[second ? 1 : 0][0] = '\0';
}

// A number at the start of a text; false: "max", or none.
bool read_number(std::string_view text, uint64_t& number) {
  number = 0;
  if (text.empty() || text.front() < '0' || text.front() > '9') return false;
  for (char c : text) {
    if (c < '0' || c > '9') break;
    if (__builtin_mul_overflow(number, uint64_t{10}, &number) ||
        __builtin_add_overflow(number, static_cast<uint64_t>(c - '0'), &number))
      return false;
  }
  return true;
}

// Reads the start of a file in the folder work.path; empty when there is none.
std::string_view read_file(Work& work, std::string_view file, char* buffer, size_t size) {
  const size_t folder = strlen(work.path);
  if (!append_path(work.path, file)) return {};
  const ssize_t got = read_small_file(work.path, buffer, size);
  work.path[folder] = '\0';
  return got > 0 ? std::string_view(buffer, static_cast<size_t>(got)) : std::string_view();
}

// The number in a file in the folder work.path.
bool read_number_in(Work& work, std::string_view file, uint64_t& number) {
  char text[32];  // 2^64 has 20 digits
  return read_number(read_file(work, file, text, sizeof(text)), number);
}

// Lowers `limit` (0: none) to what the file says.
void lower_limit(Work& work, std::string_view file, uint64_t& limit) {
  uint64_t bytes = 0;
  if (!read_number_in(work, file, bytes) || bytes >= kNoLimit) return;
  // A group may have a limit of nothing, and then a process in it still runs on what it was charged before.
  bytes = std::max<uint64_t>(bytes, 1);
  limit = limit == 0 ? bytes : std::min(limit, bytes);
}

void lower_limit_of_group(Work& work, bool second, uint64_t& limit) {
  lower_limit(work, second ? "/memory.max" : "/memory.limit_in_bytes", limit);
  if (second) lower_limit(work, "/memory.high", limit);
}

// -- what a group tells of a lack of memory --------------------------------------------------------------------------

// The number behind a word at the start of a line; 0.
uint64_t number_of(std::string_view text, std::string_view word) {
  uint64_t number = 0;
  while (!text.empty()) {
    std::string_view line = take_field(text, '\n');
    if (take_field(line) == word && read_number(line, number)) return number;
  }
  return 0;
}

void add_events(Work& work, bool second) {
  char text[256];  // six words with numbers
  if (second) {
    const std::string_view events = read_file(work, "/memory.events", text, sizeof(text));
    work.state.hits += number_of(events, "high") + number_of(events, "max");
    work.state.oom_kills += number_of(events, "oom_kill");
    return;
  }
  uint64_t failures = 0;
  if (read_number_in(work, "/memory.failcnt", failures)) work.state.hits += failures;
  work.state.oom_kills += number_of(read_file(work, "/memory.oom_control", text, sizeof(text)), "oom_kill");
}

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234"
void note_stalls(Work& work, std::string_view pressure) {
  constexpr std::string_view kTotal = "total=";
  const size_t at = pressure.find(kTotal);
  if (!pressure.starts_with("some ") || at == std::string_view::npos) return;
  pressure.remove_prefix(at + kTotal.size());
  work.told_stalls = read_number(pressure, work.state.stalled_us);
}

void note_room(Work& work, bool second) {
  uint64_t limit = 0, usage = 0;
  lower_limit_of_group(work, second, limit);
  if (limit == 0 || !read_number_in(work, second ? "/memory.current" : "/memory.usage_in_bytes", usage)) return;
  // (The table of mounts is being read into work.line.)
  char text[kMaxPath];
  const std::string_view stat = read_file(work, "/memory.stat", text, sizeof(text));
  const uint64_t cache = second ? number_of(stat, "inactive_file") + number_of(stat, "active_file")
                                : number_of(stat, "total_inactive_file") + number_of(stat, "total_active_file");
  const uint64_t held = usage > cache ? usage - cache : 0;
  work.state.room = std::min(work.state.room, static_cast<int64_t>(limit) - static_cast<int64_t>(held));
}

void note_state(Work& work, bool second) {
  add_events(work, second);
  note_room(work, second);
  char text[256];  // two lines
  if (second && !work.told_stalls) note_stalls(work, read_file(work, "/memory.pressure", text, sizeof(text)));
}

// Takes the last folder off work.path, down to the `stop` first characters; false when there is none left.
bool to_parent(Work& work, size_t stop) {
  size_t size = strlen(work.path);
  if (size <= stop) return false;
  do --size;
  while (size > stop && work.path[size] != '/');
  work.path[size] = '\0';
  return true;
}

// The part of `group` below `mount_root`, which begins with a slash or is empty; false when it lies outside.
bool below_mount(std::string_view group, std::string_view mount_root, std::string_view& below) {
  if (mount_root == "/") mount_root = "";
  if (!group.starts_with(mount_root)) return false;
  below = group;
  below.remove_prefix(mount_root.size());
  if (below == "/") below = "";
  // A group outside of the cgroup namespace is shown as "/../other".
  return (below.empty() || below.front() == '/') && !below.starts_with("/..");
}

// A line of /proc/self/mountinfo: "32 31 0:29 /root /mount/point rw,relatime shared:1 - cgroup cgroup rw,memory".
void read_mount(Work& work, const char* root, std::string_view line) {
  for (int i = 0; i < 3; ++i) take_field(line);
  const std::string_view mount_root = take_field(line), mount_point = take_field(line);
  const size_t dash = line.find(" - ");
  if (dash == std::string_view::npos) return;
  line.remove_prefix(dash + 3);
  const std::string_view type = take_field(line);
  take_field(line);  // the source
  const bool second = type == "cgroup2";
  if (!second && (type != "cgroup" || !has_word(line, "memory"))) return;
  const char* group = work.groups[second ? 1 : 0];
  std::string_view below;
  if (group[0] == '\0' || !copy_escaped_path(mount_root, work.mount_root) ||
      !copy_escaped_path(mount_point, work.mount_point) || !below_mount(group, work.mount_root, below))
    return;
  work.path[0] = '\0';
  if (!append_path(work.path, root) || !append_path(work.path, work.mount_point)) return;
  const size_t stop = strlen(work.path);
  if (!append_path(work.path, below)) return;
  do work.at_group(work, second);
  while (to_parent(work, stop));
}

constexpr size_t kWorkBytes = (sizeof(Work) + kMaxPath - 1) / kMaxPath * kMaxPath;

// Null: no memory. To be unmapped by the caller.
Work* visit_groups(const char* root, void (*at_group)(Work&, bool second)) {
  // Fresh pages are zeros: no groups, no limit.
  void* memory = vm_map(kWorkBytes);
  if (memory == nullptr) return nullptr;
  Work* work = static_cast<Work*>(memory);
  work->state = CgroupState();
  work->at_group = at_group;
  for_each_line(root, "/proc/self/cgroup", *work, read_group);
  if (work->groups[0][0] != '\0' || work->groups[1][0] != '\0')
    for_each_line(root, "/proc/self/mountinfo", *work, read_mount);
  return work;
}

}  // namespace

uint64_t cgroup_memory_limit(const char* root) {
  Work* work = visit_groups(root, [](Work& each, bool second) { lower_limit_of_group(each, second, each.limit); });
  if (work == nullptr) return 0;
  const uint64_t limit = work->limit;
  vm_unmap(work, kWorkBytes);
  return limit;
}

CgroupState cgroup_state(const char* root) {
  Work* work = visit_groups(root, note_state);
  if (work == nullptr) return {};
  char text[256];
  work->path[0] = '\0';
  if (!work->told_stalls && append_path(work->path, root))
    note_stalls(*work, read_file(*work, "/proc/pressure/memory", text, sizeof(text)));
  const CgroupState state = work->state;
  vm_unmap(work, kWorkBytes);
  return state;
}

}  // namespace weir::os
