// The functions of include/weir/heap.h.
#include <errno.h>

#include <cstring>

#include "heap/process_heaps.h"
#include "malloc/callbacks.h"
#include "malloc/decay.h"
#include "malloc/misuse.h"
#include "malloc/oom.h"
#include "malloc/process.h"
#include "weir/heap.h"

namespace {

using weir::HeapId;
using weir::HeapRegistry;

HeapId id_of(weir_heap_t heap) {
  return {reinterpret_cast<uint64_t>(heap)};
}

weir_heap_t handle_of(HeapId id) {
  return reinterpret_cast<weir_heap_t>(id.bits);
}

template <class Result>
Result fail(int error, Result result) {
  errno = error;
  return result;
}

// Of the first version. Later ones add fields behind it, which have their defaults for callers that do not know them.
constexpr size_t kFirstOptions = offsetof(weir_heap_options, flags) + sizeof(uint32_t);

bool read_policy(uint32_t given, weir::OomKill& policy) {
  switch (given) {
    case WEIR_HEAP_OOM_FAIL:
      policy = weir::OomKill::kFail;
      return true;
    case WEIR_HEAP_OOM_RELEASE:
      policy = weir::OomKill::kRelease;
      return true;
    case WEIR_HEAP_OOM_ABORT:
      policy = weir::OomKill::kAbort;
      return true;
    default:
      return false;
  }
}

// What a caller that was compiled with a later version has beyond ours must not have been asked for.
int read_options(const weir_heap_options* given, weir::HeapSettings& settings) {
  if (given == nullptr) return 0;
  const size_t size = given->size;
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  if (size < kFirstOptions) return EINVAL;
  const char* bytes = reinterpret_cast<const char*>(given);
  for (size_t i = sizeof(options); i < size; ++i)
    if (bytes[i] != 0) return E2BIG;
  memcpy(&options, given, size < sizeof(options) ? size : sizeof(options));
  if (options.noswap > 1 || options.reserved != 0 || !read_policy(options.oom_policy, settings.oom_policy))
    return EINVAL;
  settings.soft_limit = options.soft_limit;
  settings.limit = options.limit;
  settings.node = options.node;
  settings.oom_score_adj = options.oom_score_adj;
  settings.noswap = options.noswap != 0;
  settings.flags = options.flags;
  settings.on_oom = options.on_oom;
  settings.oom_arg = options.oom_arg;
  return 0;
}

void* alloc(weir_heap_t heap, size_t size, size_t alignment, bool zero) {
  HeapRegistry* heaps = weir::process_heaps();
  if (heaps == nullptr) return fail<void*>(EINVAL, nullptr);
  weir::HeapCall call;
  call.thread = weir::process_thread_cache();
  void* object;
  for (unsigned tries = 0;; ++tries) {
    object = heaps->alloc(id_of(heap), size, alignment, zero, call);
    weir::report_misuse(call.bad, "free");
    if (object != nullptr || !call.no_memory || tries == weir::kMostOomTries) break;
    if (!weir::oom_allocation_failed(size, id_of(heap).index())) break;
  }
  if (call.due) weir::decay_poll_on_alloc();
  if (object == nullptr) weir::callbacks_poll(nullptr);
  if (object == nullptr) errno = call.error;
  return object;
}

uint64_t limit_bytes(uint64_t pages) {
  return pages == weir::PageOwner::kNoLimit ? 0 : weir::bytes_of(weir::Pages(pages));
}

// Calls change(heaps) when there are any; returns what it does.
template <class Change>
int with_heaps(Change change) {
  HeapRegistry* heaps = weir::process_heaps();
  return heaps != nullptr ? change(*heaps) : EINVAL;
}

}  // namespace

