// Purpose: what the program has mapped of its files, and which of these pages leave memory when that is short. They are
//          the file's own: dropping one unmaps it, and a touch maps it again, by the kernel alone.
// Thread safety: any thread. Threads of the program must not be interrupted meanwhile (os::SignalsHeldBack).
// Invariants: nothing is dropped but what the program has mapped by calls that were told of (add), that is its file's
//             alone (shared, or private and not writable), and that was not unmapped, replaced or made writable since
//             (forget, which comes before the call). The lock is held while something is dropped, so that once forget
//             has returned, nothing there is.
//
// There are no accessed bits for a process's own memory. What the kernel does with them is done by unmapping: a chunk
// of 64 pages that is found mapped is inactive; the oldest one is dropped, and when it is found again before as many
// pages were dropped as would fit, it is active (kernel: mm/workingset.c), which is what the accessed bit says
// elsewhere.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/live.h"
#include "base/lock.h"
#include "file/chunk.h"
#include "os/page_scan.h"
#include "os/vm.h"

namespace weir {

class FilePages {
 public:
  // Less is not worth it: a library's tables, a configuration.
  static constexpr size_t kLeastBytes = kChunkBytes;
  // Mappings, beyond which none is added: the kernel's default for all mappings of a process.
  static constexpr unsigned kMostMappings = 65536;

  enum class Kind : uint8_t {
    kWritable,  // shared
    kReadOnly,  // shared
    kPrivate,   // and not writable
  };

  constexpr FilePages() = default;

  // -- calls of the program on [begin, begin + bytes), whole pages
  // A file was mapped there.
  void add(char* begin, size_t bytes, Kind kind);
  // What is there is about to be something else.
  void forget(char* begin, size_t bytes) { forget(begin, bytes, false); }
  // It is about to become writable: private mappings are forgotten.
  void make_writable(char* begin, size_t bytes) { forget(begin, bytes, true); }
  // Whether there is anything; without the lock.
  bool is_empty() const { return count_.load() == 0; }
  // The first mapping at or behind `at` to which the program may write. The serial changes with what is mapped where.
  struct Writable {
    char* begin;
    size_t bytes;
    uint64_t serial;
  };
  bool find_writable(const char* at, Writable& mapping);
  // Whether there is any; without the lock.
  bool has_writable() const { return nr_writable_ != 0; }
  // How often such a mapping, or a part of one, was given up.
  uint64_t writable_gone() const { return writable_gone_; }
  // What there is at this address: true, and the whole of it.
  bool find(const char* at, char*& begin, size_t& bytes, Kind& kind);

  // -- kswapd
  struct Found {
    uint64_t refaulted = 0;  // pages of chunks that had been dropped
    uint64_t at_once = 0;    // of these, pages of chunks that had been there at the look before
    uint64_t activated = 0;  // and pages that became active, because they came back soon
  };
  struct Look {
    int pagemap = -1;       // os::open_pagemap
    int silent_uffd = -1;   // os::uffd_open_silent, or negative: mappings stay as they are
    Pages others{};         // that would have gone instead of those dropped (kernel: workingset_test_recent)
    bool activates = true;  // pages that come back soon become active: it costs something that they come back
  };
  // Finds out what is mapped; some microseconds a MiB. Where pages come back as soon as they are dropped, they are
  // mapped one by one from then on, and not with those around them: otherwise what is touched at random is there as a
  // whole within milliseconds, and nobody can tell what is used. (But not where they may be written: then that is
  // slow.)
  Found look(const Look& how);
  // When the last look began and ended, in ns; 0: there was none.
  uint64_t look_began_ns() const { return look_began_ns_; }
  uint64_t look_took_ns() const { return look_took_ns_; }
  struct Dropped {
    uint64_t scanned = 0;  // those dropped and those refused
    uint64_t dropped = 0;
    uint64_t refused = 0;      // they are locked
    uint64_t deactivated = 0;  // active pages that became inactive
  };
  // Drops the oldest pages, `count` or as many as there are.
  Dropped shrink(Pages count);
  Pages active() const { return Pages(active_pages_); }
  Pages inactive() const { return Pages(inactive_pages_); }
  // Of all mappings, whether they are in memory or not.
  Pages mapped() const { return Pages(mapped_pages_); }

