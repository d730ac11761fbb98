#include "malloc/process.h"

#include <errno.h>
#include <pthread.h>

#include <cstring>

#include "config/conf.h"
#include "malloc/anon_calls.h"
#include "malloc/callbacks.h"
#include "malloc/decay.h"
#include "malloc/file_calls.h"
#include "malloc/kcompactd.h"
#include "malloc/misuse.h"
#include "malloc/oom.h"
#include "mm/handle_fault.h"
#include "os/env.h"
#include "os/proc.h"
#include "os/vm.h"
#include "topology/sysfs.h"

namespace weir {

namespace process_detail {

// No code may write through the constant caches: their bins are empty and full, so the fast paths never do.
constinit thread_local CacheBins* cache = const_cast<CacheBins*>(&kNoCaches.first);
constinit thread_local bool KeepsCache::kept = false;
constinit Allocator allocator;

namespace {

constinit Options options;
constinit Topology topology;
constinit StatsPage stats_page;
// Here rather than mapped: starting a program costs no system call for it. The page is aligned when it is used: aligned
// as an object it would push the rest of .bss to pages of its own.
constinit char stats_room[StatsPage::kBytesOfOneNode + kPageSize] = {};
// Initialized, so that it lies in the data of a file, where readers look for it.
alignas(64) constinit weir_stats_beacon stats_beacon = {WEIR_STATS_BEACON, 0, {}};
constinit Mutex start_mutex{LockRank::kDecay};
constinit std::atomic<bool> started{false};
constinit bool has_key = false;
constinit uint64_t start_ns = 0;
constinit pthread_key_t thread_end_key = 0;
constinit Mutex settings_mutex{LockRank::kDecay};
constinit std::atomic<void (*)(weir_stats_page&, weir_control_box&)> answer_request{nullptr};
constinit std::atomic<uint64_t> request_done{0};

void on_thread_end(void* own_cache) {
  // Other destructors may still allocate and free: from here on straight from the slabs.
  cache = no_cache(NoCache::kDead);
  if (allocator.reclaimer() != nullptr) allocator.reclaimer()->remove_thread();
  report_misuse(allocator.detach(static_cast<ThreadCache*>(own_cache)), "thread exit");
}

void read_options() {
  const char* conf = os::secure_env("WEIR_CONF");
  if (conf == nullptr) return;
  const unsigned mistakes = parse_conf(conf, "WEIR_CONF", options, descriptor_sink(2));
  if (mistakes != 0 && options.abort_conf) os::exit_now(kConfExitStatus);
}

bool start() {
  LockGuard guard(start_mutex);
  if (started.load(std::memory_order_relaxed)) return true;
  read_options();
  if (is_one_node())
    read_as_one_node(topology);
  else
    read_sysfs(topology);
  AllocatorSetup setup;
  setup.options = &options;
  setup.topology = &topology;
  // With the address mixed in, several copies of weir in one process (one linked, one preloaded) choose different
  // places.
  setup.random = os::process_random() ^ (reinterpret_cast<uintptr_t>(&allocator) >> kPageShift);
  setup.fault_story = kFaultStory;
  // With a limit there is a thread that can keep a descriptor.
  const bool limited = options.limit != 0 || options.rss_limit != 0;
  if (options.stats_page && stats_page.page() == nullptr)
    stats_page.map(options.numa ? topology.nr_nodes : 1, limited,
                   reinterpret_cast<char*>(align_up(reinterpret_cast<uintptr_t>(stats_room), kPageSize)), options);
  publish(stats_beacon.address, uint64_t{reinterpret_cast<uintptr_t>(stats_page.page())});
  setup.stats = &stats_page;
  if (!allocator.init(setup)) return false;
  has_key = pthread_key_create(&thread_end_key, on_thread_end) == 0;
  if (options.summary) start_ns = os::now_ns();
  started.store(true, std::memory_order_release);
  return true;
}

// The calling thread's cache; null when it has none and can have none.
ThreadCache* own_cache() {
  if (__builtin_expect(cache != no_cache(NoCache::kNew) && cache != no_cache(NoCache::kFreedOnce), 1))
    return cache == no_cache(NoCache::kDead) ? nullptr : static_cast<ThreadCache*>(cache);
  if (!process_start()) return nullptr;
  ThreadCache* made = allocator.attach();
  if (made == nullptr) return nullptr;
  // Set first: pthread_setspecific may allocate.
  cache = made;
  if (has_key) pthread_setspecific(thread_end_key, made);
  if (allocator.reclaimer() != nullptr) allocator.reclaimer()->add_thread();
  return made;
}

// The same without making one.
ThreadCache* attached_cache() {
  for (const NoCache state : {NoCache::kNew, NoCache::kFreedOnce, NoCache::kDead})
    if (cache == no_cache(state)) return nullptr;
  return static_cast<ThreadCache*>(cache);
}

// The same for a free. An object that a thread frees before it has allocated anything is another thread's, and its
// neighbours in the cache line are too: it goes back to its slab instead of becoming this thread's first object.
ThreadCache* cache_for_free() {
  if (cache != no_cache(NoCache::kNew)) return own_cache();
  cache = no_cache(NoCache::kFreedOnce);
  return nullptr;
}

void* no_memory() {
  errno = ENOMEM;
  return nullptr;
}

// What attempt() returns; when that is nothing, the OOM policy may make it worth another one.
template <class Attempt>
void* or_enomem(size_t size, Attempt attempt) {
  for (unsigned tries = 0;; ++tries) {
    void* p = attempt();
    if (__builtin_expect(p != nullptr, 1)) return p;
    if (tries == kMostOomTries || !oom_allocation_failed(size)) return no_memory();
  }
}

// Memory that is not zeroed, errno unchanged.
void* allocate(size_t size) {
  ThreadCache* own = own_cache();
  if (!started.load(std::memory_order_relaxed)) return nullptr;
  if (size > kMaxSmallSize) return allocator.alloc_large(own, size, kPageSize, false);
  const size_t size_class = class_of_size(size);
  if (own != nullptr)
    if (void* object = cache_pop(own, size_class)) return object;
  return allocator.alloc_slow(own, size_class);
}

bool is_foreign(const void* p) {
  return allocator.map().offset_of(p) >= allocator.map().covered();
}

// Whether an object of `now` usable bytes stays where it is when it is to hold `size`: when that is its class, or when
// it shrinks by less than half. Copying to save less costs more than it saves.
bool keeps_place(size_t now, size_t size) {
  return size <= now && size >= now / 2 && size != 0;
}

void* resize_in_heap(void* p, size_t size) {
  const HeapHooks* hooks = allocator.heaps();
  BadPointer bad;
  void* resized = hooks->resize(hooks->self, p, size, bad);
  report_misuse(bad, "realloc");
  // Its own limit, most likely: nobody else is short of memory.
  return resized != nullptr ? resized : no_memory();
}

void* copy_to_new(void* p, size_t now, size_t size) {
  void* moved = process_malloc(size);
  if (moved == nullptr) return nullptr;
  memcpy(moved, p, now < size ? now : size);
  process_free(p);
  return moved;
}

}  // namespace

void* malloc_slow(size_t size, const void* caller) {
  void* p = or_enomem(size, [size] { return allocate(size); });
  decay_poll_on_alloc();
  callbacks_poll(caller);
  return p;
}

void free_slow(void* p, const void* caller) {
  if (p == nullptr) return;
  const int saved_errno = errno;
  if (is_foreign(p)) {
    if (weir_foreign_free != nullptr)
      weir_foreign_free(p);
    else
      report_misuse({Misuse::kForeign, p, 0}, "free");
  } else if (allocator.map().class_at(allocator.map().offset_of(p)) == kHeapClass) {
    // Every free of such an object comes by here.
    bool due = false;
    report_misuse(allocator.free_in_heap(attached_cache(), p, due), "free");
    if (due) decay_poll_on_free(caller);
  } else {
    report_misuse(allocator.free_slow(cache_for_free(), p), "free");
    decay_poll_on_free(caller);
    callbacks_poll(caller);
  }
  errno = saved_errno;
}

}  // namespace process_detail

using namespace process_detail;

ThreadCache* process_thread_cache() {
  return own_cache();
}

bool process_start() {
  return started.load(std::memory_order_acquire) || start();
}

bool process_started() {
  return started.load(std::memory_order_acquire);
}

uint64_t process_start_ns() {
  return start_ns;
}

Allocator& process_allocator() {
  return allocator;
}
const Topology& process_topology() {
  return topology;
}

const weir_stats_page* process_stats() {
  return stats_page.page();
}

void process_renew_stats() {
  // A program that filters its own system calls allows what it knows of.
  const bool quiet = decay_detail::threads_forbidden.load(std::memory_order_relaxed);
  if (stats_page.renew(quiet)) allocator.publish_all();
}

int process_take_stats_descriptor() {
  return stats_page.take_descriptor();
}

Mutex& process_settings_mutex() {
  return settings_mutex;
}

Options& process_options() {
  return options;
}

bool process_options_changed(Reclaimer::Budget budget) {
  if (!allocator.options_changed(budget)) return false;
  stats_page.publish_options();
  decay_options_changed();
  static_cast<void>(kcompactd_wake(false));
  return true;
}

void process_answer_requests(void (*answer)(weir_stats_page&, weir_control_box&)) {
  answer_request.store(answer, std::memory_order_relaxed);
}

void process_request_done(uint64_t ticket) {
  request_done.store(ticket, std::memory_order_relaxed);
}

void process_poll_requests() {
  weir_stats_page* page = stats_page.page();
  if (page == nullptr) return;
  const uint64_t ticket = __atomic_load_n(&page->request, __ATOMIC_ACQUIRE);
  if (__builtin_expect(ticket == 0, 1) || ticket == request_done.load(std::memory_order_relaxed)) return;
  const auto answer = answer_request.load(std::memory_order_relaxed);
  if (answer != nullptr && stats_page.box() != nullptr) answer(*page, *stats_page.box());
}

void* process_calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return no_memory();
  if (bytes > kMaxSmallSize) {
    ThreadCache* own = own_cache();
    if (!started.load(std::memory_order_relaxed)) return no_memory();
    return or_enomem(bytes, [=] { return allocator.alloc_large(own, bytes, kPageSize, true); });
  }
  void* p = process_malloc(bytes);
  return p == nullptr ? nullptr : memset(p, 0, bytes);
}

