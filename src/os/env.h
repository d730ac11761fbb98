// Purpose: what the process was given from outside: its environment, the memory and processors it may use.
// Thread safety: any thread, also before constructors and inside malloc; the environment as thread-safe as getenv, that
//                is, while no other thread calls setenv. Invariants: errno is never touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/units.h"

namespace weir::os {

// The value of an environment variable, or null when it is not set or the program runs with more rights than its caller
// (setuid, file capabilities). Works before the C library has its own `environ`, which it sets in its constructor: a
// library that is initialized first (-z initfirst) and an IFUNC resolver that allocates run before that.
[[nodiscard]] const char* secure_env(std::string_view name);

// What the program was called by, without its path; "" before the C library knows.
[[nodiscard]] std::string_view program_name();

// True when the program runs with more rights than its caller, so that the environment must not be trusted.
[[nodiscard]] bool is_secure_process();

// Linux can be built for up to 1024 nodes and 8192 processors (x86-64, MAXSMP).
inline constexpr size_t kMaxOsNodes = 1024;
inline constexpr size_t kMaxOsCpus = 8192;

// A set of the kernel's ids. Ids out of range are not in it and cannot be put there.
template <size_t kBits>
struct IdSet {
  uint64_t words[kBits / 64] = {};
  bool has(size_t id) const { return id < kBits && (words[id / 64] >> (id % 64) & 1) != 0; }
  void add(size_t id) {
    if (id < kBits) words[id / 64] |= uint64_t{1} << (id % 64);
  }
};

// The nodes whose memory the cpuset lets this process use. False where the system does not tell: all, then.
[[nodiscard]] bool allowed_memory_nodes(IdSet<kMaxOsNodes>& nodes);
// The processors this thread may run on; false where the system does not tell.
[[nodiscard]] bool allowed_cpus(IdSet<kMaxOsCpus>& cpus);
// Processors this thread may run on; at least 1.
[[nodiscard]] unsigned usable_cpus();
// Memory that the process holds, as the kernel counts it (VmRSS), and of that, pages of files (RssFile and RssShmem); 0
// where it does not tell.
struct Resident {
  Pages all;
  Pages of_files;
};
[[nodiscard]] Resident resident();
// Faults of all threads that had to wait for more than the kernel itself (ru_majflt): for a disk, or a userfaultfd.
[[nodiscard]] uint64_t major_faults();
// Bytes of memory that the kernel manages, 0 where it does not tell.
[[nodiscard]] uint64_t total_memory_bytes();

}  // namespace weir::os
