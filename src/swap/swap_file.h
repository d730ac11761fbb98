// Purpose: the swap file: slots of one page each, written and read in runs, checked on the way back, encrypted when
//          asked for.
// Thread safety: open, close and become_reader while nobody else uses it; everything else from any thread. No lock of
//                rank kSwap may be held. Nothing is locked during input and output.
// Invariants: a slot belongs to whoever got it from alloc, until free; only the owner writes and reads it. What read
//             gives back without complaint is what write was given. A slot that a child of a fork may read is not
//             written again while that child lives. No two pages are ever encrypted with the same key and nonce.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/live.h"
#include "base/lock.h"
#include "os/fault_inject.h"
#include "os/swap_io.h"
#include "swap/slot_map.h"
#include "swap/swap_array.h"
#include "swap/swap_bounce.h"
#include "swap/swap_cipher.h"
#include "swap/swap_index.h"

namespace weir {

struct SwapFileConfig {
  // A directory, a file or a block device. A path that does not exist stands for the directory it would be in.
  const char* path = nullptr;
  // How much may be swapped; 0: as much as the existing file or device holds.
  uint64_t max_bytes = 0;
  bool encrypt = false;
  // Null: nothing fails on purpose. Must live as long as the file is open.
  os::FaultInjector* faults = nullptr;
  // Where this is an open directory (os::swap_directory), a file is made there, whatever `path` means by now.
  int directory = -1;
};

enum class IoResult : uint8_t {
  kOk,
  kNoSpace,   // the disk is full
  kIoError,   // a page could not be written or read
  kCorrupt,   // a page came back damaged
  kReadOnly,  // this is the parent's file
  kNoMemory,  // nowhere to encrypt to
};

struct SwapFileStats {
  SlotMap::Stats slots;
  uint64_t pages_written = 0;
  uint64_t pages_read = 0;
  uint64_t writes = 0;  // runs
  uint64_t reads = 0;
  uint64_t write_errors = 0;
  uint64_t read_errors = 0;  // pages
  uint64_t corrupt_pages = 0;
  uint64_t no_space = 0;    // writes that found the disk full
  uint64_t given_back = 0;  // bytes of the file
  bool direct = false;      // past the page cache
  bool encrypted = false;
  bool read_only = false;
};

class SwapFile {
 public:
  using Open = os::SwapOpen;
  // Runs are at most this long: a mask has a bit for each page.
  static constexpr unsigned kMaxRun = SlotMap::kClusterSlots;

  constexpr SwapFile() : mutex_(LockRank::kSwap) {}
  SwapFile(const SwapFile&) = delete;
  SwapFile& operator=(const SwapFile&) = delete;

  [[nodiscard]] Open open(const SwapFileConfig& config);
  // Erases what was written to a file that stays, unless the child of a fork may still need it. Nothing is under way.
  void close();
  bool is_open() const { return io_.fd() >= 0; }

  // A run of 1 to `want` slots, as long as is to be had; count 0: the file is full, or does not work at present.
  // The space is asked of the file system by stretches, before the first of its slots is handed out.
  [[nodiscard]] Slots alloc(unsigned want);
  void free(uint64_t first, unsigned count);

  // Writes the pages at `buffer` (page-aligned; must not change meanwhile) to the run. Afterwards `slots` is what
  // holds data: all of it when the result is kOk, else a shorter run from its start or nothing. The rest has been
  // taken back already. A slot that cannot be written is never handed out again.
  [[nodiscard]] IoResult write(Slots& slots, const void* buffer);
  // Reads pages into `buffer` (page-aligned). Bit i of `bad_mask` is set when page i could not be read or came back
  // damaged; what is at its place in the buffer then means nothing.
  [[nodiscard]] IoResult read(uint64_t first, unsigned count, void* buffer, uint64_t& bad_mask);

  // Fork. All three locks of a fork in their order: lock_for_fork, freeze_locked, fork, unlock_for_fork on both sides.
  void lock_for_fork() WEIR_NO_TSA { mutex_.lock_for_fork(); }
  void unlock_for_fork() WEIR_NO_TSA { mutex_.unlock_for_fork(); }
  // The slots in use now are also the child's: freed ones are kept for it. Returns a number for thaw.
  [[nodiscard]] uint64_t freeze_locked() WEIR_NO_TSA { return map_.freeze(); }
  [[nodiscard]] uint64_t freeze();
  // The child, and all children of its own that have what it had, is gone (or the fork failed).
  void thaw(uint64_t fork);
  // In the child: from now on this is the parent's file, good for reading only.
  void become_reader();
  bool read_only() const { return read_only_.load(std::memory_order_relaxed); }

