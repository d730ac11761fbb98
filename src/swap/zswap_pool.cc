#include "swap/zswap_pool.h"

#include <cstring>

#include "base/check.h"
#include "swap/zswap_checksum.h"

namespace weir {
namespace {

// Runs of slabs that are given back in one lock hold. Picking them takes about as long as a few stores.
constexpr unsigned kRuns = 64;
// An eighth: random touches of pages that are all alike leave a twentieth. And no less than 1 MiB, for which nobody
// would notice a difference.
constexpr uint64_t kLooseShare = 8;
constexpr Pages kLeastLoose{256};

void add_relaxed(std::atomic<uint64_t>& counter, uint64_t change) {
  counter.store(counter.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
}

}  // namespace

bool ZswapPool::init(size_t address_space, void* wish) {
  return address_space <= zswap::kPlaceEnd && slabs_.init(address_space, wish);
}

void ZswapPool::destroy() {
  slabs_.destroy();
  for (auto* counter : {&entries_, &compressed_bytes_, &same_filled_, &incompressible_, &full_})
    counter->store(0, std::memory_order_relaxed);
}

ZswapPool::Stored ZswapPool::store(Compressor& compressor, Codec codec, const void* page) {
  uint64_t word;
  if (zswap::repeats_one_word(page, word)) {
    if (const uint64_t handle = zswap::same_filled_handle(word)) {
      same_filled_.fetch_add(1, std::memory_order_relaxed);
      return {Result::kStored, handle};
    }
  }
  char* entry = compressor.scratch();
  const size_t bytes = compressor.compress(codec, page, entry + kHeader, kMaxCompressed);
  if (bytes == 0) {
    incompressible_.fetch_add(1, std::memory_order_relaxed);
    return {Result::kIncompressible, 0};
  }
  const uint32_t sum = zswap::checksum(entry + kHeader, bytes);
  memcpy(entry, &sum, kHeader);
  return place(entry, bytes, codec);
}

// The slot is the caller's alone as soon as it is taken, so the copy, which may fault pages in, comes without the lock.
ZswapPool::Stored ZswapPool::place(const char* entry, size_t bytes, Codec codec) {
  const uint64_t max = max_pages_.load(std::memory_order_relaxed);
  size_t at;
  {
    LockGuard guard(mutex_);
    at = slabs_.take(bytes + kHeader, max == 0 ? Pages(~uint64_t{0}) : Pages(max));
    if (at != zswap::Slabs::kNoPlace) {
      add_relaxed(entries_, 1);
      add_relaxed(compressed_bytes_, bytes);
    }
  }
  if (at == zswap::Slabs::kNoPlace) {
    full_.fetch_add(1, std::memory_order_relaxed);
    return {Result::kFull, 0};
  }
  memcpy(slabs_.memory() + at, entry, bytes + kHeader);
  return {Result::kStored, zswap::entry_handle(at, bytes, codec)};
}

void ZswapPool::prefetch(uint64_t handle) const {
  constexpr size_t kLine = 64;
  if (zswap::is_same_filled(handle)) return;
  const char* const entry = slabs_.memory() + zswap::entry_place(handle);
  const size_t bytes = kHeader + zswap::entry_bytes(handle);
  slabs_.prefetch(zswap::entry_place(handle));
  for (size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(entry + at);
}

bool ZswapPool::load(Compressor& compressor, uint64_t handle, void* page) const {
  if (zswap::is_same_filled(handle)) {
    zswap::fill_page(page, zswap::same_filled_word(handle));
    return true;
  }
  const size_t at = zswap::entry_place(handle), bytes = zswap::entry_bytes(handle);
  if (bytes == 0 || bytes > kMaxCompressed || at + kHeader + bytes > slabs_.accessible_bytes()) return false;
  const char* entry = slabs_.memory() + at;
  uint32_t sum;
  memcpy(&sum, entry, kHeader);
  return sum == zswap::checksum(entry + kHeader, bytes) &&
         compressor.decompress(zswap::entry_codec(handle), entry + kHeader, bytes, page);
}

// A wrong handle means that the caller's books are damaged: going on would hand out one page's slot to another.
void ZswapPool::drop_entry(uint64_t handle) {
  WEIR_CHECK(slabs_.give(zswap::entry_place(handle)));
  add_relaxed(entries_, 0 - uint64_t{1});
  add_relaxed(compressed_bytes_, 0 - uint64_t{zswap::entry_bytes(handle)});
}

void ZswapPool::drop(uint64_t handle) {
  if (is_same_filled(handle)) {
    same_filled_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  LockGuard guard(mutex_);
  drop_entry(handle);
}

void ZswapPool::drop_many(const uint64_t* handles, unsigned count) {
  uint64_t same = 0;
  {
    LockGuard guard(mutex_);
    for (unsigned i = 0; i < count; ++i) {
      if (is_same_filled(handles[i])) {
        ++same;
      } else if (handles[i] != 0) {
        drop_entry(handles[i]);
      }
    }
  }
  same_filled_.fetch_sub(same, std::memory_order_relaxed);
}

bool ZswapPool::is_loose() {
  LockGuard guard(mutex_);
  const Pages packable = slabs_.packable();
  return packable >= kLeastLoose && packable.v * kLooseShare >= slabs_.resident().v;
}

unsigned ZswapPool::pack(uint64_t* handles, unsigned count) {
  WEIR_DCHECK(count <= kMostPacked);
  size_t to[kMostPacked];
  unsigned moved = 0;
  {
    LockGuard guard(mutex_);
    for (unsigned i = 0; i < count; ++i) {
      to[i] = zswap::Slabs::kNoPlace;
      if (handles[i] != 0 && !is_same_filled(handles[i])) to[i] = slabs_.take_fuller(zswap::entry_place(handles[i]));
      moved += to[i] != zswap::Slabs::kNoPlace;
    }
    moving_ += moved;
  }
  if (moved == 0) return 0;
  for (unsigned i = 0; i < count; ++i) {
    if (to[i] == zswap::Slabs::kNoPlace) continue;
    const size_t bytes = zswap::entry_bytes(handles[i]);
    memcpy(slabs_.memory() + to[i], slabs_.memory() + zswap::entry_place(handles[i]), bytes + kHeader);
  }
  LockGuard guard(mutex_);
  for (unsigned i = 0; i < count; ++i) {
    if (to[i] == zswap::Slabs::kNoPlace) continue;
    WEIR_CHECK(slabs_.give(zswap::entry_place(handles[i])));
    handles[i] = zswap::entry_handle(to[i], zswap::entry_bytes(handles[i]), zswap::entry_codec(handles[i]));
  }
  moving_ -= moved;
  return moved;
}

Pages ZswapPool::shrink(Pages keep) {
  Pages given;
  while (empty_pages() > keep) {
    zswap::SlabRun runs[kRuns];
    bool purged[kRuns] = {};
    mutex_.lock();
    const unsigned count = slabs_.isolate(keep, runs, kRuns);
    mutex_.unlock();
    bool all = count != 0;
    for (unsigned i = 0; i < count; ++i) {
      purged[i] = slabs_.purge(runs[i]);
      all = all && purged[i];
    }
    LockGuard guard(mutex_);
    for (unsigned i = 0; i < count; ++i) given += slabs_.finish(runs[i], purged[i]);
    // Locked memory cannot be given back: trying again would not end.
    if (!all) break;
  }
  return given;
}

ZswapStats ZswapPool::stats() const {
  ZswapStats s;
  s.same_filled = same_filled_.load(std::memory_order_relaxed);
  s.stored = entries_.load(std::memory_order_relaxed) + s.same_filled;
  s.compressed_bytes = compressed_bytes_.load(std::memory_order_relaxed);
  s.incompressible = incompressible_.load(std::memory_order_relaxed);
  s.full = full_.load(std::memory_order_relaxed);
  s.pool = pool_pages();
  s.empty = empty_pages();
  return s;
}

const char* ZswapPool::verify() {
  LockGuard guard(mutex_);
  uint64_t taken = 0;
  if (const char* wrong = slabs_.verify(taken)) return wrong;
  return taken == entries_.load(std::memory_order_relaxed) + moving_ ? nullptr : "entries are miscounted";
}

}  // namespace weir
