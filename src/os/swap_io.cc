#include "os/swap_io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cstring>

#include "base/units.h"
#include "os/syscall.h"
#include "os/vm.h"

namespace weir::os {
namespace {

// So often in a row a transfer may be interrupted or stop within a page before it counts as failed. The kernel does
// neither to files on disks; network file systems do it a few times.
constexpr unsigned kMaxStalls = 1000;

}  // namespace

void SwapIo::corrupt(void* buffer, size_t bytes) {
  // One bit in the middle of the page in the middle.
  static_cast<unsigned char*>(buffer)[align_down(bytes / 2, kPageSize) + kPageSize / 2 - 1] ^= 0x10;
}

size_t SwapIo::shortened(size_t bytes) {
  // Multiples of 512 are what the kernel stops at in direct transfers.
  return align_down(bytes / 2, 512);
}

long SwapIo::transfer_once(FaultInjector::Op op, void* buffer, size_t bytes, uint64_t offset) {
  const FaultInjector::Fault fault = next_fault(op);
  if (fault.effect == FaultInjector::Effect::kError) return -fault.error;
  const size_t wanted = fault.effect == FaultInjector::Effect::kShort ? shortened(bytes) : bytes;
  const long call = op == FaultInjector::Op::kRead ? SYS_pread64 : SYS_pwrite64;
  const long got =
      syscall6(call, fd(), as_arg(buffer), static_cast<long>(wanted), static_cast<long>(file_offset(offset)));
  if (fault.effect == FaultInjector::Effect::kCorrupt && got >= static_cast<long>(kPageSize))
    corrupt(buffer, static_cast<size_t>(got));
  return got;
}

Transfer SwapIo::transfer(FaultInjector::Op op, void* buffer, size_t bytes, uint64_t offset) {
  Transfer t;
  unsigned stalls = 0;
  while (t.done < bytes) {
    const long got = transfer_once(op, static_cast<char*>(buffer) + t.done, bytes - t.done, offset + t.done);
    // A transfer goes on at a page boundary: direct ones must be aligned.
    const size_t whole = got > 0 ? align_down(static_cast<size_t>(got), kPageSize) : 0;
    t.done += whole;
    if (whole != 0) {
      stalls = 0;
      continue;
    }
    // 0 is the end of the file: somebody truncated it. A write that takes nothing means the same as a failed one.
    const bool again = got > 0 || got == -EINTR || got == -EAGAIN;
    if (again && ++stalls < kMaxStalls) continue;
    t.error = got >= 0 || again ? EIO : static_cast<int>(-got);
    return t;
  }
  return t;
}

Transfer SwapIo::read(void* buffer, size_t bytes, uint64_t offset) {
  const Transfer t = transfer(FaultInjector::Op::kRead, buffer, bytes, offset);
  if (!direct_) drop_cache(offset, bytes);
  return t;
}

Transfer SwapIo::write(const void* buffer, size_t bytes, uint64_t offset) {
  if (!may_write_up_to(offset + bytes)) return {0, EFBIG};
  const Transfer t = transfer(FaultInjector::Op::kWrite, const_cast<void*>(buffer), bytes, offset);
  if (!direct_) drop_cache(offset, bytes);
  return t;
}

bool SwapIo::may_write_up_to(uint64_t offset) const {
  // The limit is that of files. It is asked for each time because the program may change it, and the default action of
  // the signal would end the program for what weir does.
  if (kind_ == Kind::kDevice) return true;
  struct rlimit limit = {};
  if (syscall6(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, as_arg(&limit)) != 0) return true;
  return file_offset(offset) <= limit.rlim_cur;
}

void SwapIo::drop_cache(uint64_t offset, uint64_t bytes) {
  if (direct_) return;
  syscall6(SYS_fadvise64, fd(), static_cast<long>(file_offset(offset)), static_cast<long>(bytes), POSIX_FADV_DONTNEED);
}

void SwapIo::reserve(uint64_t offset, uint64_t bytes) {
  if (kind_ == Kind::kDevice || !may_write_up_to(offset + bytes)) return;
  syscall6(SYS_fallocate, fd(), FALLOC_FL_KEEP_SIZE, static_cast<long>(file_offset(offset)), static_cast<long>(bytes));
}

bool SwapIo::discard(uint64_t from, uint64_t bytes) {
  // On block devices (Linux 4.9) this writes zeros where the device can do that by itself, else it is refused.
  if (syscall6(SYS_fallocate, fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<long>(from),
               static_cast<long>(bytes)) == 0)
    return true;
  const uint64_t range[2] = {from, bytes};
  return kind_ == Kind::kDevice && syscall6(SYS_ioctl, fd(), BLKDISCARD, as_arg(range)) == 0;
}

bool SwapIo::punch(uint64_t offset, uint64_t bytes) {
  return discard(file_offset(offset), bytes);
}

void SwapIo::erase_named(uint64_t used_bytes) {
  const uint64_t from = keeps_header_ ? kHeaderBytes : 0;
  const uint64_t used = file_offset(used_bytes) - from;
  // A file that had its space before keeps it.
  if (preallocated_ && syscall6(SYS_fallocate, fd(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                static_cast<long>(from), static_cast<long>(used)) == 0)
    return;
  syscall6(SYS_ftruncate, fd(), static_cast<long>(from));
  // As large as before, but no larger than the limit on file sizes, which would be a signal.
  if (original_bytes_ <= from || !may_write_up_to(original_bytes_ - kHeaderBytes)) return;
  syscall6(SYS_ftruncate, fd(), static_cast<long>(original_bytes_));
  // File systems that cannot write zeros over a range (tmpfs) have given the space away.
  if (preallocated_)
    syscall6(SYS_fallocate, fd(), FALLOC_FL_KEEP_SIZE, static_cast<long>(from),
             static_cast<long>(original_bytes_ - from));
}

void SwapIo::erase(uint64_t used_bytes) {
  if (kind_ == Kind::kNamed) erase_named(used_bytes);
  if (kind_ != Kind::kDevice) return;
  // What the device cannot discard stays there, as with the system's own swap: zeros would take minutes to write.
  const uint64_t from = keeps_header_ ? kHeaderBytes : 0;
  discard(from, file_offset(used_bytes) - from);
}

void SwapIo::erase_and_close(uint64_t used_bytes) {
  if (fd() >= 0) erase(used_bytes);
  close();
}

void SwapIo::close() {
  if (fd() >= 0) syscall6(SYS_close, fd());
  set_fd(-1);
  kind_ = Kind::kNone;
  bytes_ = 0;
}

void* map_secret_page() {
  void* page = vm_map(kPageSize);
  if (page == nullptr) return nullptr;
  syscall6(SYS_mlock, as_arg(page), kPageSize);
  syscall6(SYS_madvise, as_arg(page), kPageSize, MADV_DONTDUMP);
  return page;
}

void unmap_secret_page(void* page) {
  if (page == nullptr) return;
  // Volatile, or the compiler drops stores that nobody reads.
  auto* bytes = static_cast<volatile unsigned char*>(page);
  for (size_t i = 0; i < kPageSize; ++i) bytes[i] = 0;
  vm_unmap(page, kPageSize);
}

bool fill_random(void* buffer, size_t bytes) {
  size_t done = 0;
  while (done < bytes) {
    const long got =
        syscall6(SYS_getrandom, as_arg(static_cast<char*>(buffer) + done), static_cast<long>(bytes - done));
    if (got == -EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<size_t>(got);
  }
  return true;
}

}  // namespace weir::os