  // Gives space of free slots back to the file system, from the end of the file, but for that of `keep` slots: at most
  // 16 MiB a call, which takes some milliseconds. Bytes given back; 0: there is nothing more to give.
  uint64_t give_back(uint64_t keep);

  int fd() const { return io_.fd(); }
  void set_fd(int fd) { io_.set_fd(fd); }
  os::SwapIo::Kind kind() const { return io_.kind(); }
  bool readable_by_others() const { return io_.readable_by_others(); }
  uint64_t capacity() const { return capacity_; }
  SwapFileStats stats();
  // Slots that somebody owns.
  uint64_t used();
  // Nobody owns a slot, nor may the child of a fork still read one.
  bool is_empty();
  // Recounts the slot map; null, or what is wrong.
  const char* verify();

  // For SwapQueue, which does the input and output in between itself.
  struct Outgoing {
    const void* data = nullptr;  // what goes to the disk
    void* bounce = nullptr;      // memory it is in, when it is not the caller's
  };
  [[nodiscard]] IoResult begin_write(Slots& slots, const void* buffer, Outgoing& out);
  [[nodiscard]] IoResult end_write(Slots& slots, Outgoing& out, os::Transfer transfer);
  [[nodiscard]] IoResult end_read(Slots slots, void* buffer, os::Transfer transfer, uint64_t& bad_mask);
  os::SwapIo& io() { return io_; }

 private:
  SlotMap::Stats slot_stats();
  unsigned give_run_back(uint64_t keep, unsigned most);
  static constexpr unsigned kFailuresToHold = 8;
  static constexpr uint64_t kHoldMs = 1000;
  // 4 MiB: large against a run, so that asking is rare, and little to have asked for in vain.
  static constexpr uint64_t kStretchSlots = 1024;

  struct Written {
    unsigned pages = 0;
    int error = 0;
    bool bad_slot = false;  // the first page that is missing cannot be written
  };
  bool open_tables();
  Open open_key();
  Slots take_slots(unsigned want) WEIR_REQUIRES(mutex_);
  Slots new_stretches(Slots slots) WEIR_REQUIRES(mutex_);
  CipherNonce nonce_of(uint64_t slot) const;
  Written finish_transfer(Slots slots, const void* data, os::Transfer transfer);
  uint64_t read_one_by_one(Slots slots, void* buffer, unsigned from);
  void take_back(uint64_t first, unsigned count, const Written& written) WEIR_REQUIRES(mutex_);
  void release(uint64_t first, unsigned count) WEIR_REQUIRES(mutex_);
  bool held_off() WEIR_REQUIRES(mutex_);
  void note_outcome(const Written& written) WEIR_REQUIRES(mutex_);

  Mutex mutex_;
  SlotMap map_ WEIR_GUARDED_BY(mutex_);
  SwapIndex reserved_ WEIR_GUARDED_BY(mutex_);          // stretches that space was asked for
  uint64_t highest_ WEIR_GUARDED_BY(mutex_) = 0;        // slots below were written at some time
  uint64_t hold_until_ms_ WEIR_GUARDED_BY(mutex_) = 0;  // nothing is handed out until then
  uint64_t starved_ms_ WEIR_GUARDED_BY(mutex_) = 0;     // when the disk was last found full
  unsigned failures_ WEIR_GUARDED_BY(mutex_) = 0;       // writes in a row that failed

  os::SwapIo io_;
  SwapBounce bounce_;
  Live<uint64_t> capacity_;
  CipherKey* key_ = nullptr;  // null: not encrypted
  // An element belongs to the owner of its slot.
  SwapArray<uint32_t> checksums_;
  SwapArray<uint32_t> generations_;  // how often the slot was written with this key
  std::atomic<bool> read_only_{false};
  std::atomic<bool> cannot_punch_{false};

  std::atomic<uint64_t> pages_written_{0};
  std::atomic<uint64_t> pages_read_{0};
  std::atomic<uint64_t> writes_{0};
  std::atomic<uint64_t> reads_{0};
  std::atomic<uint64_t> write_errors_{0};
  std::atomic<uint64_t> read_errors_{0};
  std::atomic<uint64_t> corrupt_pages_{0};
  std::atomic<uint64_t> no_space_{0};
  std::atomic<uint64_t> given_back_{0};
};

}  // namespace weir