void* process_realloc(void* p, size_t size) {
  if (p == nullptr) return process_malloc(size);
  if (is_foreign(p)) {
    if (weir_foreign_realloc != nullptr) return weir_foreign_realloc(p, size);
    report_misuse({Misuse::kForeign, p, 0}, "realloc");
  }
  if (size == 0) {
    process_free(p);
    return nullptr;
  }
  const size_t size_class = allocator.map().class_at(allocator.map().offset_of(p));
  if (size_class == kHeapClass || (size_class == 0 && allocator.heaps() != nullptr && allocator.tag_of(p)))
    return resize_in_heap(p, size);
  if (size_class != 0) {
    const size_t now = kSizeClasses[size_class].size;
    return keeps_place(now, size) ? p : copy_to_new(p, now, size);
  }
  const size_t now = allocator.usable_size(p);
  if (now == 0) report_misuse({Misuse::kNotGivenOut, p, 0}, "realloc");
  if (size > kMaxSmallSize) {
    if (void* resized = allocator.resize_large(p, size)) return resized;
  }
  return copy_to_new(p, now, size);
}

void* process_memalign(size_t alignment, size_t size) {
  if (alignment <= kMinAlignment) return process_malloc(size);
  ThreadCache* own = own_cache();
  if (!started.load(std::memory_order_relaxed)) return no_memory();
  const size_t size_class = class_of_aligned(size, alignment);
  if (size_class == 0) return or_enomem(size, [=] { return allocator.alloc_large(own, size, alignment, false); });
  if (own != nullptr)
    if (void* object = cache_pop(own, size_class)) return object;
  return or_enomem(size, [=] { return allocator.alloc_slow(own, size_class); });
}

