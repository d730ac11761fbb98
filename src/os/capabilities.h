// Purpose: finds out by trying what the kernel lets this process do of what a limit needs.
// Thread safety: any thread. Invariants: errno is never touched; nothing that was made for trying outlives the call.
#pragma once

namespace weir::os {

// 0 where it works, otherwise the positive errno of what was refused.
struct Capabilities {
  int uffd_syscall;
  int uffd_device;
  int uffd_move;
  int lift;
  int uffd_poison;
  int uffd_write_protect;
  int uffd_thread_id;
  int thread_descriptors;
  int io_uring;
};

// False: no memory for trying.
[[nodiscard]] bool probe_capabilities(Capabilities& capabilities);

}  // namespace weir::os
