// limit_stress.cc: many threads on one private allocator under a limit of a third of their data. They allocate, resize
// and free, partly in heaps of their own that they destroy and make anew, read and change pages at random, take long
// runs of which they touch a part, map pages and unmap them in parts, protect, lock and splice pages, have objects that
// another thread moves together all the time, and fork while the others go on (not under sanitizers, whose runtimes do
// not survive it): the child checks what its thread had, lives on with it for a while, and may fork again. One more
// thread changes the limit and the swap file, ticks and trims, recounts everything while they go on, and now and then
// holds all of them still to do so, also against the kernel. Where the kernel does not swap by itself, it is asked for
// memory back all the time, as it is when the machine is short of it: it may drop what weir has marked. All content is
// checked whenever it is read, so that a page that comes back wrong is found. It runs once for each way out of memory:
// compressed by LZ4 or zstd, with and without a swap file, the file alone.
//
// Usage: limit_stress [--seconds N] [--threads N] [--seed N]. Exit status: 0 all well, 1 a mistake was found, 64 usage,
// 77 the system does not let pages be swapped.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "heap/heap_registry.h"
#include "os/vm.h"
#include "stress/movables.h"
#include "support/arguments.h"
#include "support/page_content.h"
#include "support/private_allocator.h"
#include "support/random.h"
#include "support/settled.h"

namespace weir {
namespace {

constexpr int kSkipped = 77;
constexpr size_t kLimit = size_t{48} << 20;
constexpr size_t kData = 3 * kLimit;
// Of address space; long runs are mostly untouched.
constexpr size_t kCapacity = size_t{1} << 30;
// Charged by touch (Reclaimer::kWatchedRun).
constexpr size_t kLongRun = Reclaimer::kWatchedRun * kPageSize;
// The limit of the issue: what may be above the limit for a moment.
constexpr size_t kTolerance = size_t{8} << 20;
constexpr bool kForks = !kTsan && !kAsan;
// Forks of forks.
constexpr unsigned kMostGenerations = 3;
// A child that takes longer is stuck, whoever else wants the processors.
constexpr unsigned kChildSeconds = 300;

struct Regime {
  const char* name;
  bool zswap;
  ZswapCompressor compressor;
  bool file;
  bool changes;  // the compressor, meanwhile
  bool moves = true;
  bool in_place = true;
};
constexpr Regime kRegimes[] = {
    {"lz4", true, ZswapCompressor::kLz4, false, false},
    {"both codecs", true, ZswapCompressor::kZstd, false, true},
    {"both codecs and a file", true, ZswapCompressor::kLz4, true, true},
    {"zstd and a file", true, ZswapCompressor::kZstd, true, false},
    {"a file", false, ZswapCompressor::kLz4, true, false},
    {"as before Linux 6.14", true, ZswapCompressor::kLz4, true, false, true, false},
    {"as before Linux 6.8", true, ZswapCompressor::kLz4, true, false, false},
};

// Regimes take turns with these. One is what two processors have by default.
constexpr int64_t kHandlers[] = {1, 2, 8};
// And with these: threads are always woken by a thread of their handler's; where it would chase them; never.
constexpr int64_t kWakerMoves[] = {0, 8, 1024 * 1024, 0};

[[noreturn]] void failed(const char* what, const void* p, size_t size) {
  fprintf(stderr, "limit_stress: %s: %p, %zu bytes\n", what, p, size);
  abort();
}

// Lets one thread hold all others still between two of their steps.
class Gate {
 public:
  explicit Gate(unsigned threads) : running_(threads) {}
  // By the others, between steps.
  void pass() {
    if (!closed_.load(std::memory_order_relaxed)) return;
    std::unique_lock lock(mutex_);
    --running_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !closed_.load(); });
    ++running_;
  }
  void leave() {
    std::lock_guard lock(mutex_);
    --running_;
    changed_.notify_all();
  }
  void close() {
    std::unique_lock lock(mutex_);
    closed_.store(true);
    changed_.wait(lock, [this] { return running_ == 0; });
  }
  void open() {
    std::lock_guard lock(mutex_);
    closed_.store(false);
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> closed_{false};
  unsigned running_;
};

struct Shared {
  Shared(unsigned threads, const Regime& what) : regime(what), gate(threads + 1), most_live(kData / threads) {}
  const Regime& regime;
  LimitedAllocator a;
  HeapRegistry& heaps = *new HeapRegistry();  // lives as long as the allocator
  Gate gate;
  const size_t most_live;  // bytes that each thread keeps
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> operations{0};
  std::atomic<uint64_t> refused{0};
  std::atomic<uint64_t> forks{0};
  std::atomic<uint64_t> heaps_destroyed{0};
  std::atomic<uint64_t> changed{0};  // swap files
  std::mutex fork_mutex;
  std::mutex settings_mutex;  // of who changes options, and of who forks until its locks are free again
};

// One allocation; its content is that of `seed` but for the pages of `written`, which have one of their own.
struct Block {
  char* p = nullptr;
  size_t size = 0;
  uint64_t seed = 0;
  bool in_heap = false;
  bool mapped = false;              // whole pages, as from mmap
  bool sparse = false;              // a long run: pages that are not in `written` are zeros
  std::vector<uint64_t> written{};  // of a long run: the seed of each page, 0 when it was never touched
};

class Worker {
 public:
  Worker(Shared& shared, unsigned id, uint64_t seed)
      : s_(shared),
        random_(seed * 1000 + id),
        movables_(shared.a.allocator(), seed * 1000 + id, shared.most_live / 8, failed) {}

