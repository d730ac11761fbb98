// Purpose: a thread's own stock of free objects: per size class a stack of pointers, outside the objects.
// Thread safety: one thread; nothing here is atomic. Invariants: a bin's stack lies between a null slot below its first
//                entry and `limit`; entries are free objects of the class. Objects are never read or written.
#pragma once

#include <cstdint>

#include "malloc/size_class.h"

namespace weir {

// Laid out for the fast paths: two bins a cache line, everything that free() looks at in one of them.
struct Bin {
  void** head;     // one past the top entry
  void** limit;    // no entry at or above this
  uint64_t magic;  // ceil(2^64 / size): offset * magic < magic exactly when size divides offset (Lemire, Kaser, Kurz,
                   // "Faster remainder by direct computation", 2019)
  uint32_t mask;   // slab bytes - 1
  uint32_t fill;   // objects to ask for at the next refill
};
static_assert(sizeof(Bin) == kBinBytes);

struct CacheBins {
  Bin bins[kHeapClass + 1];
};

// Runs of 5 to 16 pages, the sizes just above the slabs, are kept too: a zone's lock and lists cost some ten times
// more.
inline constexpr unsigned kMinCachedRun = kMaxSmallSize / kPageSize + 1;
inline constexpr unsigned kMaxCachedRun = 16;
inline constexpr unsigned kNrRunBins = kMaxCachedRun - kMinCachedRun + 1;

// Runs of one length, the latest last. Few, because each is tens of kilobytes.
struct RunBin {
  static constexpr unsigned kSlots = 2;
  uint8_t count = 0;
  uint8_t level = 0;  // entries at the last look
  void* runs[kSlots] = {};
};

// Entries of a bin when one class may keep `bytes`.
constexpr unsigned bin_slots(size_t size_class, size_t bytes) {
  const SizeClass& info = kSizeClasses[size_class];
  const size_t wanted = bytes / info.size;
  if (bytes == 0) return 0;
  if (wanted > info.cache_slots) return info.cache_slots;
  return wanted < size_class_detail::kLeastSlots ? size_class_detail::kLeastSlots : static_cast<unsigned>(wanted);
}

struct HeapCache;  // heap/heap_cache.h

// A thread's cache, in memory of its own (never from an arena).
struct ThreadCache : CacheBins {
  uint64_t freed_bytes = 0;     // given back to the depots since the last refill of any bin
  uint32_t slow_calls = 0;      // since the last look for unused bins
  uint16_t node = 0;            // the node the thread last ran on
  uint8_t next_scan = 1;        // the bin to look at next
  uint8_t lane = 0;             // of the depots
  bool caching = true;          // false: every call goes to the slabs, where it is checked at once
  ThreadCache* next = nullptr;  // in the allocator's list of live caches, or of spare ones
  ThreadCache* prev = nullptr;
  HeapCache* heap_cache = nullptr;      // what heap/ keeps for the thread; it stays when the cache gets another owner
  uint16_t level[kNrSizeClasses] = {};  // entries at the last look
  RunBin run_bins[kNrRunBins];
  void* slots[kCacheSlots] = {};

  // True until the bin's first refill.
  bool is_fresh(size_t size_class) const;
  // `bytes_per_class`: what one bin may hold.
  void reset(size_t bytes_per_class, bool caching_on);
  void** bottom(size_t size_class) { return slots + kSizeClasses[size_class].slot_offset + 1; }
  unsigned count(size_t size_class) { return static_cast<unsigned>(bins[size_class].head - bottom(size_class)); }
};

// What a thread has that has no cache: nothing to take, no room to give. Only the address tells its state. All bins are
// the same, so the states overlap, one bin apart.
struct NoCaches {
  CacheBins first;
  Bin more[2];
};
extern const NoCaches kNoCaches;

enum class NoCache : unsigned {
  kNew = 0,        // the thread has not done anything yet
  kFreedOnce = 1,  // it has freed one object, somebody else's
  kDead = 2,       // its cache is gone; destructors may still be running
};

// Nobody writes through it: the bins are empty and full.
inline CacheBins* no_cache(NoCache state) {
  return reinterpret_cast<CacheBins*>(const_cast<Bin*>(kNoCaches.first.bins) + static_cast<unsigned>(state));
}

enum class FreeFast : uint8_t { kDone, kSlow, kInsideObject, kDoubleFree };

inline __attribute__((always_inline)) void* bin_pop(Bin& bin) {
  void** head = bin.head;
  void* object = head[-1];
  if (__builtin_expect(object != nullptr, 1)) bin.head = head - 1;
  return object;
}

// Pops an object of the class, or null when the bin is empty.
inline __attribute__((always_inline)) void* cache_pop(CacheBins* cache, size_t size_class) {
  return bin_pop(cache->bins[size_class]);
}

// Pops an object of `size` bytes (at most kMaxSmallSize), or null when its bin is empty.
inline __attribute__((always_inline)) void* cache_pop_size(CacheBins* cache, size_t size) {
  const size_t offset = kSizeToBin[(size + kMinAlignment - 1) / kMinAlignment];
  return bin_pop(*reinterpret_cast<Bin*>(reinterpret_cast<char*>(cache->bins) + offset));
}

// Pushes an object. Finds pointers into the middle of objects and a second free right after the first; all else is
// found when the object reaches its slab.
inline __attribute__((always_inline)) FreeFast cache_push(CacheBins* cache, size_t size_class, void* object) {
  Bin& bin = cache->bins[size_class];
  void** head = bin.head;
  if (__builtin_expect(head == bin.limit, 0)) return FreeFast::kSlow;
  if (__builtin_expect((reinterpret_cast<uintptr_t>(object) & bin.mask) * bin.magic >= bin.magic, 0))
    return FreeFast::kInsideObject;
  if (__builtin_expect(head[-1] == object, 0)) return FreeFast::kDoubleFree;
  *head = object;
  bin.head = head + 1;
  return FreeFast::kDone;
}

}  // namespace weir
