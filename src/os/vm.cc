#include "os/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include <atomic>
#include <cstring>

#include "os/syscall.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

namespace weir::os {
namespace {

constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
constexpr int kReadWrite = PROT_READ | PROT_WRITE;
constexpr long kMpolPreferred = 1;  // MPOL_PREFERRED of linux/mempolicy.h

void* map(void* address, size_t bytes, int protection, int flags) {
  const long result = syscall6(SYS_mmap, as_arg(address), static_cast<long>(bytes), protection, flags, -1, 0);
  // Errors are -4095..-1; every other value is an address.
  return result < 0 && result >= -4095 ? nullptr : reinterpret_cast<void*>(result);
}

bool advise(void* address, size_t bytes, int advice) {
  return syscall6(SYS_madvise, as_arg(address), static_cast<long>(bytes), advice) == 0;
}

}  // namespace

void* vm_reserve(size_t bytes, void* wish) {
  return map(wish, bytes, PROT_NONE, kAnonymous);
}

void* vm_map(size_t bytes) {
  return map(nullptr, bytes, kReadWrite, kAnonymous);
}

void* vm_map_readonly(size_t bytes) {
  return map(nullptr, bytes, PROT_READ, kAnonymous);
}

bool vm_map_new(void* address, size_t bytes) {
  void* got = map(address, bytes, kReadWrite, kAnonymous | MAP_FIXED_NOREPLACE);
  if (got == address) return true;
  // A kernel before 4.17 (or an emulator) takes NOREPLACE for a mere hint and maps elsewhere.
  if (got != nullptr) vm_unmap(got, bytes);
  return false;
}

bool vm_commit(void* address, size_t bytes) {
  return syscall6(SYS_mprotect, as_arg(address), static_cast<long>(bytes), kReadWrite) == 0;
}

bool vm_protect_none(void* address, size_t bytes) {
  return syscall6(SYS_mprotect, as_arg(address), static_cast<long>(bytes), PROT_NONE) == 0;
}

void vm_unmap(void* address, size_t bytes) {
  syscall6(SYS_munmap, as_arg(address), static_cast<long>(bytes));
}

bool vm_purge(void* address, size_t bytes) {
  return advise(address, bytes, MADV_DONTNEED);
}

unsigned vm_purge_many(const VmRange* ranges, unsigned count) {
  static_assert(sizeof(VmRange) == sizeof(struct iovec), "what process_madvise takes");
  constexpr long kOwnThread = -10000;  // PIDFD_SELF_THREAD
  static constinit std::atomic<bool> refused{false};
  unsigned done = 0;
  if (count > 1 && !refused.load(std::memory_order_relaxed)) {
    const long result = syscall6(SYS_process_madvise, kOwnThread, as_arg(ranges), count, MADV_DONTNEED, 0);
    size_t bytes = result > 0 ? static_cast<size_t>(result) : 0;
    for (; done < count && bytes >= ranges[done].bytes; ++done) bytes -= ranges[done].bytes;
    // Before Linux 6.14 it takes no such descriptor, before 6.13 no such advice; locked memory is refused by both
    // calls.
    if (result < 0 && vm_purge(ranges[0].address, ranges[0].bytes)) {
      refused.store(true, std::memory_order_relaxed);
      done = 1;
    }
  }
  while (done < count && vm_purge(ranges[done].address, ranges[done].bytes)) ++done;
  return done;
}

void vm_huge_pages(void* address, size_t bytes, bool wanted) {
  advise(address, bytes, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

void vm_bind(void* address, size_t bytes, unsigned os_node) {
  // mbind reads maxnode - 1 bits; 1024 is the largest node count that Linux can be built for.
  unsigned long mask[1024 / 64] = {};
  if (os_node >= 1024) return;
  mask[os_node / 64] = 1ul << (os_node % 64);
  syscall6(SYS_mbind, as_arg(address), static_cast<long>(bytes), kMpolPreferred, as_arg(mask), 1024 + 1, 0);
}

VmMove vm_move(void* from, void* to, size_t bytes) {
  const long size = static_cast<long>(bytes);
  const long result = syscall6(SYS_mremap, as_arg(from), size, size, MREMAP_MAYMOVE | MREMAP_FIXED, as_arg(to));
  // A range that is not one mapping is refused with EFAULT, after what was at `to` has been unmapped.
  return result == as_arg(to) ? VmMove::kMoved : result == -EFAULT ? VmMove::kSplit : VmMove::kFailed;
}

bool vm_lift(void* from, void* to, size_t bytes) {
  const long size = static_cast<long>(bytes), flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  return syscall6(SYS_mremap, as_arg(from), size, size, flags, as_arg(to)) == as_arg(to);
}

bool vm_renew(void* address, size_t bytes) {
  return map(address, bytes, kReadWrite, kAnonymous | MAP_FIXED) == address;
}

namespace {

// mincore. The kernel may have no page for its answer at the moment; taking that for "nothing is there" would lose what
// is.
bool look_at_pages(void* address, size_t bytes, unsigned char* present) {
  long result;
  while ((result = syscall6(SYS_mincore, as_arg(address), static_cast<long>(bytes), as_arg(present))) == -EAGAIN)
    syscall6(SYS_sched_yield);
  return result == 0;
}

}  // namespace

Pages vm_resident(void* address, size_t bytes) {
  unsigned char present[512];  // one pageblock a call
  uint64_t total = 0;
  for (size_t done = 0; done < bytes;) {
    const size_t left = bytes - done;
    const size_t here = left < sizeof(present) * kPageSize ? left : sizeof(present) * kPageSize;
    if (!look_at_pages(static_cast<char*>(address) + done, here, present)) return Pages(0);
    for (size_t i = 0; i < pages_of(here).v; ++i) total += present[i] & 1;
    done += here;
  }
  return Pages(total);
}

void vm_resident_masks(void* address, unsigned words, uint64_t* masks) {
  constexpr unsigned kMost = 512;
  unsigned char present[kMost] = {};
  const unsigned pages = words * 64 < kMost ? words * 64 : kMost;
  static_cast<void>(look_at_pages(address, pages * kPageSize, present));
  for (unsigned w = 0; w < words; ++w) masks[w] = 0;
  for (unsigned i = 0; i < pages; ++i) masks[i / 64] |= uint64_t{present[i] & 1u} << (i % 64);
}

uint64_t vm_resident_mask(void* address, unsigned pages) {
  unsigned char present[64];
  uint64_t mask = 0;
  if (!look_at_pages(address, pages * kPageSize, present)) return 0;
  for (unsigned i = 0; i < pages; ++i) mask |= uint64_t{present[i] & 1u} << i;
  return mask;
}

size_t vm_gather(void* to, const VmRange* ranges, unsigned count) {
  struct iovec local = {to, 0};
  for (unsigned i = 0; i < count; ++i) local.iov_len += ranges[i].bytes;
  const long got = syscall6(SYS_process_vm_readv, syscall6(SYS_getpid), as_arg(&local), 1, as_arg(ranges), count, 0);
  return got < 0 ? 0 : static_cast<size_t>(got);
}

bool vm_mark_droppable(void* address, size_t bytes) {
  return advise(address, bytes, MADV_FREE);
}

void vm_drop_marked(void* address, size_t bytes) {
  advise(address, bytes, MADV_PAGEOUT);
}

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

int vm_open_status(int proc) {
  // Of the thread and not of the process, whose first thread may end before the others do.
  return proc < 0 ? -ENOENT : open_in(proc, "thread-self/status");
}

bool vm_has_registered_pages(int status) {
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

int vm_why_not_lift(int status) {
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

bool vm_is_own_page(int proc, const void* page) {
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

bool vm_is_locked(void* address, size_t bytes) {
  return syscall6(SYS_msync, as_arg(address), static_cast<long>(bytes), MS_ASYNC | MS_INVALIDATE) == -EBUSY;
}

void vm_lock_when_touched(void* address, size_t bytes) {
  syscall6(SYS_mlock2, as_arg(address), static_cast<long>(bytes), MLOCK_ONFAULT);
}

bool vm_system_swaps() {
  struct sysinfo info = {};
  return syscall6(SYS_sysinfo, as_arg(&info)) != 0 || info.totalswap != 0;
}

bool vm_unshare(void* address, size_t bytes) {
  return advise(address, bytes, MADV_POPULATE_WRITE);
}

}  // namespace weir::os
