// Purpose: the rights of this process as far as they decide about userfaultfd and io_uring.
// Thread safety: values, read from /proc.
#pragma once

namespace weir::tool {

struct Rights {
  bool ptrace = false;              // CAP_SYS_PTRACE is effective
  bool own_user_namespace = false;  // its capabilities count there only
  bool filtered = false;            // a system-call filter (seccomp) is at work
};

[[nodiscard]] Rights read_rights();

}  // namespace weir::tool