  void run() {
    s_.a.reclaimer().add_thread();
    cache_ = s_.a.allocator().attach();
    make_heap();
    while (!s_.stop.load(std::memory_order_relaxed)) {
      for (int i = 0; i < 16; ++i) step();
      s_.operations.fetch_add(16, std::memory_order_relaxed);
      s_.gate.pass();
    }
    destroy_heap();
    movables_.free_all();
    while (!live_.empty()) release(take_any());
    if (cache_ != nullptr && s_.a.allocator().detach(cache_).misuse != Misuse::kNone) failed("misuse", cache_, 0);
    s_.a.reclaimer().remove_thread();
    s_.gate.leave();
  }

 private:
  void step() {
    if (random_.below(4000) == 0) {
      destroy_heap();
      make_heap();
    }
    if (kForks && random_.below(1000) == 0) fork_once();
    if (random_.below(64) == 0 && !live_.empty()) call_with_pages();
    if (random_.below(8) == 0) movables_.step();
    const uint64_t what = random_.below(100);
    if (live_bytes_ < s_.most_live && (what < 30 || live_.empty()))
      allocate();
    else if (live_.empty())
      return;
    else if (what < 45)
      touch();
    else if (what < 60)
      check(live_[random_.below(live_.size())]);
    else if (what < 80)
      rewrite();
    else if (what < 90 || live_bytes_ < s_.most_live)
      resize();
    else
      release(take_any());
  }

  size_t pick_size() {
    const uint64_t what = random_.below(100);
    if (what < 40) return 1 + random_size(random_);
    if (what < 98) return 1 + random_.below(200 << 10);
    return kLongRun + random_.below(kLongRun);
  }

  uint64_t new_seed(size_t size) {
    // What does not compress can only go to a file; without one, it would all have to stay.
    const bool random_content = size > kMaxSmallSize && s_.regime.file && random_.below(8) == 0;
    return content_seed(random_.next(), random_content ? Content::kRandom : Content::kCompressible);
  }

