#include "doctor_machine.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>

#include "system_files.h"

namespace weir::tool {
namespace {

constexpr long kPageBytes = 4096;
constexpr const char* kMeminfo = "/proc/meminfo";

uint64_t number_in(const std::string& path) {
  const std::string text = read_file(path);
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

Finding kernel_finding() {
  utsname name = {};
  uname(&name);
  return {Grade::kGood, "kernel", fmt::format("{} {}, {}", name.sysname, name.release, name.machine), {}, {}};
}

Finding page_size_finding() {
  const long bytes = sysconf(_SC_PAGESIZE);
  Finding f = {Grade::kGood, "page size", readable_bytes(static_cast<uint64_t>(bytes)), {}, {}};
  if (bytes == kPageBytes) return f;
  f.grade = Grade::kLacks;
  f.meaning = "weir works with pages of 4 KiB only";
  return f;
}

Finding memory_finding() {
  return {Grade::kGood,
          "memory",
          fmt::format("{}, {} available", readable_bytes(kilobytes_of(kMeminfo, "MemTotal")),
                      readable_bytes(kilobytes_of(kMeminfo, "MemAvailable"))),
          {},
          {}};
}

// How many ids a list of the kernel's has: "0-3,8".
unsigned count_of_list(std::string_view list) {
  unsigned count = 0;
  while (!list.empty()) {
    const std::string_view range = list.substr(0, list.find(','));
    list.remove_prefix(std::min(range.size() + 1, list.size()));
    unsigned first = 0, last = 0;
    const auto parsed = std::from_chars(range.data(), range.data() + range.size(), first);
    last = first;
    if (const char* dash = parsed.ptr; dash < range.data() + range.size() && *dash == '-')
      std::from_chars(dash + 1, range.data() + range.size(), last);
    if (last >= first) count += last - first + 1;
  }
  return count;
}

Finding nodes_finding() {
  const std::string list = read_file("/sys/devices/system/node/has_memory");
  const unsigned count = std::max(1u, count_of_list(list));
  if (count == 1) return {Grade::kGood, "NUMA nodes", "1", {}, {}};
  return {
      Grade::kGood, "NUMA nodes", fmt::format("{} ({})", count, list), "each has an arena and a part of the limit", {}};
}

// "always [madvise] never": the word in brackets.
Finding huge_pages_finding() {
  const std::string text = read_file("/sys/kernel/mm/transparent_hugepage/enabled");
  const size_t open = text.find('['), close = text.find(']');
  if (open == std::string::npos || close == std::string::npos)
    return {Grade::kNote, "transparent huge pages", "the kernel has none", "thp= has no effect", {}};
  Finding f = {Grade::kGood, "transparent huge pages", text.substr(open + 1, close - open - 1), {}, {}};
  if (f.value != "never") return f;
  f.grade = Grade::kNote;
  f.meaning = "thp=dense and thp=always have no effect; under a limit there are no huge pages anyway";
  f.remedy = "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled";
  return f;
}

Finding map_count_finding() {
  // The kernel's default. A pageblock of 2 MiB whose pages are away can be a mapping of its own, with another for them.
  constexpr uint64_t kDefault = 65530;
  const uint64_t count = number_in("/proc/sys/vm/max_map_count");
  Finding f = {Grade::kGood, "vm.max_map_count", std::to_string(count), {}, {}};
  if (count == 0 || count >= kDefault) return f;
  f.grade = Grade::kNote;
  f.meaning = "below the default: large heaps under a limit need a mapping or two for every 2 MiB";
  f.remedy = fmt::format("sudo sysctl -w vm.max_map_count={}", kDefault);
  return f;
}

Finding overcommit_finding() {
  const std::string mode = read_file("/proc/sys/vm/overcommit_memory");
  Finding f = {Grade::kGood, "vm.overcommit_memory", mode, {}, {}};
  if (mode != "2") return f;
  f.grade = Grade::kNote;
  f.value = fmt::format("2 (strict), {} of {} taken", readable_bytes(kilobytes_of(kMeminfo, "Committed_AS")),
                        readable_bytes(kilobytes_of(kMeminfo, "CommitLimit")));
  f.meaning = "what was allocated counts in full, also while it is swapped";
  f.remedy = "sudo sysctl -w vm.overcommit_memory=0";
  return f;
}

std::string readable_limit(rlim_t limit, bool bytes) {
  if (limit == RLIM_INFINITY) return "unlimited";
  return bytes ? readable_bytes(limit) : std::to_string(limit);
}

// The shell's word can only go up to the hard limit.
std::string raise_remedy(const rlimit& limit, rlim_t wanted, const std::string& shell, const std::string& option) {
  if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= wanted) return shell;
  return fmt::format("sudo prlimit --pid $$ --{}", option);
}

// RLIMIT_AS and RLIMIT_DATA: what is swapped still takes address space.
Finding space_finding(const char* name, __rlimit_resource resource, const std::string& shell,
                      const std::string& option) {
  rlimit limit = {};
  getrlimit(resource, &limit);
  Finding f = {Grade::kGood, name, readable_limit(limit.rlim_cur, true), {}, {}};
  if (limit.rlim_cur == RLIM_INFINITY) return f;
  f.grade = Grade::kLacks;
  f.meaning = "what a program allocates counts in full, also while it is swapped";
  f.remedy = raise_remedy(limit, RLIM_INFINITY, shell, option);
  return f;
}

Finding descriptors_finding() {
  // Swap file, userfaultfds and rings of eight handlers, what is handed to 64 children, and room for the program's.
  constexpr rlim_t kEnough = 256;
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  Finding f = {Grade::kGood, "RLIMIT_NOFILE", readable_limit(limit.rlim_cur, false), {}, {}};
  if (limit.rlim_cur >= kEnough) return f;
  f.grade = Grade::kLacks;
  f.meaning = "handlers, or a swap file that many children read, may find no descriptor";
  f.remedy = raise_remedy(limit, kEnough, fmt::format("ulimit -n {}", kEnough), fmt::format("nofile={0}:{0}", kEnough));
  return f;
}

Finding locked_memory_finding() {
  rlimit limit = {};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  Finding f = {Grade::kGood, "RLIMIT_MEMLOCK", readable_limit(limit.rlim_cur, true), {}, {}};
  if (limit.rlim_cur >= static_cast<rlim_t>(kPageBytes)) return f;
  f.grade = Grade::kNote;
  f.meaning = "the key of swap_encrypt=1 cannot be locked in memory, so the system may swap it";
  f.remedy = raise_remedy(limit, 64 << 10, "ulimit -l 64", "memlock=65536:65536");
  return f;
}

// Lines of /proc/self/cgroup: "0::/group" is version 2, "4:memory:/group" version 1.
std::string cgroup_version() {
  std::ifstream groups("/proc/self/cgroup");
  std::string version = "none";
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::") && version == "none") version = "version 2";
    const size_t first = line.find(':');
    const std::string names = fmt::format(",{},", line.substr(first + 1, line.find(':', first + 1) - first - 1));
    if (names.find(",memory,") != std::string::npos) version = "version 1";
  }
  return version;
}

Finding cgroup_finding(uint64_t limit) {
  Finding f = {Grade::kGood, "control group", cgroup_version(), {}, {}};
  f.value += limit == 0 ? ", no memory limit" : fmt::format(", memory limit {}", readable_bytes(limit));
  f.meaning =
      limit == 0 ? "weir run needs --limit or --rss-limit" : "weir run takes it as the limit unless told another";
  return f;
}

Finding system_swap_finding() {
  const uint64_t total = kilobytes_of(kMeminfo, "SwapTotal");
  return {Grade::kGood, "swap of the system", total == 0 ? "none" : readable_bytes(total), {}, {}};
}

}  // namespace

void add_machine_findings(const weir_capabilities& c, Findings& findings) {
  findings.push_back(kernel_finding());
  findings.push_back(page_size_finding());
  findings.push_back(memory_finding());
  findings.push_back(nodes_finding());
  findings.push_back(system_swap_finding());
  findings.push_back(cgroup_finding(c.cgroup_limit));
  findings.push_back(huge_pages_finding());
  findings.push_back(map_count_finding());
  findings.push_back(overcommit_finding());
  findings.push_back(space_finding("RLIMIT_AS", RLIMIT_AS, "ulimit -v unlimited", "as=unlimited"));
  findings.push_back(space_finding("RLIMIT_DATA", RLIMIT_DATA, "ulimit -d unlimited", "data=unlimited"));
  findings.push_back(descriptors_finding());
  findings.push_back(locked_memory_finding());
}

}  // namespace weir::tool