  // -- fork
  void lock_for_fork() WEIR_NO_TSA { mutex_.lock_for_fork(); }
  void unlock_for_fork() WEIR_NO_TSA { mutex_.unlock_for_fork(); }
  // What a userfaultfd did for the parent it does not do for the child.
  void after_fork_in_child() WEIR_NO_TSA { ++generation_; }

  // Null when all agrees.
  const char* verify();

 private:
  struct Mapping {
    char* begin;
    char* end;
    FileChunk* chunks;  // of the first one that [begin, end) had when it was added
    uintptr_t first;    // that chunk's number
    uintptr_t nr_chunks;
    Kind kind;
    uint32_t singly;     // the generation in which its pages are mapped one by one
    uint64_t refaulted;  // pages, since it was added
    uint64_t at_once;    // of these
    uint64_t serial;
  };
  // Chunks that are dropped by one call.
  static constexpr unsigned kBatch = 16;

  void forget(char* begin, size_t bytes, bool only_private);
  bool init() WEIR_REQUIRES(mutex_);
  unsigned find_from(const char* at) const WEIR_REQUIRES(mutex_);
  void insert(unsigned at, const Mapping& mapping) WEIR_REQUIRES(mutex_);
  void remove(unsigned at) WEIR_REQUIRES(mutex_);
  void cut(unsigned at, char* begin, char* end) WEIR_REQUIRES(mutex_);
  bool split(unsigned at, char* where) WEIR_REQUIRES(mutex_);
  void unlist(FileChunk& chunk) WEIR_REQUIRES(mutex_);
  void unlist_range(const Mapping& mapping, uintptr_t first, uintptr_t end) WEIR_REQUIRES(mutex_);
  ChunkList& list_of(ChunkState state) WEIR_REQUIRES(mutex_) {
    return state == ChunkState::kActive ? active_ : inactive_;
  }
  void note(const Mapping& mapping, const os::MappedRun& run, const Look& how, Found& found) WEIR_REQUIRES(mutex_);
  void note_chunk(FileChunk& chunk, uint16_t pages, const Look& how, Found& found) WEIR_REQUIRES(mutex_);
  bool look_on(const Look& how, char*& at, Found& found);
  void forget_unmapped(ChunkList& list) WEIR_REQUIRES(mutex_);
  bool inactive_is_low() const WEIR_REQUIRES(mutex_);
  uint64_t deactivate(uint64_t pages) WEIR_REQUIRES(mutex_);
  unsigned take_oldest(uint64_t pages, FileChunk** chunks) WEIR_REQUIRES(mutex_);
  os::VmRange range_of(const FileChunk& chunk) const WEIR_REQUIRES(mutex_);
  void drop(FileChunk** chunks, unsigned count, Dropped& dropped) WEIR_REQUIRES(mutex_);
  void note_dropped(FileChunk** chunks, unsigned count, bool refused, Dropped& dropped) WEIR_REQUIRES(mutex_);
  void publish() WEIR_REQUIRES(mutex_);

  Mutex mutex_{LockRank::kLru};
  Mapping* mappings_ WEIR_GUARDED_BY(mutex_) = nullptr;  // in rising order
  Live<unsigned> count_;                                 // changed with the lock held
  ChunkList active_ WEIR_GUARDED_BY(mutex_);
  ChunkList inactive_ WEIR_GUARDED_BY(mutex_);
  uint64_t nr_listed_ WEIR_GUARDED_BY(mutex_) = 0;
  uint64_t nr_dropped_ WEIR_GUARDED_BY(mutex_) = 0;
  uint64_t dropped_halfway_ WEIR_GUARDED_BY(mutex_) = 0;  // so many had been between the last two looks
  uint64_t dropped_before_ WEIR_GUARDED_BY(mutex_) = 0;   // and so many at the last one
  uint32_t look_ WEIR_GUARDED_BY(mutex_) = 0;
  Live<uint64_t> look_began_ns_, look_took_ns_;
  Live<uint64_t> active_pages_, inactive_pages_, mapped_pages_, writable_gone_;
  Live<unsigned> nr_writable_;
  uint64_t last_serial_ WEIR_GUARDED_BY(mutex_) = 0;
  uint32_t generation_ = 1;  // of userfaultfds
};

}  // namespace weir
