// Purpose: the file that pages are swapped to, as the system sees it: finding room for it, direct transfers of whole
//          pages, giving space back. What lies where in it is decided above (swap/swap_file).
// Thread safety: open and close while nobody else uses it; everything else from any thread.
// Invariants: errno is never touched. A file made here never has a name that outlives the call, so a killed program
//             leaves nothing behind. A file or device of the user's is used only while it is locked for this program,
//             and only when it holds nothing that anybody could miss.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "os/fault_inject.h"

namespace weir::os {

enum class SwapOpen : uint8_t {
  kOk,
  kNotFound,       // no such file or directory
  kNoAccess,       // permissions
  kReadOnly,       // a read-only file system or device
  kNoRoom,         // the file system is full, or over quota
  kTooSmall,       // what there is, or the limit, is less than a cluster of pages
  kBusy,           // used by another program, mounted, or swap of the system
  kHoldsData,      // an existing file or device whose content is not swap
  kNotSupported,   // neither a regular file, a directory nor a block device; or it cannot be read and written
  kNoDescriptors,  // too many open files
  kNoMemory,       // no memory for the bookkeeping
  kNoRandom,       // no random numbers for the key
  kIoError,        // the first page could not be written and read back
};
// "no such file or directory", for a message that names the path.
[[nodiscard]] const char* describe(SwapOpen result);

// How far a transfer came. `error` is a positive errno, 0 when all was transferred.
struct Transfer {
  size_t done = 0;
  int error = 0;
};

class SwapIo {
 public:
  enum class Kind : uint8_t {
    kNone,
    kNameless,  // made in a directory; gone when its last descriptor is
    kNamed,     // an existing regular file of the user's
    kDevice,    // a block device
  };

  constexpr SwapIo() = default;
  // `max_bytes` 0: as much as the existing file or device has. Faults may be null.
  [[nodiscard]] SwapOpen open(const char* path, uint64_t max_bytes, FaultInjector* faults);
  // A nameless file in an open directory (see swap_directory).
  [[nodiscard]] SwapOpen open_in(int directory, uint64_t max_bytes, FaultInjector* faults);
  // Nothing of `used_bytes`, counted from the start, stays readable in a file or device that outlives the program.
  void erase_and_close(uint64_t used_bytes);
  void close();

  // What may be used, a multiple of the page size.
  uint64_t bytes() const { return bytes_; }
  Kind kind() const { return kind_; }
  // kNameless: it never had a name, not even for a moment (O_TMPFILE).
  bool never_named() const { return never_named_; }
  // Transfers go past the page cache.
  bool direct() const { return direct_; }
  // Others than the owner may read what is swapped: worth a warning when it is not encrypted.
  bool readable_by_others() const { return readable_by_others_; }
  int fd() const { return fd_.load(std::memory_order_relaxed); }
  void set_fd(int fd) { fd_.store(fd, std::memory_order_relaxed); }
  // Where transfers are to start and end: the first page of a file that has a name says whose it is.
  uint64_t file_offset(uint64_t offset) const { return offset + header_bytes(); }

  // Whole pages between page-aligned memory and the offset; repeats what stops short.
  Transfer read(void* buffer, size_t bytes, uint64_t offset);
  Transfer write(const void* buffer, size_t bytes, uint64_t offset);
  // For transfers that the caller starts himself (os/swap_ring): what shall happen to the next one, and what comes
  // after a read that was to be damaged.
  FaultInjector::Fault next_fault(FaultInjector::Op op) {
    return faults_ == nullptr ? FaultInjector::Fault{} : faults_->next(op);
  }
  static void corrupt(void* buffer, size_t bytes);
  // How much of `bytes` a transfer takes that is to stop short.
  static size_t shortened(size_t bytes);
  // False when a write up to `offset` would get this thread a SIGXFSZ (RLIMIT_FSIZE).
  bool may_write_up_to(uint64_t offset) const;
  // In buffered mode: starts writing the range out and drops it from the page cache as far as that is done.
  void drop_cache(uint64_t offset, uint64_t bytes);
  // Asks the file system for the range's space before it is written: on ext4 a direct write into a hole holds up all
  // reads of the file until it is done, one into space that is there does not. Where there is none, writes find out.
  void reserve(uint64_t offset, uint64_t bytes);
  // Whether its space is taken from a file system as it is needed: a device and a file that had its space before keep
  // it.
  bool grows() const { return kind_ == Kind::kNameless || (kind_ == Kind::kNamed && !preallocated_); }
  // Gives the space back; the range reads as zeros or not at all. False when the file system cannot.
  bool punch(uint64_t offset, uint64_t bytes);

 private:
  static constexpr uint64_t kHeaderBytes = 4096;

  uint64_t header_bytes() const { return kind_ == Kind::kNamed || kind_ == Kind::kDevice ? kHeaderBytes : 0; }
  SwapOpen open_nameless(int directory, uint64_t max_bytes);
  SwapOpen open_existing(const char* path, uint64_t max_bytes);
  bool reset(uint64_t& max_bytes, FaultInjector* faults);
  SwapOpen adopt(uint64_t max_bytes);
  SwapOpen check_content();
  SwapOpen mark_ours();
  SwapOpen grow_sparse();
  SwapOpen probe();
  bool set_direct(bool wanted);
  void erase(uint64_t used_bytes);
  void erase_named(uint64_t used_bytes);
  bool discard(uint64_t from, uint64_t bytes);
  long transfer_once(FaultInjector::Op op, void* buffer, size_t bytes, uint64_t offset);
  Transfer transfer(FaultInjector::Op op, void* buffer, size_t bytes, uint64_t offset);

  std::atomic<int> fd_{-1};
  FaultInjector* faults_ = nullptr;
  uint64_t bytes_ = 0;
  uint64_t original_bytes_ = 0;  // kNamed: its size before
  bool preallocated_ = false;    // kNamed: it had its space before
  bool keeps_header_ = false;    // its first page is mkswap's and stays as it is
  bool stale_ = false;           // its first page is ours: a killed program may have left pages in it
  bool direct_ = false;
  bool never_named_ = false;
  bool readable_by_others_ = false;
  Kind kind_ = Kind::kNone;
};

// The directory that a file for `path` is made in, as a descriptor by which more of them can be made later: by
// processes that cannot name it any more (chroot). Negative: -errno, or -ENOTDIR where `path` is a file or device.
[[nodiscard]] int swap_directory(const char* path);

// One page for a key: locked in memory as far as limits allow and left out of core dumps. Null when there is none.
[[nodiscard]] void* map_secret_page();
void unmap_secret_page(void* page);
// True random numbers of the kernel's.
[[nodiscard]] bool fill_random(void* buffer, size_t bytes);

}  // namespace weir::os
