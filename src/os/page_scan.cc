#include "os/page_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include <atomic>
#include <cstdint>

#include "os/syscall.h"
#include "os/vm.h"

namespace weir::os {
namespace {

// linux/fs.h of 6.7, which is newer than the headers.
struct PageRegion {
  uint64_t start;
  uint64_t end;
  uint64_t categories;
};
struct PmScanArg {
  uint64_t size;
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;
  uint64_t vec;
  uint64_t vec_len;
  uint64_t max_pages;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, PmScanArg);
constexpr uint64_t kPageIsFile = 1 << 2, kPageIsPresent = 1 << 3, kPageIsZero = 1 << 5;
// Documentation/admin-guide/mm/pagemap.rst.
constexpr uint64_t kEntryExclusive = uint64_t{1} << 56, kEntryFile = uint64_t{1} << 61,
                   kEntrySwapped = uint64_t{1} << 62, kEntryPresent = uint64_t{1} << 63;

// 3 KiB of stack.
constexpr unsigned kRegions = 128;
// 4 KiB of stack: 2 MiB of addresses.
constexpr unsigned kEntries = 512;
// A page that another processor is about to list (lru_add) is left where it is.
constexpr unsigned kTries = 3;

// What is looked for: all of these, none of those.
struct Wanted {
  uint64_t all;
  uint64_t none;
};
constexpr Wanted kMapped = {kPageIsPresent, 0};
constexpr Wanted kPopulated = {kPageIsPresent, kPageIsZero};

char* as_address(uint64_t at) {
  return reinterpret_cast<char*>(static_cast<uintptr_t>(at));  // NOLINT: the kernel's numbers are addresses
}

long scan(int pagemap, Wanted wanted, char*& begin, char* end, MappedRun* runs, unsigned most) {
  PageRegion regions[kRegions];
  unsigned count = 0;
  while (begin < end && count < most) {
    PmScanArg arg = {};
    arg.size = sizeof(arg);
    arg.start = reinterpret_cast<uintptr_t>(begin);
    arg.end = reinterpret_cast<uintptr_t>(end);
    arg.vec = reinterpret_cast<uintptr_t>(regions);
    arg.vec_len = most - count < kRegions ? most - count : kRegions;
    arg.category_inverted = wanted.none;
    arg.category_mask = wanted.all | wanted.none;
    arg.return_mask = kPageIsPresent | kPageIsFile;
    const long found = syscall6(SYS_ioctl, pagemap, static_cast<long>(kPagemapScan), as_arg(&arg));
    if (found < 0) return found;
    for (long i = 0; i < found; ++i)
      runs[count++] = {as_address(regions[i].start), as_address(regions[i].end),
                       (regions[i].categories & kPageIsFile) != 0};
    begin = as_address(arg.walk_end);
  }
  return count;
}

}  // namespace

int open_pagemap(int proc) {
  if (proc < 0) return -ENOENT;
  return static_cast<int>(syscall6(SYS_openat, proc, as_arg("thread-self/pagemap"), O_RDONLY | O_CLOEXEC, 0));
}

long mapped_runs_from_entries(int pagemap, char*& begin, char* end, MappedRun* runs, unsigned most) {
  uint64_t entries[kEntries];
  unsigned count = 0;
  while (begin < end && count < most) {
    const size_t left = static_cast<size_t>(end - begin) >> kPageShift;
    const size_t wanted = left < kEntries ? left : kEntries;
    const auto at = static_cast<long>(reinterpret_cast<uintptr_t>(begin) / kPageSize * sizeof(uint64_t));
    const long size = syscall6(SYS_pread64, pagemap, as_arg(entries), static_cast<long>(wanted * sizeof(uint64_t)), at);
    if (size < static_cast<long>(sizeof(uint64_t))) return size < 0 ? size : -EIO;
    const auto got = static_cast<size_t>(size) / sizeof(uint64_t);
    for (size_t i = 0; i < got && begin < end; ++i, begin += kPageSize) {
      if ((entries[i] & kEntryPresent) == 0) continue;
      const bool of_file = (entries[i] & kEntryFile) != 0;
      if (count != 0 && runs[count - 1].end == begin && runs[count - 1].of_file == of_file) {
        runs[count - 1].end += kPageSize;
        continue;
      }
      if (count == most) return count;
      runs[count++] = {begin, begin + kPageSize, of_file};
    }
  }
  return count;
}

namespace {

long find_runs(int pagemap, Wanted wanted, char*& begin, char* end, MappedRun* runs, unsigned most) {
  static constinit std::atomic<bool> cannot_scan{false};
  if (!cannot_scan.load(std::memory_order_relaxed)) {
    const long found = scan(pagemap, wanted, begin, end, runs, most);
    if (found != -ENOTTY) return found;
    cannot_scan.store(true, std::memory_order_relaxed);
  }
  return mapped_runs_from_entries(pagemap, begin, end, runs, most);
}

}  // namespace

long mapped_runs(int pagemap, char*& begin, char* end, MappedRun* runs, unsigned most) {
  return find_runs(pagemap, kMapped, begin, end, runs, most);
}

long populated_runs(int pagemap, char*& begin, char* end, MappedRun* runs, unsigned most) {
  return find_runs(pagemap, kPopulated, begin, end, runs, most);
}

bool find_page_masks(int pagemap, const char* begin, unsigned pages, PageMasks& masks) {
  constexpr unsigned kMost = 64;
  uint64_t entries[kMost];
  const auto size = static_cast<long>(pages * sizeof(uint64_t));
  const auto at = static_cast<long>(reinterpret_cast<uintptr_t>(begin) / kPageSize * sizeof(uint64_t));
  if (pages > kMost || syscall6(SYS_pread64, pagemap, as_arg(entries), size, at) != size) return false;
  masks = {};
  for (unsigned i = 0; i < pages; ++i) {
    const uint64_t bit = uint64_t{1} << i;
    if ((entries[i] & kEntrySwapped) != 0) masks.swapped |= bit;
    if ((entries[i] & kEntryPresent) == 0) continue;
    masks.present |= bit;
    if ((entries[i] & kEntryExclusive) == 0) masks.shared |= bit;
  }
  // Some of these may be the page of zeros.
  if (masks.shared == 0) return true;
  MappedRun runs[kMost];
  char *next = as_address(reinterpret_cast<uintptr_t>(begin)), *const end = next + pages * kPageSize;
  const long found = scan(pagemap, kPopulated, next, end, runs, kMost);
  if (found < 0) return true;
  uint64_t populated = 0;
  for (long i = 0; i < found; ++i)
    for (const char* page = runs[i].begin; page < runs[i].end; page += kPageSize)
      populated |= uint64_t{1} << static_cast<unsigned>((page - begin) / static_cast<ptrdiff_t>(kPageSize));
  masks.present &= populated;
  masks.shared &= populated;
  return true;
}

bool system_takes_pages(int pagemap) {
  char* const page = static_cast<char*>(vm_map(kPageSize));
  if (page == nullptr) return false;
  PageMasks masks;
  for (unsigned tries = 0; tries < kTries && masks.swapped == 0; ++tries) {
    *static_cast<volatile char*>(page) = 1;
    vm_page_out(page, kPageSize);
    if (!find_page_masks(pagemap, page, 1, masks)) break;
  }
  vm_unmap(page, kPageSize);
  return masks.swapped != 0;
}

}  // namespace weir::os
