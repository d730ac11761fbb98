// Counts the instructions of malloc(64) and of free of that block: count_instructions [LIBRARY] [--size BYTES].
//
// The program starts itself again with LIBRARY preloaded, under ptrace. The child warms the allocator up with untraced
// pairs, stops, and is then single-stepped through further pairs; an instruction counts from the function's entry up to
// and including its return. Prints one line of JSON with the median, least and greatest count of each function.
// Usage errors end with 64.
#include <dlfcn.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr int kAddressFd = 3;          // the child tells the addresses of its malloc and free here
constexpr size_t kLiveBlocks = 100;    // neighbours that stay, so that a free does not empty a whole page or slab
constexpr size_t kWarmPairs = 20'000;  // past every refill that a first use needs
constexpr size_t kCountedPairs = 500;  // odd slow paths fall out of the median

struct Addresses {
  uint64_t malloc_entry, free_entry;
};

struct Counts {
  std::vector<uint64_t> samples;

  void print(const char* name, const char* end) {
    std::sort(samples.begin(), samples.end());
    printf("\"%s\": {\"median\": %lu, \"min\": %lu, \"max\": %lu}%s", name, samples[samples.size() / 2],
           samples.front(), samples.back(), end);
  }
};

[[noreturn]] void die(const char* what) {
  fprintf(stderr, "count_instructions: %s\n", what);
  exit(1);
}

// The traced side. Function pointers, so that no PLT stub stands between the call and the entry.
int run_child(size_t size) {
  auto* volatile allocate = reinterpret_cast<void* (*)(size_t)>(dlsym(RTLD_DEFAULT, "malloc"));
  auto* volatile release = reinterpret_cast<void (*)(void*)>(dlsym(RTLD_DEFAULT, "free"));
  const Addresses addresses{reinterpret_cast<uint64_t>(allocate), reinterpret_cast<uint64_t>(release)};
  if (write(kAddressFd, &addresses, sizeof addresses) != sizeof addresses) return 1;
  void* volatile live[kLiveBlocks];
  for (auto& block : live) block = allocate(size);
  for (size_t i = 0; i < kWarmPairs; ++i) release(allocate(size));
  ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  raise(SIGSTOP);
  for (size_t i = 0; i < kCountedPairs; ++i) release(allocate(size));
  return 0;
}

#ifdef __x86_64__

user_regs_struct registers(pid_t pid) {
  user_regs_struct regs;
  if (ptrace(PTRACE_GETREGS, pid, nullptr, &regs) != 0) die("cannot read the child's registers");
  return regs;
}

// One instruction; false when the child has ended.
bool step(pid_t pid) {
  if (ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr) != 0) die("cannot single-step the child");
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) die("lost the child");
  if (WIFEXITED(status)) return false;
  if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) die("the child was stopped by an unexpected signal");
  return true;
}

// Steps from a function's entry until it has returned to its caller.
uint64_t count_call(pid_t pid, const user_regs_struct& entry) {
  const auto return_address = static_cast<uint64_t>(ptrace(PTRACE_PEEKDATA, pid, entry.rsp, nullptr));
  for (uint64_t count = 1; step(pid); ++count) {
    const user_regs_struct now = registers(pid);
    if (now.rip == return_address && now.rsp > entry.rsp) return count;
  }
  die("the child ended within a call");
}

int trace(pid_t pid, const Addresses& at) {
  Counts mallocs, frees;
  while (mallocs.samples.size() + frees.samples.size() < 2 * kCountedPairs) {
    if (!step(pid)) die("the child ended too early");
    const user_regs_struct now = registers(pid);
    if (now.rip == at.malloc_entry) mallocs.samples.push_back(count_call(pid, now));
    if (now.rip == at.free_entry) frees.samples.push_back(count_call(pid, now));
  }
  ptrace(PTRACE_KILL, pid, nullptr, nullptr);
  waitpid(pid, nullptr, 0);
  printf("{");
  mallocs.print("malloc", ", ");
  frees.print("free", "}\n");
  return 0;
}

#else

int trace(pid_t pid, const Addresses&) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  die("knows x86-64 only");
}

#endif

int run_parent(const char* library, char* size) {
  int fds[2];
  if (pipe(fds) != 0) die("cannot make a pipe");
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(fds[1], kAddressFd);
    if (*library != '\0') setenv("LD_PRELOAD", library, 1);
    execl("/proc/self/exe", "count_instructions", "--child", size, nullptr);
    _exit(127);
  }
  close(fds[1]);
  Addresses addresses;
  if (pid < 0 || read(fds[0], &addresses, sizeof addresses) != sizeof addresses) die("the child did not start");
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) die("the child did not stop for tracing");
  return trace(pid, addresses);
}

}  // namespace

int main(int argc, char** argv) {
  const char* library = "";
  char default_size[] = "64";
  char* size = default_size;
  bool child = false;
  for (int i = 1; i < argc; ++i) {
    const bool wants_value = strcmp(argv[i], "--size") == 0 || strcmp(argv[i], "--child") == 0;
    if (!wants_value && argv[i][0] != '-') {
      library = argv[i];
    } else if (wants_value && i + 1 < argc && strtoul(argv[i + 1], nullptr, 10) > 0) {
      child = strcmp(argv[i], "--child") == 0;
      size = argv[++i];
    } else {
      fprintf(stderr, "count_instructions: bad argument '%s', expected [LIBRARY] [--size BYTES]\n", argv[i]);
      return 64;
    }
  }
  return child ? run_child(strtoul(size, nullptr, 10)) : run_parent(library, size);
}
