#include "os/env.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <string_view>

#include "os/file.h"
#include "os/syscall.h"

// Set by the dynamic linker before anything else runs: the stack pointer at the program's entry, where the kernel put
// argc, argv, a null, the environment and a null. (In a static program it points elsewhere, but there the C library
// sets `environ` first thing, and the checks below refuse what lies there.)
extern "C" void* __libc_stack_end;

namespace weir::os {
namespace {

constexpr long kMpolMemsAllowed = 4;  // MPOL_F_MEMS_ALLOWED of linux/mempolicy.h

// By hand: the C library's string functions are pages of code that starting a program need not touch.
const char* find_in(char* const* environment, std::string_view name) {
  for (; *environment != nullptr; ++environment) {
    const char* entry = *environment;
    size_t same = 0;
    while (same < name.size() && entry[same] == name[same]) ++same;
    if (same == name.size() && entry[same] == '=') return entry + same + 1;
  }
  return nullptr;
}

char* const* initial_environment() {
  const auto* words = static_cast<char* const*>(__libc_stack_end);
  if (words == nullptr) return nullptr;
  const auto argc = reinterpret_cast<intptr_t>(words[0]);
  // The kernel gives up on longer argument lists (MAX_ARG_STRINGS is far above, but 8 bytes each must fit the stack).
  constexpr intptr_t kMaxArguments = intptr_t{1} << 20;
  if (argc < 1 || argc > kMaxArguments) return nullptr;
  return words[argc + 1] == nullptr ? words + argc + 2 : nullptr;
}

// "Mems_allowed:	00000000,00000003" of /proc/self/status: words of 32 bits, highest first.
bool parse_mems_allowed(std::string_view status, IdSet<kMaxOsNodes>& nodes) {
  constexpr std::string_view kKey = "\nMems_allowed:\t";
  const size_t key = status.find(kKey);
  if (key == std::string_view::npos) return false;
  status.remove_prefix(key + kKey.size());
  const size_t end = status.find('\n');
  if (end == std::string_view::npos) return false;
  size_t bit = 0;
  for (size_t i = end; i-- > 0;) {
    const char c = status[i];
    if (c == ',') continue;
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return false;
    for (unsigned b = 0; b < 4; ++b)
      if ((digit >> b & 1) != 0) nodes.add(bit + b);
    bit += 4;
  }
  return bit != 0;
}

}  // namespace

std::string_view program_name() {
  return program_invocation_short_name != nullptr ? program_invocation_short_name : "";
}

bool is_secure_process() {
  return getauxval(AT_SECURE) != 0;
}

const char* secure_env(std::string_view name) {
  const int saved_errno = errno;  // getauxval sets it where an entry is missing
  const bool secure = is_secure_process();
  errno = saved_errno;
  if (secure) return nullptr;
  char* const* environment = environ != nullptr ? environ : initial_environment();
  return environment == nullptr ? nullptr : find_in(environment, name);
}

bool allowed_memory_nodes(IdSet<kMaxOsNodes>& nodes) {
  nodes = {};
  if (syscall6(SYS_get_mempolicy, 0, as_arg(nodes.words), kMaxOsNodes, 0, kMpolMemsAllowed) == 0) return true;
  // Containers' system call filters refuse it. The line is at the end of some 1.5 KiB, more with many processors.
  nodes = {};
  char status[4096];
  const ssize_t size = read_small_file("/proc/self/status", status, sizeof(status));
  return size > 0 && parse_mems_allowed({status, static_cast<size_t>(size)}, nodes);
}

bool allowed_cpus(IdSet<kMaxOsCpus>& cpus) {
  cpus = {};
  return syscall6(SYS_sched_getaffinity, 0, sizeof(cpus.words), as_arg(cpus.words)) > 0;
}

uint64_t total_memory_bytes() {
  struct sysinfo info = {};
  if (syscall6(SYS_sysinfo, as_arg(&info)) != 0) return 0;
  return static_cast<uint64_t>(info.totalram) * info.mem_unit;
}

unsigned usable_cpus() {
  IdSet<kMaxOsCpus> cpus;
  unsigned count = 0;
  if (allowed_cpus(cpus))
    for (const uint64_t word : cpus.words) count += static_cast<unsigned>(__builtin_popcountll(word));
  return count == 0 ? 1 : count;
}

Resident resident() {
  // "size resident shared ...", in pages.
  char text[128];
  const ssize_t size = read_small_file("/proc/self/statm", text, sizeof(text));
  uint64_t numbers[3] = {};
  ssize_t i = 0;
  for (uint64_t& number : numbers) {
    for (; i < size && text[i] >= '0' && text[i] <= '9'; ++i)
      number = number * 10 + static_cast<uint64_t>(text[i] - '0');
    ++i;
  }
  return {Pages(numbers[1]), Pages(numbers[2])};
}

uint64_t major_faults() {
  struct rusage usage = {};
  return syscall6(SYS_getrusage, RUSAGE_SELF, as_arg(&usage)) == 0 ? static_cast<uint64_t>(usage.ru_majflt) : 0;
}

}  // namespace weir::os
