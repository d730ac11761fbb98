// Purpose: userfaultfd as the kernel offers it (ioctl_userfaultfd(2)), one function a request. Constants newer than the
//          system's headers are here.
// Thread safety: any thread. Invariants: errno is never touched; results are 0 or more, or -errno.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir::os {

// What a userfaultfd can do here.
struct UffdFeatures {
  bool move = false;           // UFFDIO_MOVE, Linux 6.8
  bool write_protect = false;  // of anonymous memory, Linux 5.7
  bool poison = false;         // Linux 6.6
  bool thread_id = false;      // faults name their thread, Linux 4.14
};

// Opens a userfaultfd that also sees the faults of system calls: by the system call, else through /dev/userfaultfd
// (`device`: an open descriptor of that, or -1 to open it). Negative: -errno of the system call.
[[nodiscard]] int uffd_open(int device, UffdFeatures& features);

// For finding out which of the ways is open. kUserMode: anybody may, but faults of system calls are not seen.
enum class UffdWay : uint8_t { kSyscall, kDevice, kUserMode };
// Negative: -errno of what was refused.
[[nodiscard]] int uffd_open_one_way(UffdWay way, UffdFeatures& features);

// Opens one that reports nothing, for uffd_map_singly; anybody may (Linux 6.7). Negative: -errno.
[[nodiscard]] int uffd_open_silent();
// From now on a fault maps one page of a file there, and not those around it as well (mm/memory.c,
// should_fault_around).
[[nodiscard]] bool uffd_map_singly(int uffd, void* address, size_t bytes);

// From now on (no longer) touches of missing pages in the range are reported.
[[nodiscard]] long uffd_register(int uffd, void* address, size_t bytes, bool write_protect);
[[nodiscard]] long uffd_unregister(int uffd, void* address, size_t bytes);

// Who waits for pages is woken at once, or by a uffd_wake to come.
enum class Waking : bool { kAtOnce, kLater };
// Fills missing pages with copies of `from` and wakes who waits for them. Returns the bytes filled, which are fewer
// than asked for when something stood in the way: then `error` is EEXIST (a page is there), EAGAIN, ENOENT and so on.
// `write_protect`: writes to them are reported, too (the range was registered with write_protect).
[[nodiscard]] size_t uffd_copy(int uffd, void* to, const void* from, size_t bytes, bool write_protect, int& error,
                               Waking waking = Waking::kAtOnce);
// Moves present pages of [from, from + bytes) to `to`, which must be registered and have none there; holes are skipped.
// Returns the bytes that are done, as above (EBUSY: a pinned or shared page).
[[nodiscard]] size_t uffd_move(int uffd, void* to, void* from, size_t bytes, int& error);
// Moves one page that is there to an address that has none; 0, or -ENOENT: none was there, -EBUSY: pinned or shared.
[[nodiscard]] long uffd_move_present(int uffd, void* to, void* from);
// Write-protects or not; whoever waits for the pages is woken when protection ends.
[[nodiscard]] long uffd_write_protect(int uffd, void* address, size_t bytes, bool protect,
                                      Waking waking = Waking::kAtOnce);
// Whether nothing at all is mapped at this page of a registered range; then a page of zeros is afterwards.
[[nodiscard]] bool uffd_fill_if_empty(int uffd, void* page);
// From now on a touch of these missing pages raises SIGBUS (Linux 6.6); who waits for them is woken.
[[nodiscard]] long uffd_poison(int uffd, void* address, size_t bytes);
void uffd_wake(int uffd, void* address, size_t bytes);

struct UffdFault {
  void* address;         // of the page
  uint32_t thread;       // kernel thread id, 0 when unknown
  bool write;            // the page is to be written
  bool write_protected;  // it is there, but protected
};
// Waits for faults; returns how many were stored (at most `most`), or -errno.
[[nodiscard]] int uffd_read(int uffd, UffdFault* faults, unsigned most);

}  // namespace weir::os
