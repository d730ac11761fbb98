// Purpose: how many objects a cache is asked to free when memory gets scarce, as the kernel asks its own caches.
// Thread safety: pure but for the callbacks; one cache is worked on by one thread at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weir {

// Of a scan callback: stop here. Of a count callback: nothing. (Kernel: SHRINK_STOP, SHRINK_EMPTY.)
inline constexpr size_t kShrinkStop = SIZE_MAX;
// Objects per call of scan, unless the cache says otherwise (kernel: SHRINK_BATCH).
inline constexpr size_t kShrinkBatch = 128;
// The cost of making an object again, unless the cache says otherwise (kernel: DEFAULT_SEEKS).
inline constexpr unsigned kDefaultSeeks = 2;

struct ShrinkOps {
  size_t (*count)(void* arg) = nullptr;
  size_t (*scan)(void* arg, size_t nr_to_scan) = nullptr;
  void* arg = nullptr;
  unsigned seeks = kDefaultSeeks;
  size_t batch = 0;  // 0: kShrinkBatch
};

struct ShrinkResult {
  uint64_t scanned = 0;
  uint64_t freed = 0;
};

// One round at a cache at `priority` (12: hardly any need, 0: everything). `deferred` is what earlier rounds left
// because it was less than a batch. `beat` changes whenever a callback has returned; between two of them, a `stop` that
// is set ends the round.
// Source: Linux 6.12 mm/shrinker.c, do_shrink_slab. Counts above 2^60 are taken for that many.
ShrinkResult do_shrink_slab(const ShrinkOps& ops, uint64_t& deferred, unsigned priority, std::atomic<uint32_t>& beat,
                            const std::atomic<bool>& stop);

}  // namespace weir