size_t process_usable_size(const void* p) {
  if (p == nullptr) return 0;
  if (is_foreign(p)) {
    if (weir_foreign_usable_size != nullptr) return weir_foreign_usable_size(const_cast<void*>(p));
    report_misuse({Misuse::kForeign, p, 0}, "malloc_usable_size");
  }
  const size_t usable = allocator.usable_size(p);
  if (usable == 0) report_misuse({Misuse::kNotGivenOut, p, 0}, "malloc_usable_size");
  return usable;
}

size_t process_trim() {
  size_t bytes = 0;
  if (process_start()) report_misuse(allocator.trim(own_cache(), bytes), "free");
  return bytes;
}

namespace {

// Who has to hear of a system call on these bytes before the kernel does, and where they end; null: nobody. Of what is
// wrong, too, the kernel knows all there is to know.
Reclaimer* reclaimer_of(void* address, size_t bytes, char*& end) {
  Reclaimer* const reclaimer = process_started() ? allocator.reclaimer() : nullptr;
  if (reclaimer == nullptr || !reclaimer->can_swap()) return nullptr;
  if (!is_page_range(address, bytes)) return nullptr;
  end = static_cast<char*>(address) + align_up(bytes, kPageSize);
  return reclaimer;
}

// mlock is content with any address; it means the page there.
void begin_at_page(void*& address, size_t& bytes) {
  const size_t before = reinterpret_cast<uintptr_t>(address) % kPageSize;
  address = static_cast<char*>(address) - before;
  bytes += before;
}

}  // namespace

