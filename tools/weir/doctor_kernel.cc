#include "doctor_kernel.h"

#include <errno.h>
#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <cstring>

#include "system_files.h"

namespace weir::tool {
namespace {

constexpr const char* kUserfaultfdSysctl = "/proc/sys/vm/unprivileged_userfaultfd";
constexpr const char* kFilterRemedy = "docker run --security-opt seccomp=unconfined ...";

std::string refused(int error) {
  return fmt::format("refused: {}", strerror(error));
}

std::string user_name() {
  const passwd* entry = getpwuid(geteuid());
  return entry != nullptr ? entry->pw_name : std::to_string(geteuid());
}

// Why the system call may be made, or why not.
std::string reason_for_syscall(const weir_capabilities& c, const Rights& rights) {
  if (c.uffd_syscall == 0) {
    if (rights.ptrace && !rights.own_user_namespace) return "allowed: CAP_SYS_PTRACE";
    return "allowed: vm.unprivileged_userfaultfd=1";
  }
  if (c.uffd_syscall == ENOSYS) return "the kernel has none (CONFIG_USERFAULTFD)";
  if (c.uffd_syscall != EPERM) return refused(c.uffd_syscall);
  const bool has_right = rights.ptrace && !rights.own_user_namespace;
  const bool would_pass = has_right || read_file(kUserfaultfdSysctl) == "1";
  if (would_pass && rights.filtered) return "refused by a system-call filter (a container's seccomp profile)";
  if (rights.ptrace && rights.own_user_namespace)
    return "refused: CAP_SYS_PTRACE of a user namespace does not count, and vm.unprivileged_userfaultfd is 0";
  return "refused: no CAP_SYS_PTRACE, and vm.unprivileged_userfaultfd is 0";
}

std::string remedy_for_syscall(const weir_capabilities& c, const Rights& rights) {
  if (c.uffd_syscall == ENOSYS) return {};
  if (rights.filtered && c.uffd_device == ENOENT) return "docker run --device /dev/userfaultfd ...";
  if (rights.filtered && read_file(kUserfaultfdSysctl) == "1") return kFilterRemedy;
  return "sudo sysctl -w vm.unprivileged_userfaultfd=1";
}

Finding syscall_finding(const weir_capabilities& c, const Rights& rights) {
  Finding f = {Grade::kGood, "userfaultfd(2)", reason_for_syscall(c, rights), {}, {}};
  if (c.uffd_syscall == 0) return f;
  f.grade = c.uffd_device == 0 ? Grade::kNote : Grade::kLacks;
  if (c.uffd_device == 0) {
    f.meaning = "not needed: /dev/userfaultfd is used";
    return f;
  }
  f.decides = true;
  f.meaning =
      "weir cannot swap: unused memory is given back, the rest is left to the system's own swap, if there is any";
  f.remedy = remedy_for_syscall(c, rights);
  return f;
}

Finding device_finding(const weir_capabilities& c) {
  Finding f = {Grade::kGood, "/dev/userfaultfd", "allowed", {}, {}};
  if (c.uffd_device == 0) return f;
  f.grade = Grade::kNote;
  f.value = c.uffd_device == ENOENT   ? "not there (Linux 6.1)"
            : c.uffd_device == EACCES ? fmt::format("no access for {}", user_name())
                                      : refused(c.uffd_device);
  if (c.uffd_syscall == 0)
    f.meaning = "not needed: the system call is allowed";
  else if (c.uffd_device == EACCES)
    f.remedy = fmt::format("sudo setfacl -m u:{}:rw /dev/userfaultfd", user_name());
  return f;
}

Finding move_finding(const weir_capabilities& c) {
  Finding f = {Grade::kGood, "UFFDIO_MOVE", "works: a page was moved", {}, {}};
  if (c.uffd_move == 0) return f;
  f.value = c.uffd_move == EOPNOTSUPP ? "the kernel has none (Linux 6.8)" : refused(c.uffd_move);
  if (c.lift == 0) {
    f.grade = Grade::kNote;
    f.meaning = "pages are lifted instead (mremap), but none while the program has registered buffers with io_uring";
    return f;
  }
  f.grade = Grade::kLacks;
  f.decides = true;
  f.meaning = "pages cannot be taken away safely while a device may write to them, so they stay";
  return f;
}

Finding poison_finding(const weir_capabilities& c) {
  Finding f = {Grade::kGood, "UFFDIO_POISON", "works: a page was poisoned", {}, {}};
  if (c.uffd_poison == 0) return f;
  f.grade = Grade::kNote;
  f.value =
      c.uffd_poison == EINVAL || c.uffd_poison == ENOTTY ? "the kernel has none (Linux 6.6)" : refused(c.uffd_poison);
  f.meaning = "a page that cannot be read back raises SIGSEGV instead of SIGBUS";
  return f;
}

Finding thread_id_finding(const weir_capabilities& c) {
  Finding f = {Grade::kGood, "faults with thread", "works", {}, {}};
  if (c.uffd_thread_id == 0) return f;
  f.grade = Grade::kNote;
  f.value = refused(c.uffd_thread_id);
  f.meaning = "threads that resolve faults cannot follow those that wait: a touch costs some 50 us instead of 10";
  return f;
}

Finding descriptors_finding(const weir_capabilities& c, const Rights& rights) {
  Finding f = {Grade::kGood, "descriptors", "can be handed to forked children", {}, {}};
  if (c.thread_descriptors == 0) return f;
  f.grade = Grade::kLacks;
  f.value = refused(c.thread_descriptors);
  f.meaning = "a swap file could not be handed to forked children: pages go to compressed memory only";
  if (c.thread_descriptors == EPERM && rights.filtered) f.remedy = kFilterRemedy;
  return f;
}

Finding ring_finding(const weir_capabilities& c, const Rights& rights) {
  const std::string disabled = read_file("/proc/sys/kernel/io_uring_disabled");
  Finding f = {Grade::kGood, "io_uring", "works", {}, {}};
  if (c.io_uring == 0) return f;
  f.grade = Grade::kLacks;
  f.value = refused(c.io_uring);
  f.meaning = "a read from the swap file holds up the other faults of its handler";
  const bool by_sysctl = c.io_uring == EPERM && !disabled.empty() && disabled != "0";
  if (c.io_uring == ENOSYS) f.value = "the kernel has none (CONFIG_IO_URING)";
  if (by_sysctl) f.value = fmt::format("refused: kernel.io_uring_disabled is {}", disabled);
  if (by_sysctl)
    f.remedy = "sudo sysctl -w kernel.io_uring_disabled=0";
  else if (rights.filtered && (c.io_uring == EPERM || c.io_uring == ENOSYS))
    f.remedy = kFilterRemedy;
  return f;
}

}  // namespace

void add_kernel_findings(const weir_capabilities& c, const Rights& rights, Findings& findings) {
  findings.push_back(syscall_finding(c, rights));
  findings.push_back(device_finding(c));
  findings.push_back(move_finding(c));
  findings.push_back(poison_finding(c));
  findings.push_back(thread_id_finding(c));
  findings.push_back(descriptors_finding(c, rights));
  findings.push_back(ring_finding(c, rights));
}

}  // namespace weir::tool
