// Purpose: the allocator of this process: started by the first allocation, and the fast paths that every malloc and
//          free of the program runs through.
// Thread safety: any thread, any time: before constructors, after thread-local destructors, in fork handlers.
// Invariants: errno changes only on failure (ENOMEM, EINVAL), and free never changes it.
#pragma once

#include <cstddef>

#include "malloc/allocator.h"
#include "malloc/thread_cache.h"

// Defined where the C library's own allocator can be reached (interpose/); elsewhere pointers that are not weir's are
// misuse.
extern "C" {
__attribute__((weak, visibility("hidden"))) void weir_foreign_free(void* p);
__attribute__((weak, visibility("hidden"))) void* weir_foreign_realloc(void* p, size_t size);
__attribute__((weak, visibility("hidden"))) size_t weir_foreign_usable_size(void* p);
}

namespace weir {

namespace process_detail {
// One pointer of initial-exec thread-local storage: under dlopen only little of that is to be had.
extern constinit thread_local CacheBins* cache;
// Constant once the first allocation has returned.
extern Allocator allocator;

// While it lives, the calling thread's cache is not emptied, however short memory is: what may be called in the handler
// of a signal may have come in the middle of a change of it.
class KeepsCache {
 public:
  KeepsCache() : before_(kept) { kept = true; }
  ~KeepsCache() { kept = before_; }
  KeepsCache(const KeepsCache&) = delete;
  KeepsCache& operator=(const KeepsCache&) = delete;
  static bool is_kept() { return kept; }

 private:
  static constinit thread_local bool kept;
  const bool before_;
};

void* malloc_slow(size_t size, const void* caller);
void free_slow(void* p, const void* caller);
}  // namespace process_detail

inline __attribute__((always_inline)) void* process_malloc(size_t size) {
  if (__builtin_expect(size <= kMaxSmallSize, 1)) {
    void* object = cache_pop_size(process_detail::cache, size);
    if (__builtin_expect(object != nullptr, 1)) return object;
  }
  // The return address tells an allocation of the dynamic linker's apart.
  return process_detail::malloc_slow(size, __builtin_return_address(0));
}

inline __attribute__((always_inline)) void process_free(void* p) {
  const AddressMap& map = process_detail::allocator.map();
  const size_t offset = map.offset_of(p);
  if (__builtin_expect(offset < map.covered(), 1) &&
      __builtin_expect(cache_push(process_detail::cache, map.class_at(offset), p) == FreeFast::kDone, 1))
    return;
  process_detail::free_slow(p, __builtin_return_address(0));
}

void* process_calloc(size_t count, size_t size);
void* process_realloc(void* p, size_t size);
// `alignment` must be a power of two.
void* process_memalign(size_t alignment, size_t size);
size_t process_usable_size(const void* p);
// madvise; 0 or -errno. What is given up of the heap is gone wherever it is kept.
long process_madvise(void* address, size_t bytes, int advice);
// pkey_mprotect, or mprotect where `key` is os::kNoKey; 0 or -errno. Also for memory that is away, or on its way.
long process_mprotect(void* address, size_t bytes, int protection, int key);
// mlock2 and munlock; 0 or -errno. Also for such memory.
long process_mlock(void* address, size_t bytes, int flags);
long process_munlock(void* address, size_t bytes);
// Gives everything unused back; bytes.
size_t process_trim();
// Gives back to the zones what the calling thread's cache and the depots keep.
void process_release_caches();
// The first half of that.
void process_drain_own();
// Null when every count agrees.
const char* process_verify();

// The calling thread's cache, which is made if need be; null when there is no memory for it, or the thread is ending.
ThreadCache* process_thread_cache();
// Starts the allocator if no allocation has yet; false when there is no memory for it.
bool process_start();
bool process_started();
// When it was started, on the clock of os::now_ns; 0 when no summary was asked for.
uint64_t process_start_ns();
Allocator& process_allocator();
// The page that other processes read; null when there is none.
const weir_stats_page* process_stats();
// In the child of a fork, before anything is published, with the locks held: from now on the page is the child's own.
void process_renew_stats();
// The descriptor by which others may read it, for the thread that keeps it; negative: there is none.
int process_take_stats_descriptor();

// -- settings that change while the program runs (control/)
// Held while an option changes, and across a fork, so that a child has all of a change or nothing.
Mutex& process_settings_mutex();
// By who holds it: the options themselves; what was changed there has yet to be told to the allocator.
Options& process_options();
// By who holds it: makes what was changed of the options known to everybody.
[[nodiscard]] bool process_options_changed(Reclaimer::Budget budget);
// Has `answer` called when another process has asked something, until that says that it is done with this ticket. Any
// thread may come by, with no lock held; errno must be kept.
void process_answer_requests(void (*answer)(weir_stats_page& page, weir_control_box& box));
void process_request_done(uint64_t ticket);
// Called on slow paths and by weir's own threads; costs two loads when nothing was asked.
void process_poll_requests();
const Topology& process_topology();

}  // namespace weir
