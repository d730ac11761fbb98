#include "os/pins.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/utsname.h>

#include <cstdint>
#include <cstring>

#include "base/units.h"
#include "os/syscall.h"
#include "os/vm.h"

namespace weir::os {
namespace {

// Whether the kernel looks for references before it drops a marked page (mm/rmap.c, try_to_unmap_one).
bool drop_sees_references() {
  struct utsname name = {};
  if (syscall6(SYS_uname, as_arg(&name)) != 0) return false;
  // "MAJOR.MINOR...".
  unsigned version[2] = {};
  const char* at = name.release;
  for (unsigned& part : version) {
    for (; *at >= '0' && *at <= '9'; ++at) part = part * 10 + static_cast<unsigned>(*at - '0');
    if (*at == '.') ++at;
  }
  return version[0] > 5 || (version[0] == 5 && version[1] >= 18);
}

int open_in(int directory, const char* path) {
  return static_cast<int>(syscall6(SYS_openat, directory, as_arg(path), O_RDONLY | O_CLOEXEC, 0));
}

}  // namespace

int open_pin_status(int proc) {
  // Of the thread and not of the process, whose first thread may end before the others do.
  return proc < 0 ? -ENOENT : open_in(proc, "thread-self/status");
}

bool has_registered_pages(int status) {
  // Some 1400 bytes, of which the line begins at about the 260th; names of threads and lists of groups come first.
  char text[4096];
  const long size = status < 0 ? -1 : syscall6(SYS_pread64, status, as_arg(text), sizeof(text), 0);
  constexpr char kKey[] = "\nVmPin:";
  for (long i = 0; i + static_cast<long>(sizeof(kKey)) < size; ++i) {
    if (memcmp(text + i, kKey, sizeof(kKey) - 1) != 0) continue;
    for (i += sizeof(kKey) - 1; i < size && (text[i] == ' ' || text[i] == '\t'); ++i) {
    }
    return !(i + 1 < size && text[i] == '0' && text[i + 1] == ' ');
  }
  return true;
}

int why_not_lift(int status) {
  if (!drop_sees_references()) return -EOPNOTSUPP;
  if (status < 0) return status;
  // A filter may refuse what takes pages away, or what copies them.
  auto* const home = static_cast<char*>(vm_map(2 * kPageSize));
  if (home == nullptr) return -ENOMEM;
  char* const lifted = home + kPageSize;
  char copy[sizeof(uint64_t)] = {};
  home[0] = 1;
  const VmRange range = {lifted, sizeof(copy)};
  const bool works = vm_lift(home, lifted, kPageSize) && vm_gather(copy, &range, 1) == sizeof(copy) && copy[0] == 1 &&
                     vm_mark_droppable(lifted, kPageSize);
  vm_unmap(home, 2 * kPageSize);
  return works ? 0 : -EPERM;
}

bool can_drop_in_place() {
  auto* const page = static_cast<char*>(vm_map(kPageSize));
  if (page == nullptr) return false;
  const VmRange range = {page, kPageSize};
  const bool can = vm_mark_many_droppable(&range, 1);
  vm_unmap(page, kPageSize);
  return can;
}

bool is_own_page(int proc, const void* page) {
  const int pagemap = proc < 0 ? -ENOENT : open_in(proc, "thread-self/pagemap");
  if (pagemap < 0) return false;
  uint64_t entry = 0;
  const auto at = static_cast<long>(reinterpret_cast<uintptr_t>(page) / kPageSize * sizeof(entry));
  const long size = syscall6(SYS_pread64, pagemap, as_arg(&entry), sizeof(entry), at);
  syscall6(SYS_close, pagemap);
  // Documentation/admin-guide/mm/pagemap.rst: mapped by nobody else.
  constexpr unsigned kExclusiveBit = 56;
  return size == sizeof(entry) && (entry >> kExclusiveBit & 1) != 0;
}

Dirty make_dirty_if_there(int proc, void* page) {
  // As above: "self" cannot be opened when the first thread has ended.
  const long memory = proc < 0 ? -ENOENT : syscall6(SYS_openat, proc, as_arg("thread-self/mem"), O_RDWR | O_CLOEXEC, 0);
  if (memory < 0) return Dirty::kUnknown;
  // This way the kernel does not wait for whoever handles faults: it fails (access_remote_vm, mm/memory.c).
  char byte = 0;
  long done = syscall6(SYS_pread64, memory, as_arg(&byte), 1, as_arg(page));
  if (done == 1) done = syscall6(SYS_pwrite64, memory, as_arg(&byte), 1, as_arg(page));
  syscall6(SYS_close, memory);
  return done == 1 ? Dirty::kMade : done == -EIO ? Dirty::kGone : Dirty::kUnknown;
}

}  // namespace weir::os