extern "C" {

weir_heap_t weir_heap_create(const char* name, const weir_heap_options* options) {
  weir::HeapSettings settings;
  if (const int error = read_options(options, settings)) return fail<weir_heap_t>(error, nullptr);
  HeapRegistry* heaps = weir::process_make_heaps();
  if (heaps == nullptr) return fail<weir_heap_t>(ENOMEM, nullptr);
  HeapId id;
  const int error = heaps->create(name, settings, id);
  if (error == 0) weir::callbacks_expect_orders();
  return error == 0 ? handle_of(id) : fail<weir_heap_t>(error, nullptr);
}

int weir_heap_destroy(weir_heap_t heap) {
  const int saved_errno = errno;
  const int result = with_heaps([&](HeapRegistry& heaps) {
    weir::Pages released;
    return heaps.destroy_heap(id_of(heap), released);
  });
  if (result == 0) weir::decay_poll_on_free(__builtin_return_address(0));
  errno = saved_errno;
  return result;
}

void* weir_heap_malloc(weir_heap_t heap, size_t size) {
  return heap == nullptr ? weir::process_malloc(size) : alloc(heap, size, weir::kMinAlignment, false);
}

void* weir_heap_calloc(weir_heap_t heap, size_t count, size_t size) {
  if (heap == nullptr) return weir::process_calloc(count, size);
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return fail<void*>(ENOMEM, nullptr);
  return alloc(heap, bytes, weir::kMinAlignment, true);
}

void* weir_heap_realloc(weir_heap_t heap, void* ptr, size_t size) {
  return ptr == nullptr ? weir_heap_malloc(heap, size) : weir::process_realloc(ptr, size);
}

void* weir_heap_aligned_alloc(weir_heap_t heap, size_t alignment, size_t size) {
  if (!weir::is_power_of_two(alignment)) return fail<void*>(EINVAL, nullptr);
  return heap == nullptr ? weir::process_memalign(alignment, size) : alloc(heap, size, alignment, false);
}

weir_heap_t weir_heap_of(const void* ptr) {
  HeapRegistry* heaps = weir::process_heaps();
  return heaps != nullptr ? handle_of(heaps->heap_of(ptr)) : nullptr;
}

weir_heap_t weir_heap_find(const char* name) {
  HeapRegistry* heaps = weir::process_heaps();
  if (heaps == nullptr || name == nullptr) return nullptr;
  // Copied, because the name may be in memory that is away, and is looked at with a lock held.
  char copy[WEIR_HEAP_NAME];
  const size_t length = strnlen(name, sizeof(copy));
  if (length == sizeof(copy)) return nullptr;
  memcpy(copy, name, length);
  return handle_of(heaps->find({copy, length}));
}

weir_heap_t weir_heap_next(weir_heap_t previous) {
  HeapRegistry* heaps = weir::process_heaps();
  return heaps != nullptr ? handle_of(heaps->next(id_of(previous))) : nullptr;
}

int weir_heap_name(weir_heap_t heap, char* name, size_t size) {
  return with_heaps([&](HeapRegistry& heaps) {
    char copy[weir::Heap::kNameBytes];
    if (!heaps.name(id_of(heap), copy)) return EINVAL;
    const size_t length = strlen(copy);
    if (size == 0) return 0;
    const size_t kept = length < size ? length : size - 1;
    memcpy(name, copy, kept);
    name[kept] = '\0';
    return 0;
  });
}

int weir_heap_stats(weir_heap_t heap, weir_heap_info* info, size_t size) {
  return with_heaps([&](HeapRegistry& heaps) {
    weir::report_misuse(heaps.give_up_cache(weir::process_thread_cache()), "free");
    weir::HeapStats s;
    weir_heap_info all = {};
    if (!heaps.stats(id_of(heap), s) || !heaps.name(id_of(heap), all.name)) return EINVAL;
    all.charged = weir::bytes_of(s.charged);
    all.peak = weir::bytes_of(s.peak);
    all.limit = limit_bytes(s.limit);
    all.soft_limit = s.soft_limit;
    all.slabs = weir::bytes_of(s.slabs);
    all.large = weir::bytes_of(s.runs);
    all.objects = s.objects;
    all.object_bytes = s.object_bytes;
    all.limit_hits = s.limit_hits;
    all.limit_failures = s.limit_failures;
    all.node = s.node.v;
    all.oom_score_adj = s.oom_score_adj;
    all.noswap = s.noswap;
    all.flags = s.flags;
    all.swapped = weir::bytes_of(s.swapped);
    all.oom_policy = weir::number_of_policy(s.oom_policy);
    all.capped = s.capped;
    memcpy(info, &all, size < sizeof(all) ? size : sizeof(all));
    if (size > sizeof(all)) memset(reinterpret_cast<char*>(info) + sizeof(all), 0, size - sizeof(all));
    return 0;
  });
}

int weir_heap_set_limit(weir_heap_t heap, uint64_t bytes) {
  return with_heaps([&](HeapRegistry& heaps) { return heaps.set_limit(id_of(heap), bytes); });
}

int weir_heap_set_soft_limit(weir_heap_t heap, uint64_t bytes) {
  return with_heaps([&](HeapRegistry& heaps) { return heaps.set_soft_limit(id_of(heap), bytes); });
}

int weir_heap_set_oom_score_adj(weir_heap_t heap, int adj) {
  return with_heaps([&](HeapRegistry& heaps) { return heaps.set_oom_score_adj(id_of(heap), adj); });
}
}
