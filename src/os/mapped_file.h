// Purpose: the file that is mapped at an address, opened once more by its name; how much of a file in the page cache is
//          dirty; having that written.
// Thread safety: any thread. Invariants: errno is never touched; nothing of the file changes, and no lock of the
//                program's on it is let go when such a descriptor is closed, in a table that is not the program's.
#pragma once

#include <cstdint>

namespace weir::os {

// Where the file's byte lies that is mapped at an address.
struct MappedAt {
  int fd = -1;
  uint64_t offset = 0;
};
// `proc`: an open /proc. The descriptor is good for reading only. False: nothing with a name is mapped there, or its
// name is another file's by now. Reads /proc/PID/maps as far as the address: 1 us for each mapping below it.
[[nodiscard]] bool open_mapped_file(int proc, const void* address, MappedAt& result);

// Pages of a part of a file.
struct CachedPages {
  uint64_t dirty = 0;
  uint64_t writeback = 0;  // being written
};
// False: the kernel cannot tell (before Linux 6.5: cachestat). 0.2 us a MiB.
[[nodiscard]] bool cached_pages(int fd, uint64_t offset, uint64_t bytes, CachedPages& result);
// Has what is dirty there written (sync_file_range): the disk's cache is not flushed, nor is anything committed.
// Returns when all of it is on its way, or, with `wait`, when it has been written. 0 or -errno.
[[nodiscard]] long write_dirty_pages(int fd, uint64_t offset, uint64_t bytes, bool wait);

}  // namespace weir::os
