// Purpose: whether weir's own threads still have no more rights than their process: a program may give up its own
//          (setuid, capset), which the kernel does thread by thread, and the C library to its own threads only.
// Thread safety: any thread. Invariants: errno is never touched; no descriptor outlives the call.
#pragma once

namespace weir::os {

// Whether the calling thread has the users, groups and capabilities that its process's first thread has (Uid, Gid,
// Groups and CapEff of /proc/self/status). `proc`: an open /proc. False, too, where it cannot be told.
[[nodiscard]] bool has_rights_of_process(int proc);

}  // namespace weir::os
