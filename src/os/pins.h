// Purpose: whether anything but the process's own addresses refers to its pages, and keeping the kernel from dropping
//          one: what lifting them (reclaim/lift.cc) has to know, and whether it can be known here.
// Thread safety: any thread. Invariants: errno is never touched; no descriptor outlives the call but that of
//                open_pin_status.
#pragma once

#include <cstdint>

namespace weir::os {

// Opens a file that tells of pages that are pinned for long; `proc`: an open /proc. A child of a fork needs its own.
// Negative: -errno.
[[nodiscard]] int open_pin_status(int proc);
// Whether some of the process's pages are: registered buffers of io_uring, or those of some devices (VmPin). True, too,
// where it cannot be told.
[[nodiscard]] bool has_registered_pages(int status);
// 0 where the process can lift pages, see what refers to them, and give them back only where nothing does (vm_lift,
// vm_gather, vm_page_out); or -errno: -EOPNOTSUPP before Linux 5.18, which lost such pages. `status` as above.
[[nodiscard]] int why_not_lift(int status);
// Whether pages can be given back where they are, too: of many ranges at once (vm_mark_many_droppable).
[[nodiscard]] bool can_drop_in_place();
// Whether this page that is there is memory of this process alone, and not the one page of zeros (pagemap). False, too,
// where it cannot be told.
[[nodiscard]] bool is_own_page(int proc, const void* page);
// Makes a page dirty, so that the kernel does not drop it, if it is there still, and unlike a touch does not wait for
// one that is not. Nobody else may write to it meanwhile. kGone: it was dropped. kUnknown: that cannot be told
// (`proc`).
enum class Dirty : uint8_t { kMade, kGone, kUnknown };
[[nodiscard]] Dirty make_dirty_if_there(int proc, void* page);

}  // namespace weir::os