  void allocate() {
    Block block{nullptr, pick_size(), 0};
    block.seed = new_seed(block.size);
    block.in_heap = random_.below(4) == 0;
    block.mapped = !block.in_heap && block.size >= kPageSize && block.size < kLongRun && random_.below(4) == 0;
    if (block.mapped) block.size = align_up(block.size, kPageSize);
    const bool zeroed = block.mapped || random_.below(4) == 0;
    if (block.mapped)
      block.p = s_.a.allocator().map_pages(pages_of(block.size));
    else if (block.in_heap)
      block.p = alloc_in_heap(block.size, zeroed);
    else
      block.p = static_cast<char*>(zeroed ? s_.a->calloc(cache_, block.size) : s_.a->malloc(cache_, block.size));
    if (block.p == nullptr) {
      s_.refused.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    if (block.size >= kLongRun && zeroed) {
      block.sparse = true;
      block.written.resize(block.size / kPageSize);
    } else if (block.size >= kLongRun) {
      s_.a->free(cache_, block.p).misuse == Misuse::kNone ? void() : failed("free refused", block.p, block.size);
      return;
    } else {
      if (zeroed && !is_zero(block.p, block.size)) failed("new memory is not zero", block.p, block.size);
      write_content(block.p, block.size, block.seed);
    }
    keep(std::move(block));
  }

  void make_heap() {
    if (s_.heaps.create(nullptr, {}, heap_) != 0) failed("no heap can be made", nullptr, 0);
  }

  // With everything that is in it.
  void destroy_heap() {
    for (size_t i = live_.size(); i != 0; --i) {
      if (!live_[i - 1].in_heap) continue;
      std::swap(live_[i - 1], live_.back());
      if (random_.below(4) == 0) check(live_.back());
      live_bytes_ -= weight(live_.back());
      live_.pop_back();
    }
    Pages released;
    if (s_.heaps.destroy_heap(heap_, released) != 0) failed("a heap is not there", nullptr, 0);
    s_.heaps_destroyed.fetch_add(1, std::memory_order_relaxed);
  }

  char* alloc_in_heap(size_t size, bool zeroed) {
    HeapCall call;
    call.thread = cache_;
    void* p = s_.heaps.alloc(heap_, size, kMinAlignment, zeroed, call);
    if (call.bad.misuse != Misuse::kNone) failed("misuse in a heap", p, size);
    return static_cast<char*>(p);
  }

  char* resize_to(const Block& block, size_t size) {
    if (!block.in_heap) return static_cast<char*>(s_.a->realloc(cache_, block.p, size));
    BadPointer bad;
    void* p = s_.heaps.resize(block.p, size, bad);
    if (bad.misuse != Misuse::kNone) failed("misuse in a heap", block.p, block.size);
    return static_cast<char*>(p);
  }

  // As malloc/fork.cc does it for a process. Only this thread's blocks are whole in the child.
  void fork_once() {
    pid_t child;
    {
      std::lock_guard one_at_a_time(s_.fork_mutex);
      Allocator& a = s_.a.allocator();
      s_.settings_mutex.lock();
      a.pause_reclaim();
      a.lock_all();
      child = fork();
      if (child < 0) failed("fork", nullptr, 0);
      if (child == 0) a.after_fork_in_child();
      a.unlock_all();
      s_.settings_mutex.unlock();
      if (!a.resume_reclaim(child == 0)) failed("memory is lost to a child", nullptr, 0);
    }
    if (child == 0) live_as_child();
    s_.forks.fetch_add(1, std::memory_order_relaxed);
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
      if (errno != EINTR) failed("waitpid", nullptr, 0);
    if (status != 0) failed("a child ended badly", nullptr, static_cast<size_t>(status));
  }

  [[noreturn]] void live_as_child() {
    alarm(kChildSeconds);
    if (s_.a.reclaimer().mode() != Reclaimer::Mode::kSwap) failed("a child cannot swap", nullptr, 0);
    for (const Block& block : live_) check(block);
    movables_.check_all();
    const bool again = ++generation_ < kMostGenerations && random_.below(2) == 0;
    for (int i = 0; i < 200; ++i) step_in_child();
    if (again) fork_once();
    for (int i = 0; i < 200; ++i) step_in_child();
    for (const Block& block : live_) check(block);
    movables_.check_all();
    movables_.free_all();
    while (!live_.empty()) release(take_any());
    _exit(0);
  }

  // The C library's own malloc may be used here: it takes care of its locks in a fork.
  void step_in_child() {
    if (random_.below(4) == 0) movables_.step();
    if (random_.below(64) == 0) static_cast<void>(s_.a.allocator().compactor()->compact_all());
    const uint64_t what = random_.below(4);
    if (what == 0 && live_bytes_ < s_.most_live)
      allocate();
    else if (what == 1 && !live_.empty())
      rewrite();
    else if (what == 2 && !live_.empty())
      release(take_any());
    else if (!live_.empty())
      touch();
  }

  // Reads or changes one page.
  void touch() {
    Block& block = live_[random_.below(live_.size())];
    if (!block.sparse) {
      const size_t page = random_.below(block.size / kPageSize + 1) * kPageSize;
      const size_t bytes = block.size - page < kPageSize ? block.size - page : kPageSize;
      if (!check_content_at(block.p, page, bytes, block.seed)) failed("content changed", block.p + page, block.size);
      return;
    }
    const size_t first = random_.below(block.written.size());
    if (random_.below(8) == 0) return give_up(block, first);
    // Several in sequence, as programs do.
    for (size_t page = first; page < block.written.size() && page < first + 1 + random_.below(12); ++page) {
      check_page(block, page);
      if (random_.below(4) == 0) continue;
      block.written[page] = new_seed(block.size);
      write_content(block.p + page * kPageSize, kPageSize, block.written[page]);
    }
  }

  // As madvise does it.
  void give_up(Block& block, size_t first) {
    const size_t pages = 1 + random_.below(block.written.size() - first < 200 ? block.written.size() - first : 200);
    char* const begin = block.p + first * kPageSize;
    if (s_.a.reclaimer().give_up(begin, begin + pages * kPageSize, MADV_DONTNEED) != 0)
      failed("pages cannot be given up", begin, pages);
    for (size_t page = first; page < first + pages; ++page) block.written[page] = 0;
    check_page(block, first);
  }

  // Calls that last for a moment, about whole pages of a block.
  void call_with_pages() {
    const Block& block = live_[random_.below(live_.size())];
    char* const begin = reinterpret_cast<char*>(align_up(reinterpret_cast<uintptr_t>(block.p), kPageSize));
    const auto offset = static_cast<size_t>(begin - block.p);
    if (block.sparse || block.size < offset + kPageSize) return;
    const size_t pages = (block.size - offset) / kPageSize, first = random_.below(pages);
    const size_t most = pages - first < 16 ? pages - first : 16;
    const size_t from = first * kPageSize, bytes = (1 + random_.below(most)) * kPageSize;
    const uint64_t what = random_.below(3);
    if (what == 0)
      protect(begin + from, bytes);
    else if (what == 1)
      lock(begin + from, bytes);
    else
      splice(begin + from, bytes);
    if (!check_content_at(block.p, offset + from, bytes, block.seed))
      failed("content changed in a call", begin + from, bytes);
  }

  void protect(char* p, size_t bytes) {
    const auto change = [&](int protection) {
      if (s_.a.reclaimer().protect(p, p + bytes, protection, os::kNoKey) != 0) failed("mprotect", p, bytes);
    };
    change(random_.below(4) == 0 ? PROT_NONE : PROT_READ);
    usleep(static_cast<unsigned>(random_.below(500)));
    change(PROT_READ | PROT_WRITE);
    for (size_t at = 0; at < bytes; at += kPageSize) {
      volatile char* const byte = p + at;
      *byte = *byte;
    }
  }

  // What may be locked may be limited.
  void lock(char* p, size_t bytes) {
    if (s_.a.reclaimer().lock(p, p + bytes, 0) != 0) return;
    usleep(static_cast<unsigned>(random_.below(500)));
    if (!os::vm_is_locked(p, bytes) || os::vm_resident(p, bytes) != pages_of(bytes))
      failed("locked pages have left", p, bytes);
    if (s_.a.reclaimer().unlock(p, p + bytes) != 0) failed("munlock", p, bytes);
  }

  // A pipe refers to the pages, and holds what they do.
  void splice(char* p, size_t bytes) {
    int ends[2];
    if (pipe(ends) != 0) return;
    const iovec vector = {p, bytes};
    const ssize_t taken = vmsplice(ends[1], &vector, 1, 0);
    usleep(static_cast<unsigned>(random_.below(500)));
    std::vector<char> held(bytes);
    for (ssize_t got = 0, more = 0; got < taken; got += more) {
      more = read(ends[0], held.data() + got, static_cast<size_t>(taken - got));
      if (more <= 0) failed("a pipe cannot be read", p, bytes);
    }
    if (taken > 0 && memcmp(p, held.data(), static_cast<size_t>(taken)) != 0)
      failed("a pipe holds other pages", p, bytes);
    close(ends[0]);
    close(ends[1]);
  }

  void check_page(const Block& block, size_t page) {
    const char* p = block.p + page * kPageSize;
    const uint64_t seed = block.written[page];
    if (seed == 0 ? !is_zero(p, kPageSize) : !check_content_at(p, 0, kPageSize, seed))
      failed(seed == 0 ? "an untouched page is not zero" : "a page changed", p, block.size);
  }

  void check(const Block& block) {
    if (!block.sparse && !check_content_at(block.p, 0, block.size, block.seed))
      failed("content changed", block.p, block.size);
    for (size_t page = 0; page < block.written.size(); ++page)
      if (block.written[page] != 0) check_page(block, page);
  }

  void rewrite() {
    Block& block = live_[random_.below(live_.size())];
    if (block.sparse) return;
    block.seed = new_seed(block.size);
    write_content(block.p, block.size, block.seed);
  }

  void resize() {
    Block block = take_any();
    const size_t size = 1 + random_size(random_) + (random_.below(4) == 0 ? random_.below(1 << 20) : 0);
    if (block.sparse) return release(block);
    if (block.mapped) return unmap_part(std::move(block));
    char* p = resize_to(block, size);
    if (p == nullptr) {
      s_.refused.fetch_add(1, std::memory_order_relaxed);
      return keep(std::move(block));
    }
    if (!check_content_at(p, 0, size < block.size ? size : block.size, block.seed))
      failed("resize lost content", p, size);
    block.p = p;
    block.size = size;
    block.seed = new_seed(size);
    write_content(p, size, block.seed);
    keep(std::move(block));
  }

  // As munmap does it.
  void unmap(char* p, size_t bytes) {
    if (bytes != 0) s_.a.zone().release_mapped(s_.a.zone().pfn_of(p), pages_of(bytes));
  }

  // Some pages, most often in the middle; what is left on both sides is as it was.
  void unmap_part(Block block) {
    const size_t pages = block.size / kPageSize, first = random_.below(pages);
    const size_t end = first + 1 + random_.below(pages - first);
    unmap(block.p + first * kPageSize, (end - first) * kPageSize);
    if (!check_content_at(block.p, 0, first * kPageSize, block.seed) ||
        !check_content_at(block.p, end * kPageSize, (pages - end) * kPageSize, block.seed))
      failed("unmapping a part lost content", block.p, block.size);
    Block behind = block;
    behind.p += end * kPageSize;
    behind.size -= end * kPageSize;
    behind.seed = new_seed(behind.size);
    block.size = first * kPageSize;
    if (behind.size != 0) {
      write_content(behind.p, behind.size, behind.seed);
      keep(std::move(behind));
    }
    if (block.size != 0) keep(std::move(block));
  }

  void release(const Block& block) {
    // Most are freed without a look: what is away is then dropped without coming back.
    if (random_.below(4) == 0) check(block);
    if (block.mapped) return unmap(block.p, block.size);
    if (s_.a->free(cache_, block.p).misuse != Misuse::kNone) failed("free refused", block.p, block.size);
  }

  // A long run counts for what is likely to be touched of it.
  static size_t weight(const Block& block) { return block.sparse ? block.size / 4 : block.size; }
  void keep(Block block) {
    live_bytes_ += weight(block);
    live_.push_back(std::move(block));
  }
  Block take_any() {
    std::swap(live_[random_.below(live_.size())], live_.back());
    Block block = std::move(live_.back());
    live_.pop_back();
    live_bytes_ -= weight(block);
    return block;
  }

  Shared& s_;
  Random random_;
  ThreadCache* cache_ = nullptr;
  HeapId heap_;
  unsigned generation_ = 0;  // of forks
  std::vector<Block> live_;
  size_t live_bytes_ = 0;
  Movables movables_;
};

void verify(Shared& s) {
  if (const char* wrong = s.a.allocator().verify()) failed(wrong, nullptr, 0);
  if (const char* wrong = compare_with_kernel(s.a)) failed(wrong, nullptr, 0);
}

// Another swap file, or none for a while where pages can be compressed.
void change_swap(Shared& s, Random& random) {
  const std::string folder = std::filesystem::temp_directory_path().string();
  const std::lock_guard guard(s.settings_mutex);
  const Text before = s.a.options().swap;
  s.a.options().swap = Text();
  const bool none = s.regime.zswap && random.below(4) == 0;
  if (!none && !s.a.options().swap.assign(folder)) failed("the path is too long", nullptr, 0);
  // All places may be taken by files that are not empty yet.
  if (s.a.reclaimer().change_swap_file() != nullptr)
    s.a.options().swap = before;
  else
    s.changed.fetch_add(1, std::memory_order_relaxed);
  if (!s.a.reclaimer().options_changed(Reclaimer::Budget::kStays)) failed("options were refused", nullptr, 0);
}

void disturb(Shared& s, uint64_t seed) {
  Random random(seed);
  while (!s.stop.load(std::memory_order_relaxed)) {
    usleep(static_cast<useconds_t>(random.below(20000)));
    const uint64_t what = random.below(16);
    if (what < 6) {
      if (s.a.allocator().decay_tick().misuse != Misuse::kNone) failed("decay found misuse", nullptr, 0);
    } else if (what < 7) {
      s.a->trim(nullptr);
    } else if (what < 11) {
      s.a.zone().set_managed(Pages((kLimit >> kPageShift) * (4 + random.below(5)) / 8));
      s.a.reclaimer().wake_kswapd(s.a.zone().node());
    } else if (what < 12 && s.regime.changes) {
      s.a.options().zswap_compressor = random.below(2) == 0 ? ZswapCompressor::kLz4 : ZswapCompressor::kZstd;
      if (!s.a.reclaimer().options_changed(Reclaimer::Budget::kStays)) failed("options were refused", nullptr, 0);
    } else if (what < 13 && s.regime.file && random.below(8) == 0) {
      change_swap(s, random);
    } else if (what < 13) {
      static_cast<void>(s.a.reclaimer().stats());
    } else if (what < 14) {
      if (const char* wrong = s.a.allocator().verify()) failed(wrong, nullptr, 0);
    } else {
      s.gate.close();
      verify(s);
      s.gate.open();
    }
  }
}

// As kcompactd, and as an allocation that finds nothing; also what is away moves then.
void move_objects(Shared& s, uint64_t seed) {
  Random random(seed + 2);
  Compactor& compactor = *s.a.allocator().compactor();
  while (!s.stop.load(std::memory_order_relaxed)) {
    usleep(static_cast<useconds_t>(random.below(3000)));
    if (random.below(4) != 0)
      static_cast<void>(compactor.compact_all());
    else
      static_cast<void>(compactor.try_to_compact(s.a.zone(), Pages(64 << random.below(12))));
    s.gate.pass();
  }
  s.gate.leave();
}

// What nobody has to keep, the kernel drops: of 2 MiB somewhere at the program's addresses, or those of Standby.
void be_short_of_memory(Shared& s, uint64_t seed) {
  Random random(seed + 1);
  NodeReclaim& node = s.a.node();
  while (!s.stop.load(std::memory_order_relaxed)) {
    usleep(static_cast<useconds_t>(random.below(400)));
    const uint64_t blocks = s.a.zone().accessible_estimate().v / kPageblockPages;
    if (blocks == 0) continue;
    const Pfn first = static_cast<Pfn>(random.below(blocks) * kPageblockPages);
    if (!node.is_armed(first / kPageblockPages)) continue;
    char* const at = random.below(4) == 0 ? node.staging_address(first) : s.a.zone().address(first);
    os::vm_page_out(at, kPageblockPages * kPageSize);
  }
}

void sleep_ms(uint64_t ms) {
  struct timespec left = {static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1000000};
  while (nanosleep(&left, &left) != 0) {
  }
}

void report(Shared& s) {
  const ReclaimStats r = s.a.reclaimer().stats();
  printf(
      "limit_stress: %s: %llu operations, %llu refused, %llu forks, %llu heaps, peak %llu of %llu pages, out %llu "
      "compressed %llu written, in "
      "%llu and %llu, %llu moved, %llu by standby, %llu waits, the longest %llu ms, file %llu of %llu pages, %llu "
      "changes, %llu pages of objects moved\n",
      s.regime.name, static_cast<unsigned long long>(s.operations.load()),
      static_cast<unsigned long long>(s.refused.load()), static_cast<unsigned long long>(s.forks.load()),
      static_cast<unsigned long long>(s.heaps_destroyed.load()), static_cast<unsigned long long>(r.resident_peak.v),
      static_cast<unsigned long long>(r.limit.v), static_cast<unsigned long long>(r.zswpout),
      static_cast<unsigned long long>(r.pswpout), static_cast<unsigned long long>(r.zswpin),
      static_cast<unsigned long long>(r.pswpin), static_cast<unsigned long long>(r.zswap_moved),
      static_cast<unsigned long long>(r.pgfault_standby), static_cast<unsigned long long>(r.allocstall),
      static_cast<unsigned long long>(r.stall_longest_us / 1000), static_cast<unsigned long long>(r.swap_used.v),
      static_cast<unsigned long long>(r.swap_total.v), static_cast<unsigned long long>(s.changed.load()),
      static_cast<unsigned long long>(s.a.zone().stats().pgmigrate_success));
  fflush(stdout);
  if (r.resident_peak.v * kPageSize > kLimit + kTolerance) failed("far above the limit", nullptr, r.resident_peak.v);
  if (r.swap_read_error != 0) failed("pages could not be read back", nullptr, r.swap_read_error);
}

int run_regime(const StressArguments& arguments, const Regime& regime, uint64_t ms) {
  const unsigned threads = static_cast<unsigned>(arguments.threads);
  Shared s(threads, regime);
  Options& options = s.a.options();
  options.decay_ms = 100;
  options.zswap = regime.zswap;
  const auto number = static_cast<size_t>(&regime - kRegimes);
  options.handlers = kHandlers[number % std::size(kHandlers)];
  options.waker_moves = kWakerMoves[number % std::size(kWakerMoves)];
  options.uffd_move = regime.moves;
  options.drop_in_place = regime.in_place;
  options.zswap_compressor = regime.compressor;
  if (regime.file && !options.swap.assign(std::filesystem::temp_directory_path().string()))
    failed("the path of the temporary folder is too long", nullptr, 0);
  if (const char* why = s.a.start(kLimit, kCapacity)) {
    fprintf(stderr, "limit_stress: skipped: %s\n", why);
    return kSkipped;
  }
  s.heaps.init(s.a.allocator());
  if (s.a.reclaimer().swap_problem() != nullptr) failed(s.a.reclaimer().swap_problem(), nullptr, 0);
  std::vector<std::unique_ptr<Worker>> workers;
  for (unsigned i = 0; i < threads; ++i) workers.push_back(std::make_unique<Worker>(s, i, arguments.seed));
  std::vector<std::thread> running;
  for (auto& worker : workers) running.emplace_back([&worker] { worker->run(); });
  std::thread disturber([&] { disturb(s, arguments.seed); });
  const MovableId first = s.a.allocator().alloc_movable(1);
  if (!first) failed("there is no memory at the start", nullptr, 0);
  std::thread mover([&] { move_objects(s, arguments.seed); });
  std::thread kernel([&] {
    if (!os::vm_system_swaps()) be_short_of_memory(s, arguments.seed);
  });
  sleep_ms(ms);
  s.stop.store(true);
  disturber.join();
  kernel.join();
  mover.join();
  for (std::thread& thread : running) thread.join();
  verify(s);
  if (s.a.allocator().free_movable(first) != MovableCall::kDone) failed("an object is gone", nullptr, 1);
  s.a->trim(nullptr);
  verify(s);
  if (s.a->charged() != 0) failed("pages are still charged", nullptr, s.a->charged() * kPageSize);
  if (s.a.node().swapped_pages() != 0) failed("swapped pages are left", nullptr, s.a.node().swapped_pages());
  report(s);
  fflush(stdout);
  return 0;
}

// Each regime in a process of its own, because weir's threads end only with it.
int run(const StressArguments& arguments) {
  const uint64_t ms = arguments.seconds * 1000 / std::size(kRegimes) + 1;
  int worst = 0;
  for (const Regime& regime : kRegimes) {
    fflush(stdout);
    const pid_t child = fork();
    if (child < 0) failed("fork", nullptr, 0);
    if (child == 0) _exit(run_regime(arguments, regime, ms));
    int status = 0;
    if (waitpid(child, &status, 0) != child) failed("waitpid", nullptr, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == kSkipped) return kSkipped;
    if (status != 0) {
      fprintf(stderr, "limit_stress: %s: ended with status %d\n", regime.name, status);
      worst = 1;
    }
  }
  return worst;
}

}  // namespace
}  // namespace weir

int main(int argc, char** argv) {
  return weir::run(weir::parse_stress_arguments("limit_stress", argc, argv));
}
