// Purpose: address space and memory from the system, each as one call with a plain result.
// Thread safety: any thread. Invariants: errno is never touched; every mapping made here is private and anonymous.
#pragma once

#include <cstddef>

#include "base/units.h"

namespace weir::os {

// Reserves `bytes` of inaccessible address space, at `wish` if nothing is there, else wherever the kernel likes; null
// when there is none.
[[nodiscard]] void* vm_reserve(size_t bytes, void* wish = nullptr);
// Maps readable and writable zero pages at exactly `address`; false (and nothing changed) when something is there.
[[nodiscard]] bool vm_map_new(void* address, size_t bytes);
// Maps `bytes` readable and writable, wherever; null on failure.
[[nodiscard]] void* vm_map(size_t bytes);
// Maps read-only zero pages: costs no memory and no commit charge until vm_commit makes parts of it writable.
[[nodiscard]] void* vm_map_readonly(size_t bytes);
// Makes reserved pages readable and writable; false when the system refuses (RLIMIT_DATA, overcommit).
[[nodiscard]] bool vm_commit(void* address, size_t bytes);
// Makes pages inaccessible.
[[nodiscard]] bool vm_protect_none(void* address, size_t bytes);
void vm_unmap(void* address, size_t bytes);

// mmap, munmap and mremap, as the program calls them; an address, 0, or -errno.
// mlock2 and munlock, the same; 0 or -errno.
[[nodiscard]] long vm_lock(void* address, size_t bytes, int flags);
long vm_unlock(void* address, size_t bytes);
[[nodiscard]] long vm_mmap(void* address, size_t bytes, int protection, int flags, int fd, long offset);
[[nodiscard]] long vm_munmap(void* address, size_t bytes);
[[nodiscard]] long vm_mremap(void* address, size_t bytes, size_t new_bytes, int flags, void* new_address);
// madvise, the same; 0 or -errno.
[[nodiscard]] long vm_advise(void* address, size_t bytes, int advice);
// pkey_mprotect, the same; mprotect where `key` is kNoKey.
inline constexpr int kNoKey = -1;
[[nodiscard]] long vm_protect(void* address, size_t bytes, int protection, int key);

// Gives the memory behind the pages back; they read as zeros afterwards. False when the kernel refuses (mlocked pages).
[[nodiscard]] bool vm_purge(void* address, size_t bytes);
// The same for several ranges, with one interrupt to the other processors where the kernel can (Linux 6.16). Returns
// how many, from the first on, were purged; the next one was refused.
struct VmRange {
  void* address;
  size_t bytes;
};
[[nodiscard]] unsigned vm_purge_many(const VmRange* ranges, unsigned count);
// Asks for or against transparent huge pages.
void vm_huge_pages(void* address, size_t bytes, bool wanted);
// Prefers memory of the kernel's node `os_node` for these pages; best effort.
void vm_bind(void* address, size_t bytes, unsigned os_node);

// How a move ended. kSplit: the range is not one mapping.
enum class VmMove : unsigned char { kMoved, kSplit, kFailed };
// Moves the pages of [from, from + bytes) to `to`, dropping what was mapped there: page tables move, bytes do not.
// Afterwards nothing is mapped at `from`. Otherwise `from` is as it was, and the mapping at `to` may be gone.
[[nodiscard]] VmMove vm_move(void* from, void* to, size_t bytes);
// Moves the pages of [from, from + bytes), which is one mapping, to `to`, dropping what was mapped there; unlike after
// vm_move, the mapping at `from` stays, with no pages (MREMAP_DONTUNMAP, Linux 5.7). One interrupt to the other
// processors, whatever is there. False, and nothing changed at `from`, when the kernel refuses.
[[nodiscard]] bool vm_lift(void* from, void* to, size_t bytes);
// Replaces the mapping by a fresh one of zero pages, so that it can merge with its neighbours again after a vm_move.
[[nodiscard]] bool vm_renew(void* address, size_t bytes);

// Resident pages among those in the range (mincore); 0 when it cannot be told.
Pages vm_resident(void* address, size_t bytes);

// The same as one bit a page, for at most 64 pages.
uint64_t vm_resident_mask(void* address, unsigned pages);
// Copies several ranges to `to`, one behind the other, by one call that does not use their addresses; waits for pages
// that are not there as a touch would. Returns the bytes copied.
[[nodiscard]] size_t vm_gather(void* to, const VmRange* ranges, unsigned count);
// Whether the kernel commits no more memory than it has (vm.overcommit_memory=2): all that can be written counts then,
// touched or not.
bool vm_commits_strictly();
// Whether the system has swap space of its own: then a page may have content though it is not resident.
bool vm_system_swaps();
// And for `words` times 64 pages (at most 512): a word each.
void vm_resident_masks(void* address, unsigned words, uint64_t* masks);
// From now on the kernel may drop these pages, until they are written (MADV_FREE); also when they were moved: Linux
// 6.18 moves them as they are.
[[nodiscard]] bool vm_mark_droppable(void* address, size_t bytes);
// The same for several ranges, with one interrupt to the other processors where the kernel can (Linux 6.16). False when
// one was refused (locked memory); those before it are marked.
[[nodiscard]] bool vm_mark_many_droppable(const VmRange* ranges, unsigned count);
// Gives the memory of pages back that nothing but these addresses refers to (MADV_PAGEOUT, Linux 5.4): marked ones that
// were not written since are dropped, the others swapped out, if the system has swap. What is pinned, for a device for
// instance, shared or locked stays, and what the kernel has in hand at the moment.
void vm_page_out(void* address, size_t bytes);
// Whether some of the range is locked in memory (mlock).
[[nodiscard]] bool vm_is_locked(void* address, size_t bytes);
// Locks what is in memory and what will be; brings nothing in.
void vm_lock_when_touched(void* address, size_t bytes);
// Makes pages dirty, as a write would, and the process's own again that it shares with a child of a fork
// (MADV_POPULATE_WRITE); false when refused.
[[nodiscard]] bool vm_unshare(void* address, size_t bytes);
// The same for several ranges, but for those where it is refused.
void vm_unshare_many(const VmRange* ranges, unsigned count);

}  // namespace weir::os
