#include "os/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include <bit>

#include "base/units.h"
#include "os/syscall.h"
#include "os/vm.h"

namespace weir::os {
namespace {

// linux/userfaultfd.h of Linux 6.8.
struct MoveRequest {
  uint64_t to, from, bytes, mode;
  int64_t moved;
};
constexpr unsigned long kIoctlMove = _IOWR(0xAA, 0x05, MoveRequest);
constexpr uint64_t kFeatureMove = uint64_t{1} << 16;
// linux/userfaultfd.h of Linux 6.6.
constexpr uint64_t kFeaturePoison = uint64_t{1} << 14;
// linux/userfaultfd.h of Linux 6.1.
constexpr unsigned long kIoctlNew = _IO(0xAA, 0x00);

// linux/userfaultfd.h of Linux 6.6.
struct PoisonRequest {
  uint64_t address, bytes, mode;
  int64_t done;
};
constexpr unsigned long kIoctlPoison = _IOWR(0xAA, 0x08, PoisonRequest);

// linux/userfaultfd.h of Linux 6.7: writes to write-protected pages are resolved by the kernel; of any mapping.
constexpr uint64_t kFeatureWpAsync = uint64_t{1} << 15;

constexpr unsigned kMostMessages = 16;

long request(int fd, unsigned long number, void* argument) {
  return syscall6(SYS_ioctl, fd, static_cast<long>(number), as_arg(argument));
}

uint64_t address_of(const void* p) {
  return reinterpret_cast<uintptr_t>(p);
}

int open_syscall(int flags) {
  return static_cast<int>(syscall6(SYS_userfaultfd, O_CLOEXEC | flags));
}

// `device`: an open descriptor of /dev/userfaultfd, or -1 to open it. Negative: -errno of what was refused.
int open_device(int device) {
  const bool own = device < 0;
  if (own) device = static_cast<int>(syscall6(SYS_openat, AT_FDCWD, as_arg("/dev/userfaultfd"), O_RDWR | O_CLOEXEC, 0));
  if (device < 0) return device;
  const long made = syscall6(SYS_ioctl, device, static_cast<long>(kIoctlNew), O_CLOEXEC);
  if (own) syscall6(SYS_close, device);
  return static_cast<int>(made);
}

int open_any(int device) {
  const int fd = open_syscall(0);
  if (fd >= 0) return fd;
  const int made = open_device(device);
  return made >= 0 ? made : fd;
}

int open_one_way(UffdWay way) {
  if (way == UffdWay::kDevice) return open_device(-1);
  return open_syscall(way == UffdWay::kUserMode ? UFFD_USER_MODE_ONLY : 0);
}

// What the kernel offers, asked on a descriptor of its own (closed here) because the handshake can be made only once.
uint64_t offered_features(int probe) {
  if (probe < 0) return 0;
  uffdio_api api = {UFFD_API, 0, 0};
  const long result = request(probe, UFFDIO_API, &api);
  syscall6(SYS_close, probe);
  return result == 0 ? api.features : 0;
}

// Closes `fd` when the kernel refuses.
int shake_hands(int fd, uint64_t offered, UffdFeatures& features) {
  const uint64_t wanted = offered & (kFeatureMove | UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_PAGEFAULT_FLAG_WP);
  uffdio_api api = {UFFD_API, wanted, 0};
  if (const long result = request(fd, UFFDIO_API, &api); result < 0) {
    syscall6(SYS_close, fd);
    return static_cast<int>(result);
  }
  features.move = (wanted & kFeatureMove) != 0;
  features.write_protect = (wanted & UFFD_FEATURE_PAGEFAULT_FLAG_WP) != 0;
  // It need not be asked for.
  features.poison = (offered & kFeaturePoison) != 0;
  features.thread_id = (wanted & UFFD_FEATURE_THREAD_ID) != 0;
  return fd;
}

// How many bytes there are without pages where a move found none; 0 when there is one, and the move failed for another
// reason.
size_t hole_at(void* from, size_t bytes) {
  constexpr size_t kMost = 64;  // what one look can tell
  const size_t pages = bytes / kPageSize < kMost ? bytes / kPageSize : kMost;
  const uint64_t there = vm_resident_mask(from, static_cast<unsigned>(pages));
  size_t hole = there == 0 ? pages : static_cast<size_t>(std::countr_zero(there));
  // What the kernel swapped out is not resident and can be moved; only of the first page the move has told.
  if (hole > 1 && vm_system_swaps()) hole = 1;
  return hole * kPageSize;
}

}  // namespace

int uffd_open(int device, UffdFeatures& features) {
  const int fd = open_any(device);
  return fd < 0 ? fd : shake_hands(fd, offered_features(open_any(device)), features);
}

int uffd_open_one_way(UffdWay way, UffdFeatures& features) {
  const int fd = open_one_way(way);
  return fd < 0 ? fd : shake_hands(fd, offered_features(open_one_way(way)), features);
}

int uffd_open_silent() {
  const int fd = open_syscall(UFFD_USER_MODE_ONLY);
  if (fd < 0) return fd;
  uffdio_api api = {UFFD_API, kFeatureWpAsync, 0};
  const long result = request(fd, UFFDIO_API, &api);
  if (result == 0) return fd;
  syscall6(SYS_close, fd);
  return static_cast<int>(result);
}

bool uffd_map_singly(int uffd, void* address, size_t bytes) {
  // What lies in the page cache as a huge page is mapped as one all the same (mm/memory.c, do_set_pmd).
  vm_huge_pages(address, bytes, false);
  uffdio_register range = {{address_of(address), bytes}, UFFDIO_REGISTER_MODE_WP, 0};
  return request(uffd, UFFDIO_REGISTER, &range) == 0;
}

long uffd_register(int uffd, void* address, size_t bytes, bool write_protect) {
  uffdio_register r = {{address_of(address), bytes}, UFFDIO_REGISTER_MODE_MISSING, 0};
  if (write_protect) r.mode |= UFFDIO_REGISTER_MODE_WP;
  return request(uffd, UFFDIO_REGISTER, &r);
}

long uffd_unregister(int uffd, void* address, size_t bytes) {
  uffdio_range r = {address_of(address), bytes};
  return request(uffd, UFFDIO_UNREGISTER, &r);
}

size_t uffd_copy(int uffd, void* to, const void* from, size_t bytes, bool write_protect, int& error, Waking waking) {
  const uint64_t mode =
      (write_protect ? UFFDIO_COPY_MODE_WP : 0) | (waking == Waking::kLater ? UFFDIO_COPY_MODE_DONTWAKE : 0);
  size_t done = 0;
  while (done < bytes) {
    uffdio_copy c = {address_of(to) + done, address_of(from) + done, bytes - done, mode, 0};
    const long result = request(uffd, UFFDIO_COPY, &c);
    if (result == 0) return bytes;
    if (c.copy > 0) done += static_cast<size_t>(c.copy);
    // Interrupted by a change of the mappings (fork): what is left is tried again.
    if (result == -EAGAIN) continue;
    error = c.copy < 0 ? static_cast<int>(-c.copy) : static_cast<int>(-result);
    return done;
  }
  return done;
}

size_t uffd_move(int uffd, void* to, void* from, size_t bytes, int& error) {
  size_t done = 0;
  while (done < bytes) {
    // Without UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES, with which Linux 6.18 never returns when a page that it has to try once
    // more is gone by then (move_pages in mm/userfaultfd.c).
    MoveRequest m = {address_of(to) + done, address_of(from) + done, bytes - done, 0, 0};
    const long result = request(uffd, kIoctlMove, &m);
    if (result == 0) return bytes;
    if (m.moved > 0) done += static_cast<size_t>(m.moved);
    if (result == -EAGAIN) continue;
    const int why = m.moved < 0 ? static_cast<int>(-m.moved) : static_cast<int>(-result);
    const size_t hole = why == ENOENT ? hole_at(static_cast<char*>(from) + done, bytes - done) : 0;
    if (hole == 0) {
      error = why;
      return done;
    }
    done += hole;
  }
  return done;
}

long uffd_move_present(int uffd, void* to, void* from) {
  for (;;) {
    MoveRequest m = {address_of(to), address_of(from), kPageSize, 0, 0};
    const long result = request(uffd, kIoctlMove, &m);
    if (result == 0 || m.moved == static_cast<int64_t>(kPageSize)) return 0;
    if (result != -EAGAIN) return result;
  }
}

long uffd_write_protect(int uffd, void* address, size_t bytes, bool protect, Waking waking) {
  const uint64_t mode =
      (protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0) | (waking == Waking::kLater ? UFFDIO_WRITEPROTECT_MODE_DONTWAKE : 0);
  uffdio_writeprotect w = {{address_of(address), bytes}, mode};
  return request(uffd, UFFDIO_WRITEPROTECT, &w);
}

bool uffd_fill_if_empty(int uffd, void* page) {
  for (;;) {
    uffdio_zeropage z = {{address_of(page), kPageSize}, UFFDIO_ZEROPAGE_MODE_DONTWAKE, 0};
    const long result = request(uffd, UFFDIO_ZEROPAGE, &z);
    if (result == 0 || result == -EEXIST) return result == 0;
    syscall6(SYS_sched_yield);  // EAGAIN: the mappings change; ENOMEM: the answer decides about content, so it waits
  }
}

long uffd_poison(int uffd, void* address, size_t bytes) {
  PoisonRequest p = {address_of(address), bytes, 0, 0};
  return request(uffd, kIoctlPoison, &p);
}

void uffd_wake(int uffd, void* address, size_t bytes) {
  uffdio_range r = {address_of(address), bytes};
  request(uffd, UFFDIO_WAKE, &r);
}

int uffd_read(int uffd, UffdFault* faults, unsigned most) {
  uffd_msg messages[kMostMessages];
  const unsigned wanted = most < kMostMessages ? most : kMostMessages;
  const long got = syscall6(SYS_read, uffd, as_arg(messages), static_cast<long>(wanted * sizeof(uffd_msg)));
  if (got < 0) return static_cast<int>(got);
  int stored = 0;
  for (unsigned i = 0; i < static_cast<unsigned>(got) / sizeof(uffd_msg); ++i) {
    if (messages[i].event != UFFD_EVENT_PAGEFAULT) continue;
    const auto& fault = messages[i].arg.pagefault;
    faults[stored++] = {reinterpret_cast<void*>(align_down(fault.address, kPageSize)), fault.feat.ptid,
                        (fault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0, (fault.flags & UFFD_PAGEFAULT_FLAG_WP) != 0};
  }
  return stored;
}

}  // namespace weir::os
