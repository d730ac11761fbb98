// Purpose: what the kernel tells of other processes in /proc.
// Thread safety: functions of the file system. Invariants: a process that ends meanwhile is an empty result, no error.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace weir::tool {

// The largest number a process may have: PID_MAX_LIMIT of the kernel.
constexpr pid_t kMostPid = 4194304;

// The numbers of the processes there are, rising.
[[nodiscard]] std::vector<pid_t> all_processes();
// Whether a thread of it still runs: one that has ended stays in /proc until its memory is given back and its parent
// has asked for its status.
[[nodiscard]] bool process_exists(pid_t pid);
// Whether the caller is the process's user.
[[nodiscard]] bool is_own(pid_t pid);
// Its name, as ps -o comm; "?" when it is gone.
[[nodiscard]] std::string command_of(pid_t pid);
// What it was called with, blanks between, as ps -o args (cut off at some KiB); "" when it is gone.
[[nodiscard]] std::string arguments_of(pid_t pid);

// Its number as it sees it itself, which is another one in a container; 0 when it is gone.
[[nodiscard]] pid_t own_number_of(pid_t pid);

struct Mapping {
  uint64_t start = 0, end = 0;
  bool writable = false;
  bool shared = false;
  std::string path;  // "" for memory without a name
};
// The mappings of a process. Nothing when they cannot be read; then errno says why.
[[nodiscard]] std::optional<std::vector<Mapping>> mappings_of(pid_t pid);

// What a process used of the machine so far.
struct ProcessUsage {
  unsigned running = 0, blocked = 0;  // threads now
  uint64_t user_ticks = 0, system_ticks = 0;
  uint64_t context_switches = 0;
  uint64_t read_bytes = 0, written_bytes = 0;  // 0 when that is not the caller's to know
};
[[nodiscard]] ProcessUsage usage_of(pid_t pid);

}  // namespace weir::tool
