// Purpose: the counters of reclaim and swapping of one process, and a snapshot of them together with the gauges that
//          a summary needs.
// Thread safety: any thread; relaxed atomics, none of them on the fast paths of malloc.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/units.h"

namespace weir {

struct ReclaimCounters {
#define COUNTER(name, help) std::atomic<uint64_t> name{0};
#include "reclaim/counters.def"
#undef COUNTER
};

// A consistent enough copy: each number is exact, all of them are from about the same moment.
struct ReclaimStats {
#define COUNTER(name, help) uint64_t name = 0;
#include "reclaim/counters.def"
#undef COUNTER
  bool active = false;       // a limit is in force
  const char* mode = "off";  // "off", "swap", "pageout", "purge": what is done to stay below the limit
  Pages limit{};             // 0: none
  Pages resident{};          // memory of the heap now: pages, standby and compressed memory
  Pages resident_peak{};     // the most it ever was
  Pages standby{};           // unmapped pages that are still in memory
  Pages zswap_pool{};        // memory of the compressed pool
  Pages zswap_stored{};      // pages in it
  Pages swap_used{};         // pages in the swap file
  Pages swap_total{};        // pages it may hold; 0: no swap file
  uint64_t zswap_bytes = 0;  // compressed bytes in the pool
};

inline void count(std::atomic<uint64_t>& counter, uint64_t n = 1) {
  counter.fetch_add(n, std::memory_order_relaxed);
}

}  // namespace weir