long process_madvise(void* address, size_t bytes, int advice) {
  process_about_to_advise(address, bytes, advice);
  if (anon_ignores(address, bytes, advice)) return 0;
  char* end = nullptr;
  Reclaimer* const reclaimer = Reclaimer::gives_up(advice) ? reclaimer_of(address, bytes, end) : nullptr;
  if (reclaimer == nullptr) return os::vm_advise(address, bytes, advice);
  return reclaimer->give_up(static_cast<char*>(address), end, advice);
}

long process_mprotect(void* address, size_t bytes, int protection, int key) {
  process_about_to_protect(address, bytes, protection);
  char* end = nullptr;
  Reclaimer* const reclaimer = reclaimer_of(address, bytes, end);
  if (reclaimer == nullptr) return os::vm_protect(address, bytes, protection, key);
  const long result = reclaimer->protect(static_cast<char*>(address), end, protection, key);
  if (result == 0) anon_protected(static_cast<char*>(address), bytes, protection);
  return result;
}

long process_mlock(void* address, size_t bytes, int flags) {
  begin_at_page(address, bytes);
  char* end = nullptr;
  Reclaimer* const reclaimer = reclaimer_of(address, bytes, end);
  return reclaimer != nullptr ? reclaimer->lock(static_cast<char*>(address), end, flags)
                              : os::vm_lock(address, bytes, flags);
}

long process_munlock(void* address, size_t bytes) {
  begin_at_page(address, bytes);
  char* end = nullptr;
  Reclaimer* const reclaimer = reclaimer_of(address, bytes, end);
  return reclaimer != nullptr ? reclaimer->unlock(static_cast<char*>(address), end) : os::vm_unlock(address, bytes);
}

void process_release_caches() {
  if (process_start()) report_misuse(allocator.release_caches(own_cache()), "free");
}

void process_drain_own() {
  if (KeepsCache::is_kept()) return;
  for (const NoCache state : {NoCache::kNew, NoCache::kFreedOnce, NoCache::kDead})
    if (cache == no_cache(state)) return;
  report_misuse(allocator.drain(*static_cast<ThreadCache*>(cache)), "free");
}

const char* process_verify() {
  return process_start() ? allocator.verify() : nullptr;
}

}  // namespace weir
