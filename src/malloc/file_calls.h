// Purpose: the program's own calls for address space, of which weir must know where its files are mapped.
// Thread safety: any thread, any time; also in the child of a vfork, whose address space is its parent's.
// Invariants: results are the kernel's: an address, 0, or -errno. Without a limit the calls are passed on and no more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "file/file_pages.h"

namespace weir {

[[nodiscard]] long process_mmap(void* address, size_t bytes, int protection, int flags, int fd, long offset);
[[nodiscard]] long process_munmap(void* address, size_t bytes);
[[nodiscard]] long process_mremap(void* address, size_t bytes, size_t new_bytes, int flags, void* new_address);
// Said before mprotect and madvise of any memory.
void process_about_to_protect(void* address, size_t bytes, int protection);
void process_about_to_advise(void* address, size_t bytes, int advice);

FilePages& process_file_pages();

// Whether these are whole pages, the last one maybe in part; of anything else the kernel refuses all calls, and nothing
// changes there.
inline bool is_page_range(const void* address, size_t bytes) {
  // As numbers, because they may lie behind the last address.
  const auto first = reinterpret_cast<uintptr_t>(address), last = first + align_up(bytes, kPageSize);
  return first % kPageSize == 0 && last > first;
}

}  // namespace weir
