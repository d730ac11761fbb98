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
  uint64_t limit;
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

void lower_limit(Work& work, std::string_view text) {
  uint64_t bytes = 0;
  if (text.empty() || text.front() < '0' || text.front() > '9') return;  // "max"
  for (char c : text) {
    if (c < '0' || c > '9') break;
    if (__builtin_mul_overflow(bytes, uint64_t{10}, &bytes) ||
        __builtin_add_overflow(bytes, static_cast<uint64_t>(c - '0'), &bytes))
      return;
  }
  if (bytes >= kNoLimit) return;
  // A group may have a limit of nothing, and then a process in it still runs on what it was charged before.
  bytes = std::max<uint64_t>(bytes, 1);
  work.limit = work.limit == 0 ? bytes : std::min(work.limit, bytes);
}

// Lowers work.limit to what the file in the folder work.path says.
void read_limit(Work& work, std::string_view file) {
  const size_t size = strlen(work.path);
  if (!append_path(work.path, file)) return;
  char text[32];  // 2^64 has 20 digits
  const ssize_t got = read_small_file(work.path, text, sizeof(text));
  work.path[size] = '\0';
  if (got > 0) lower_limit(work, {text, static_cast<size_t>(got)});
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
  do {
    if (second) {
      read_limit(work, "/memory.max");
      read_limit(work, "/memory.high");
    } else {
      read_limit(work, "/memory.limit_in_bytes");
    }
  } while (to_parent(work, stop));
}

}  // namespace

uint64_t cgroup_memory_limit(const char* root) {
  constexpr size_t kBytes = (sizeof(Work) + kMaxPath - 1) / kMaxPath * kMaxPath;
  // Fresh pages are zeros: no groups, no limit.
  auto* work = static_cast<Work*>(vm_map(kBytes));
  if (work == nullptr) return 0;
  for_each_line(root, "/proc/self/cgroup", *work, read_group);
  if (work->groups[0][0] != '\0' || work->groups[1][0] != '\0')
    for_each_line(root, "/proc/self/mountinfo", *work, read_mount);
  const uint64_t limit = work->limit;
  vm_unmap(work, kBytes);
  return limit;
}

}  // namespace weir::os
