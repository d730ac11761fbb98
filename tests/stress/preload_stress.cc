// preload_stress.cc: the same through the C interface, in whatever malloc the process has (weir's when it is
// preloaded): threads that start and end all the time, blocks that outlive them, and forks out of the busy process
// whose children check what they inherited, allocate, start threads, fork again and exit.
//
// Usage: preload_stress [--seconds N] [--threads N] [--seed N]. Exit status: 0 all well, 1 a mistake was found, 64
// usage.
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "support/arguments.h"
#include "support/pattern.h"
#include "support/random.h"

namespace weir {
namespace {

struct Block {
  void* p = nullptr;
  size_t size = 0;
  uint64_t seed = 0;
};

// What all threads share: blocks that were left by threads which have ended. Half of them are freed by others.
constexpr size_t kPoolSlots = 2048;
// Bytes that the pool and the threads may hold, so that a machine with little memory can run this.
constexpr size_t kMostBlockBytes = size_t{1} << 20;
// A thread does this many steps before it ends: few, so that starting and ending happens thousands of times.
constexpr unsigned kStepsPerThread = 400;
// Between two forks.
constexpr useconds_t kForkPauseUs = 20000;
// A child that takes longer hangs, most likely in a lock that it inherited; emulated machines are slow.
constexpr unsigned kChildSeconds = 60;

std::mutex pool_mutex;
Block pool[kPoolSlots];
std::atomic<bool> stop{false};
std::atomic<uint64_t> threads_run{0};

[[noreturn]] void failed(const char* what, const void* p, size_t size) {
  fprintf(stderr, "preload_stress: process %d: %s: %p, %zu bytes\n", static_cast<int>(getpid()), what, p, size);
  abort();
}

Block make_block(Random& random) {
  size_t size = random_size(random);
  if (size > kMostBlockBytes) size = kMostBlockBytes;
  Block block{nullptr, size, random.next()};
  const uint64_t kind = random.below(8);
  const size_t alignment = sizeof(void*) << random.below(12);
  errno = 4711;
  if (kind < 4) {
    block.p = malloc(size);
  } else if (kind < 6) {
    block.p = calloc(size / 8 + 1, 8);
    if (block.p != nullptr && !is_zero(block.p, size)) failed("calloc is not zero", block.p, size);
  } else if (kind == 6) {
    block.p = memalign(alignment, size);
    if (reinterpret_cast<uintptr_t>(block.p) % alignment != 0) failed("memalign is misaligned", block.p, alignment);
  } else if (posix_memalign(&block.p, alignment, size) != 0) {
    block.p = nullptr;
  }
  if (block.p == nullptr) failed("no memory", nullptr, size);
  if (errno != 4711) failed("errno was changed", block.p, size);
  if (malloc_usable_size(block.p) < size) failed("usable size too small", block.p, size);
  write_pattern(block.p, size, block.seed);
  return block;
}

void check(const Block& block) {
  if (!check_pattern(block.p, block.size, block.size, block.seed)) failed("content changed", block.p, block.size);
}

void release(const Block& block) {
  if (block.p == nullptr) return;
  check(block);
  errno = 4711;
  free(block.p);
  if (errno != 4711) failed("free changed errno", block.p, block.size);
}

void resize(Block& block, Random& random) {
  size_t size = 1 + random_size(random);
  if (size > 2 * kMostBlockBytes) size = 2 * kMostBlockBytes;
  void* p = realloc(block.p, size);
  if (p == nullptr) failed("realloc: no memory", block.p, size);
  if (!check_pattern(p, size < block.size ? size : block.size, block.size, block.seed))
    failed("realloc lost content", p, size);
  block = {p, size, random.next()};
  write_pattern(p, size, block.seed);
}

// Swaps a block into the pool; the one that was there is the caller's now.
Block exchange(const Block& block, Random& random) {
  std::lock_guard guard(pool_mutex);
  return std::exchange(pool[random.below(kPoolSlots)], block);
}

// A thread-local object whose destructor frees after the allocator's own clean-up may have run.
struct AtThreadEnd {
  std::vector<char*> blocks;
  ~AtThreadEnd() {
    for (char* p : blocks) free(p);
    free(malloc(100));
  }
};
thread_local AtThreadEnd at_thread_end;

void play(uint64_t seed, unsigned steps) {
  Random random(seed);
  std::vector<Block> own;
  at_thread_end.blocks.push_back(static_cast<char*>(malloc(50)));
  for (unsigned i = 0; i < steps; ++i) {
    const uint64_t what = random.below(100);
    if (own.empty() || what < 40) {
      own.push_back(make_block(random));
      continue;
    }
    std::swap(own[random.below(own.size())], own.back());
    if (what < 65) {
      release(own.back());
      own.pop_back();
    } else if (what < 80) {
      resize(own.back(), random);
    } else {
      release(exchange(own.back(), random));
      own.pop_back();
    }
  }
  // Half of what is left is freed by others, after this thread's end.
  for (const Block& block : own) release(random.below(2) == 0 ? exchange(block, random) : block);
  threads_run.fetch_add(1, std::memory_order_relaxed);
}

// Keeps one thread running after the other.
void spawn_threads(uint64_t seed) {
  for (uint64_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
    std::thread thread([seed, i] { play(seed * 1000003 + i, kStepsPerThread); });
    thread.join();
  }
}

// In a child: everything inherited is as it was, and the allocator works, with new threads too.
void check_inheritance(uint64_t seed) {
  alarm(kChildSeconds);
  // The fork was made with the pool locked, so that the pool is whole.
  for (const Block& block : pool)
    if (block.p != nullptr) check(block);
  for (size_t i = 0; i < kPoolSlots; i += 2) release(std::exchange(pool[i], {}));
  play(seed, 200);
  std::thread other([seed] { play(seed + 1, 200); });
  play(seed + 2, 200);
  other.join();
}

// A child, and its children down to `depth` generations.
[[noreturn]] void child(uint64_t seed, unsigned depth) {
  check_inheritance(seed);
  for (pid_t pid = 0; pid == 0 && depth != 0; --depth) {
    pid = fork();
    if (pid == 0) {
      check_inheritance(seed + depth);
      continue;
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
      failed("a grandchild failed", nullptr, static_cast<size_t>(status));
  }
  for (const Block& block : pool) release(block);
  _exit(0);
}

uint64_t fork_again_and_again(uint64_t seed) {
  uint64_t forks = 0;
  while (!stop.load(std::memory_order_relaxed)) {
    pid_t pid;
    {
      std::lock_guard guard(pool_mutex);
      pid = fork();
      if (pid != 0) ++forks;
    }
    // The child's copy of the lock is free again: its only owner is the thread that forked.
    if (pid == 0) child(seed * 7919 + forks, forks % 3 == 0 ? 2 : 0);
    if (pid < 0) failed("fork", nullptr, static_cast<size_t>(errno));
    int status = 0;
    if (waitpid(pid, &status, 0) != pid) failed("waitpid", nullptr, 0);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) failed("a child hangs", nullptr, 0);
    if (status != 0) failed("a child failed", nullptr, static_cast<size_t>(status));
    usleep(kForkPauseUs);
  }
  return forks;
}

int run(const StressArguments& arguments) {
  std::vector<std::thread> spawners;
  for (uint64_t i = 0; i < arguments.threads; ++i)
    spawners.emplace_back([seed = arguments.seed * 64 + i] { spawn_threads(seed); });
  uint64_t forks = 0;
  std::thread forker([&] { forks = fork_again_and_again(arguments.seed); });
  struct timespec left = {static_cast<time_t>(arguments.seconds), 0};
  while (nanosleep(&left, &left) != 0) {
  }
  stop.store(true);
  for (std::thread& thread : spawners) thread.join();
  forker.join();
  for (const Block& block : pool) release(block);
  printf("preload_stress: %llu threads, %llu forks\n", static_cast<unsigned long long>(threads_run.load()),
         static_cast<unsigned long long>(forks));
  return forks != 0 && threads_run.load() != 0 ? 0 : 1;
}

}  // namespace
}  // namespace weir

int main(int argc, char** argv) {
  return weir::run(weir::parse_stress_arguments("preload_stress", argc, argv));
}
