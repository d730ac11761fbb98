// Purpose: keeps pages compressed in memory.
// Thread safety: any thread; a page that is stored or loaded belongs to the caller meanwhile. One lock, held for some
//                20 ns a store or drop: compressing, copying and system calls come without it, and load() takes none.
// Invariants: a handle is below 2^56, never 0, and valid from store() to drop(). Nothing here allocates or calls back.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/lock.h"
#include "base/units.h"
#include "swap/compressor.h"
#include "swap/zswap_handle.h"
#include "swap/zswap_slabs.h"

namespace weir {

struct ZswapStats {
  uint64_t stored = 0;            // pages in the pool, with the same-filled ones
  uint64_t same_filled = 0;       // of these: pages that are nothing but a handle
  uint64_t compressed_bytes = 0;  // of the others, without what the pool adds
  uint64_t incompressible = 0;    // pages refused since the start because they hardly compress
  uint64_t full = 0;              // pages refused since the start because there was no room
  Pages pool;                     // memory of the pool
  Pages empty;                    // of these: what shrink(Pages(0)) would give back
};

class ZswapPool {
 public:
  enum class Result : uint8_t { kStored, kIncompressible, kFull };
  struct Stored {
    Result result = Result::kFull;
    uint64_t handle = 0;  // when kStored
  };

  // In front of an entry lies a checksum of it.
  static constexpr size_t kHeader = sizeof(uint32_t);
  // A page is kept when it compresses to this or less (zswap_classes.h says why).
  static constexpr size_t kMaxCompressed = zswap::kMaxSlot - kHeader;
  // What shrink() leaves by itself, 1 MiB: with first touch at 1.5 us a page, the next few hundred stores are cheaper.
  static constexpr Pages kReserve{256};

  ZswapPool() = default;
  ZswapPool(const ZswapPool&) = delete;
  ZswapPool& operator=(const ZswapPool&) = delete;

  // Reserves address space (at most zswap::kPlaceEnd), at `wish` where that is free; memory comes and goes with use.
  // 7/8 of what may be swapped out is always enough, and twice that leaves room for slabs that are not full.
  [[nodiscard]] bool init(size_t address_space, void* wish = nullptr);
  // Nobody may use the pool any more.
  void destroy();

  // Entries of both codecs may lie side by side.
  [[nodiscard]] Stored store(Compressor& compressor, Codec codec, const void* page);
  // Has the processor fetch an entry that is about to be loaded.
  void prefetch(uint64_t handle) const;
  // False: the entry is damaged, and the page's content undefined. The caller owns the entry, so that nobody drops it.
  [[nodiscard]] bool load(Compressor& compressor, uint64_t handle, void* page) const;
  // Never makes a system call.
  void drop(uint64_t handle);
  // With one lock hold. Handles that are 0 are left out.
  void drop_many(const uint64_t* handles, unsigned count);
  // Whether so much of the pool lies in slots that nobody uses that pack() is worth its time.
  bool is_loose();
  // Moves entries into fuller slabs of their sizes, as far as that helps; shrink() then gives emptied ones back.
  // Handles of entries that were moved are replaced (0 and those of same-filled pages stay); returns how many were. The
  // caller owns the entries: nobody loads or drops them meanwhile. `count` is at most kMostPacked.
  unsigned pack(uint64_t* handles, unsigned count);
  static constexpr unsigned kMostPacked = 64;
  static bool is_same_filled(uint64_t handle) { return zswap::is_same_filled(handle); }

  // Memory of the pool: never less than the system counts, but for tables of 3 bits a slab. Without the lock.
  Pages pool_pages() const { return slabs_.resident(); }
  // What shrink(Pages(0)) would give back now, for deciding whether to call it. Without the lock.
  Pages empty_pages() const { return slabs_.empty(); }
  // Beyond this store() says kFull; 0 is no limit. What is stored already stays.
  void set_max_pages(Pages max) { max_pages_.store(max.v, std::memory_order_relaxed); }
  Pages max_pages() const { return Pages(max_pages_.load(std::memory_order_relaxed)); }
  // Gives the memory of empty slabs back, all but `keep` pages of it; returns the pages given back. Each system call
  // takes as many slabs as lie side by side. For threads that may take their time: it interrupts all processors.
  Pages shrink(Pages keep = kReserve);

  ZswapStats stats() const;
  // Null when all agrees, else what does not.
  const char* verify();
  // For tests that damage entries.
  const zswap::Slabs& slabs() const { return slabs_; }

  // A child of a fork has a copy of the pool and goes on with it. What another thread was just storing is lost there (a
  // slot, no content anybody knows of). Order in the child: after_fork_in_child, unlock_for_fork.
  void lock_for_fork() { mutex_.lock_for_fork(); }
  void unlock_for_fork() { mutex_.unlock_for_fork(); }
  void after_fork_in_child() WEIR_NO_TSA { slabs_.after_fork_in_child(); }

 private:
  [[nodiscard]] Stored place(const char* entry, size_t bytes, Codec codec);
  void drop_entry(uint64_t handle) WEIR_REQUIRES(mutex_);

  Mutex mutex_{LockRank::kSwap};
  zswap::Slabs slabs_;  // guarded by mutex_, but for what its header says
  std::atomic<uint64_t> max_pages_{0};
  std::atomic<uint64_t> entries_{0};             // written with mutex_ held
  std::atomic<uint64_t> compressed_bytes_{0};    // written with mutex_ held
  unsigned moving_ WEIR_GUARDED_BY(mutex_) = 0;  // entries that have two slots for a moment
  std::atomic<uint64_t> same_filled_{0};
  std::atomic<uint64_t> incompressible_{0};
  std::atomic<uint64_t> full_{0};
};

}  // namespace weir
