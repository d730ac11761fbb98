#include "os/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>

#include <atomic>

#include "os/file.h"
#include "os/syscall.h"

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace weir::os {
namespace {

constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
constexpr int kReadWrite = PROT_READ | PROT_WRITE;
constexpr long kMpolPreferred = 1;  // MPOL_PREFERRED of linux/mempolicy.h

// ThreadSanitizer does not see weir's system calls, and has to be told of their order: who maps memory anew, where
// another thread took it down before, comes after all that this thread did there.
#ifdef __SANITIZE_THREAD__
char mappings;
void begin_unmap() {
  __tsan_release(&mappings);
}
void end_map() {
  __tsan_acquire(&mappings);
}
#else
void begin_unmap() {}
void end_map() {}
#endif

void* map(void* address, size_t bytes, int protection, int flags) {
  const long result = syscall6(SYS_mmap, as_arg(address), static_cast<long>(bytes), protection, flags, -1, 0);
  end_map();
  // Errors are -4095..-1; every other value is an address.
  return result < 0 && result >= -4095 ? nullptr : reinterpret_cast<void*>(result);
}

bool advise(void* address, size_t bytes, int advice) {
  return vm_advise(address, bytes, advice) == 0;
}

}  // namespace

long vm_advise(void* address, size_t bytes, int advice) {
  return syscall6(SYS_madvise, as_arg(address), static_cast<long>(bytes), advice);
}

long vm_protect(void* address, size_t bytes, int protection, int key) {
  const long size = static_cast<long>(bytes);
  if (key == kNoKey) return syscall6(SYS_mprotect, as_arg(address), size, protection);
  return syscall6(SYS_pkey_mprotect, as_arg(address), size, protection, key);
}

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
  begin_unmap();
  syscall6(SYS_munmap, as_arg(address), static_cast<long>(bytes));
}

long vm_lock(void* address, size_t bytes, int flags) {
  return syscall6(SYS_mlock2, as_arg(address), static_cast<long>(bytes), flags);
}

long vm_unlock(void* address, size_t bytes) {
  return syscall6(SYS_munlock, as_arg(address), static_cast<long>(bytes));
}

long vm_mmap(void* address, size_t bytes, int protection, int flags, int fd, long offset) {
  const long result = syscall6(SYS_mmap, as_arg(address), static_cast<long>(bytes), protection, flags, fd, offset);
  end_map();
  return result;
}

long vm_munmap(void* address, size_t bytes) {
  return syscall6(SYS_munmap, as_arg(address), static_cast<long>(bytes));
}

long vm_mremap(void* address, size_t bytes, size_t new_bytes, int flags, void* new_address) {
  return syscall6(SYS_mremap, as_arg(address), static_cast<long>(bytes), static_cast<long>(new_bytes), flags,
                  as_arg(new_address));
}

bool vm_purge(void* address, size_t bytes) {
  return advise(address, bytes, MADV_DONTNEED);
}

namespace {

// The bytes that were advised, or -errno. Before Linux 6.14 the kernel takes no such descriptor, before 6.13 no such
// advice.
long advise_many(const VmRange* ranges, unsigned count, int advice) {
  static_assert(sizeof(VmRange) == sizeof(struct iovec), "what process_madvise takes");
  constexpr long kOwnThread = -10000;  // PIDFD_SELF_THREAD
  return syscall6(SYS_process_madvise, kOwnThread, as_arg(ranges), count, advice, 0);
}

}  // namespace

unsigned vm_purge_many(const VmRange* ranges, unsigned count) {
  static constinit std::atomic<bool> refused{false};
  unsigned done = 0;
  if (count > 1 && !refused.load(std::memory_order_relaxed)) {
    const long result = advise_many(ranges, count, MADV_DONTNEED);
    size_t bytes = result > 0 ? static_cast<size_t>(result) : 0;
    for (; done < count && bytes >= ranges[done].bytes; ++done) bytes -= ranges[done].bytes;
    // Locked memory is refused by both calls.
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

bool vm_mark_many_droppable(const VmRange* ranges, unsigned count) {
  size_t bytes = 0;
  for (unsigned i = 0; i < count; ++i) bytes += ranges[i].bytes;
  return advise_many(ranges, count, MADV_FREE) == static_cast<long>(bytes);
}

void vm_page_out(void* address, size_t bytes) {
  advise(address, bytes, MADV_PAGEOUT);
}

bool vm_is_locked(void* address, size_t bytes) {
  return syscall6(SYS_msync, as_arg(address), static_cast<long>(bytes), MS_ASYNC | MS_INVALIDATE) == -EBUSY;
}

void vm_lock_when_touched(void* address, size_t bytes) {
  static_cast<void>(vm_lock(address, bytes, MLOCK_ONFAULT));
}

bool vm_commits_strictly() {
  char policy[4];
  return read_small_file("/proc/sys/vm/overcommit_memory", policy, sizeof(policy)) > 0 && policy[0] == '2';
}

bool vm_system_swaps() {
  struct sysinfo info = {};
  return syscall6(SYS_sysinfo, as_arg(&info)) != 0 || info.totalswap != 0;
}

bool vm_unshare(void* address, size_t bytes) {
  return advise(address, bytes, MADV_POPULATE_WRITE);
}

void vm_unshare_many(const VmRange* ranges, unsigned count) {
  for (unsigned done = 0; done < count; ++done) {
    const long result = advise_many(ranges + done, count - done, MADV_POPULATE_WRITE);
    size_t bytes = result > 0 ? static_cast<size_t>(result) : 0;
    for (; done < count && bytes >= ranges[done].bytes; ++done) bytes -= ranges[done].bytes;
  }
}

}  // namespace weir::os
