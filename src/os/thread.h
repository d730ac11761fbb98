// Purpose: threads of weir's own, and what must be known about the calling one.
// Thread safety: any thread.
#pragma once

namespace weir::os {

// Starts a detached thread with all signals blocked and a small stack. False when the system refuses. May allocate
// (through whatever malloc the process has), so no weir lock may be held.
[[nodiscard]] bool start_thread(void (*run)());

// True when `code` lies in the dynamic linker. It frees thread-local storage while it holds locks of the C library that
// starting a thread needs too (nptl's stack cache), so a free() from there must not start one.
[[nodiscard]] bool in_dynamic_linker(const void* code);

int process_id();

}  // namespace weir::os
