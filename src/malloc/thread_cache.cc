#include "malloc/thread_cache.h"

#include <cstring>

namespace weir {
namespace {

// The stack of a bin that is both empty and full: a null below, the limit at its head.
constinit void* nothing[2] = {nullptr, nullptr};

constexpr NoCaches no_caches() {
  NoCaches all{};
  for (Bin& b : all.first.bins) b = {nothing + 1, nothing + 1, 0, 0, 0};
  for (Bin& b : all.more) b = {nothing + 1, nothing + 1, 0, 0, 0};
  return all;
}

// The first refill of a bin is small: most programs use most classes only a few times, and what is taken out of a slab
// counts as touched. It doubles up to a batch. But it is no less than 256 bytes, so that the first objects of two
// threads do not share a cache line, nor a pair of lines that the processor fetches together.
constexpr uint32_t first_fill(size_t size) {
  return size >= 1024 ? 1 : size >= 64 ? 4 : static_cast<uint32_t>(256 / size);
}

}  // namespace

constinit const NoCaches kNoCaches = no_caches();

bool ThreadCache::is_fresh(size_t size_class) const {
  return bins[size_class].fill == first_fill(kSizeClasses[size_class].size);
}

void ThreadCache::reset(size_t bytes_per_class, bool caching_on) {
  caching = caching_on;
  freed_bytes = 0;
  for (const size_t no_class : {size_t{0}, kHeapClass}) bins[no_class] = {bottom(1), bottom(1), 0, 0, 0};
  for (unsigned c = 1; c < kNrSizeClasses; ++c) {
    const SizeClass& info = kSizeClasses[c];
    const unsigned slots_wanted = caching_on ? bin_slots(c, bytes_per_class) : 0;
    bins[c] = {bottom(c), bottom(c) + slots_wanted, ~uint64_t{0} / info.size + 1, info.slab_mask,
               first_fill(info.size)};
  }
}

}  // namespace weir
