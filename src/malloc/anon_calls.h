// Purpose: memory without a file that the program maps by itself (mmap, private and anonymous), where there is a limit
//          that is kept by swapping: it is taken from the heap's arenas, so that it counts, and leaves and comes back,
//          as memory from malloc does. What the program then does to it by system calls is done here, as the kernel
//          would.
// Thread safety: any thread, any time; a handler that came while its thread holds a lock of weir's is refused (ENOMEM).
//                Also in the child of a vfork, whose address space is its parent's.
// Invariants: results are the kernel's: an address, 0, or -errno; errno may be changed. No such call reaches the kernel
//             with addresses of an arena that would tear it.
//
// Differences from the kernel's: an address that is no more than a wish is not granted, unless the program insists, and
// never where an arena is yet to grow; what was unmapped can still be touched until somebody else has it; MADV_DONTFORK
// changes nothing: the child has a copy.
#pragma once

#include <cstddef>

namespace weir {

// Whether such memory is to be had from anon_map. `wish`: the address that the program would like, or null.
bool anon_wanted(const void* wish, size_t bytes, int protection, int flags);
// 0: inaccessible address space that is not to be had here, and so the kernel's.
[[nodiscard]] long anon_map(const void* wish, size_t bytes, int protection);
// Whether any of these whole pages lie where arenas do, or are yet to grow.
bool touches_arenas(const void* address, size_t bytes);
// The same where there is a limit; then the calls below are to be used.
bool anon_touches(const void* address, size_t bytes);
// mmap with MAP_FIXED or MAP_FIXED_NOREPLACE.
[[nodiscard]] long anon_map_fixed(char* address, size_t bytes, int protection, int flags, int fd, long offset);
// Before mremap moves what is elsewhere to such an address. 0 or -errno.
[[nodiscard]] long anon_give_way(char* address, size_t bytes);
[[nodiscard]] long anon_unmap(char* address, size_t bytes);
[[nodiscard]] long anon_remap(char* address, size_t bytes, size_t new_bytes, int flags, char* new_address);
// After mprotect.
void anon_protected(char* address, size_t bytes, int protection);
// Whether madvise of that is done with nothing.
bool anon_ignores(const void* address, size_t bytes, int advice);

}  // namespace weir
