// swap_open.cc: the part of SwapIo (os/swap_io.h) that finds and prepares the file or device.
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstring>
#include <string_view>

#include "base/units.h"
#include "os/proc.h"
#include "os/swap_io.h"
#include "os/syscall.h"
#include "os/vm.h"

namespace weir::os {
namespace {

// A cluster of 64 pages: with less, nothing of use can be swapped.
constexpr uint64_t kLeastBytes = 64 * kPageSize;
// 16 TiB: slot numbers have 32 bits.
constexpr uint64_t kMostBytes = uint64_t{1} << 44;
// What an existing file or device must hold in its first page: this, or what mkswap writes at the page's end.
constexpr std::string_view kMarker = "weir swap, nothing to keep\n";
constexpr std::string_view kMkswapMarker = "SWAPSPACE2";
// Else zeros up to here. File systems, partition tables and LVM have something in this range (btrfs at 64 KiB).
constexpr size_t kCheckedBytes = size_t{128} << 10;

SwapOpen from_error(long error) {
  switch (-error) {
    case ENOENT:
    case ENOTDIR:
      return SwapOpen::kNotFound;
    case EACCES:
    case EPERM:
    case ELOOP:
      return SwapOpen::kNoAccess;
    case EROFS:
      return SwapOpen::kReadOnly;
    case ENOSPC:
    case EDQUOT:
      return SwapOpen::kNoRoom;
    case EFBIG:
      return SwapOpen::kTooSmall;
    case EBUSY:
    case ETXTBSY:
    case EAGAIN:
      return SwapOpen::kBusy;
    case EMFILE:
    case ENFILE:
      return SwapOpen::kNoDescriptors;
    case ENOMEM:
      return SwapOpen::kNoMemory;
    case EIO:
      return SwapOpen::kIoError;
    default:
      return SwapOpen::kNotSupported;
  }
}

long open_at(int directory, const char* path, int flags) {
  long fd;
  do {
    fd = syscall6(SYS_openat, directory, as_arg(path), flags | O_CLOEXEC | O_NOCTTY, 0600);
  } while (fd == -EINTR);
  if (fd < 0 || fd > 2) return fd;
  // Not in the place of a closed stdin, stdout or stderr, where the program itself would write into it.
  const long higher = syscall6(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
  syscall6(SYS_close, fd);
  return higher;
}

// A file with a random name, which it loses at once. The program must be killed within these two system calls to leave
// a name, of an empty file.
long create_and_unlink(int directory) {
  for (unsigned attempt = 0; attempt < 100; ++attempt) {
    uint64_t number = 0;
    if (!fill_random(&number, sizeof(number))) number = process_random() ^ (now_ns() + attempt);
    char name[] = ".weir-swap-0123456789abcdef";
    for (size_t i = 0; i < 16; ++i) name[sizeof(name) - 2 - i] = "0123456789abcdef"[number >> (4 * i) & 15];
    const long fd = open_at(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
    if (fd == -EEXIST) continue;
    if (fd >= 0) syscall6(SYS_unlinkat, directory, as_arg(name), 0);
    return fd;
  }
  return -EEXIST;
}

bool all_zero(const char* bytes, size_t size) {
  return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

// Soft limit on the size of files, rounded down to pages.
uint64_t file_size_limit() {
  struct rlimit limit = {};
  if (syscall6(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, as_arg(&limit)) != 0) return UINT64_MAX & ~(kPageSize - 1);
  return align_down(limit.rlim_cur, kPageSize);
}

// A path that names nothing yet stands for the directory where it would be.
int open_parent(const char* path) {
  char parent[4096];  // PATH_MAX
  const std::string_view whole(path);
  const size_t slash = whole.rfind('/');
  // "directory/" or "" names no file.
  if (whole.empty() || slash == whole.size() - 1 || whole.size() >= sizeof(parent)) return -ENOENT;
  std::string_view head = slash == std::string_view::npos ? "."
                          : slash == 0                    ? "/"
                                                          : std::string_view(whole.data(), slash);
  memcpy(parent, head.data(), head.size());
  parent[head.size()] = '\0';
  return static_cast<int>(open_at(AT_FDCWD, parent, O_RDONLY | O_DIRECTORY));
}

}  // namespace

int swap_directory(const char* path) {
  struct stat status = {};
  const long error = syscall6(SYS_newfstatat, AT_FDCWD, as_arg(path), as_arg(&status), 0);
  if (error == -ENOENT) return open_parent(path);
  if (error != 0) return static_cast<int>(error);
  if (!S_ISDIR(status.st_mode)) return -ENOTDIR;
  return static_cast<int>(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
}

const char* describe(SwapOpen result) {
  switch (result) {
    case SwapOpen::kOk:
      return "no error";
    case SwapOpen::kNotFound:
      return "no such file or directory";
    case SwapOpen::kNoAccess:
      return "permission denied";
    case SwapOpen::kReadOnly:
      return "read-only";
    case SwapOpen::kNoRoom:
      return "no space left there";
    case SwapOpen::kTooSmall:
      return "too small, at least 256 KiB and a page are needed";
    case SwapOpen::kBusy:
      return "in use by another program, mounted, or swap of the system";
    case SwapOpen::kHoldsData:
      return "holds data; only an empty file, one of zeros, or one made with mkswap is taken";
    case SwapOpen::kNotSupported:
      return "not a directory, regular file or block device that can be read and written";
    case SwapOpen::kNoDescriptors:
      return "too many open files";
    case SwapOpen::kNoMemory:
      return "not enough memory for the bookkeeping";
    case SwapOpen::kNoRandom:
      return "no random numbers for the key";
    case SwapOpen::kIoError:
      return "input/output error";
  }
  return "unknown error";
}

// False: `max_bytes` is too little.
bool SwapIo::reset(uint64_t& max_bytes, FaultInjector* faults) {
  faults_ = faults != nullptr && !faults->empty() ? faults : nullptr;
  direct_ = never_named_ = preallocated_ = readable_by_others_ = keeps_header_ = stale_ = false;
  original_bytes_ = 0;
  if (max_bytes > kMostBytes) max_bytes = kMostBytes;
  return max_bytes == 0 || max_bytes >= kLeastBytes;
}

SwapOpen SwapIo::open(const char* path, uint64_t max_bytes, FaultInjector* faults) {
  const int directory = swap_directory(path);
  if (directory >= 0) {
    const SwapOpen result = open_in(directory, max_bytes, faults);
    syscall6(SYS_close, directory);
    return result;
  }
  if (!reset(max_bytes, faults)) return SwapOpen::kTooSmall;
  struct stat status = {};
  const long error = syscall6(SYS_newfstatat, AT_FDCWD, as_arg(path), as_arg(&status), 0);
  SwapOpen result = SwapOpen::kNotSupported;
  if (error != 0 || S_ISDIR(status.st_mode))
    result = from_error(directory);
  else if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode))
    result = open_existing(path, max_bytes);
  if (result != SwapOpen::kOk) close();
  return result;
}

SwapOpen SwapIo::open_in(int directory, uint64_t max_bytes, FaultInjector* faults) {
  if (!reset(max_bytes, faults)) return SwapOpen::kTooSmall;
  const SwapOpen result = open_nameless(directory, max_bytes);
  if (result != SwapOpen::kOk) close();
  return result;
}

SwapOpen SwapIo::open_nameless(int directory, uint64_t max_bytes) {
  // O_EXCL: it can never be given a name.
  long fd = open_at(directory, ".", O_RDWR | O_TMPFILE | O_EXCL);
  // EOPNOTSUPP: this file system has none. EISDIR, ENOENT: kernels before 3.11 do not know it. EINVAL: some FUSE.
  never_named_ = fd >= 0;
  if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -ENOENT || fd == -EINVAL) fd = create_and_unlink(directory);
  if (fd < 0) return from_error(fd);
  kind_ = Kind::kNameless;
  set_fd(static_cast<int>(fd));
  const uint64_t most = file_size_limit();
  bytes_ = align_down(max_bytes < most ? max_bytes : most, kPageSize);
  if (bytes_ < kLeastBytes) return SwapOpen::kTooSmall;
  const SwapOpen result = grow_sparse();
  return result == SwapOpen::kOk ? probe() : result;
}

// Gives an empty file its final size where that costs nothing: writes within a file's size are cheaper than those that
// extend it.
SwapOpen SwapIo::grow_sparse() {
  long error = syscall6(SYS_ftruncate, fd(), static_cast<long>(file_offset(kLeastBytes)));
  if (error != 0) return from_error(error);
  struct stat status = {};
  syscall6(SYS_fstat, fd(), as_arg(&status));
  if (status.st_blocks != 0) {
    // No holes on this file system (FAT): it would fill the file with zeros up to its size.
    error = syscall6(SYS_ftruncate, fd(), 0);
    return error != 0 ? from_error(error) : SwapOpen::kOk;
  }
  // EFBIG is the file system's own limit.
  while ((error = syscall6(SYS_ftruncate, fd(), static_cast<long>(file_offset(bytes_)))) == -EFBIG &&
         bytes_ / 2 >= kLeastBytes)
    bytes_ = align_down(bytes_ / 2, kPageSize);
  return error != 0 ? from_error(error) : SwapOpen::kOk;
}

SwapOpen SwapIo::open_existing(const char* path, uint64_t max_bytes) {
  // O_EXCL without O_CREAT: a block device that is mounted or swap of the system is refused. O_NONBLOCK: whatever may
  // have come into the path's place meanwhile does not stop the program.
  long fd = open_at(AT_FDCWD, path, O_RDWR | O_EXCL | O_NONBLOCK);
  if (fd < 0) return from_error(fd);
  set_fd(static_cast<int>(fd));
  struct stat status = {};
  const long error = syscall6(SYS_fstat, fd, as_arg(&status));
  if (error != 0) return from_error(error);
  uint64_t size = 0;
  if (S_ISBLK(status.st_mode)) {
    kind_ = Kind::kDevice;
    const long end = syscall6(SYS_lseek, fd, 0, SEEK_END);
    if (end < 0) return from_error(end);
    size = static_cast<uint64_t>(end);
  } else if (S_ISREG(status.st_mode)) {
    kind_ = Kind::kNamed;
    size = static_cast<uint64_t>(status.st_size);
    preallocated_ = size != 0 && static_cast<uint64_t>(status.st_blocks) * 512 >= size;
    readable_by_others_ = (status.st_mode & 077) != 0;
  } else {
    return SwapOpen::kNotSupported;
  }
  original_bytes_ = size;
  return adopt(max_bytes);
}

SwapOpen SwapIo::adopt(uint64_t max_bytes) {
  if (kind_ == Kind::kNamed) {
    // Two programs in one file would read each other's pages. File systems without locks let it pass.
    const long error = syscall6(SYS_flock, fd(), LOCK_EX | LOCK_NB);
    if (error == -EAGAIN || error == -EINTR) return SwapOpen::kBusy;
  }
  uint64_t room = original_bytes_;
  if (kind_ == Kind::kNamed) {
    const uint64_t most = file_size_limit();
    if (room == 0 && max_bytes != 0) room = max_bytes + kHeaderBytes;
    if (room > most) room = most;
  }
  room = room > kHeaderBytes ? align_down(room - kHeaderBytes, kPageSize) : 0;
  if (max_bytes != 0 && room > max_bytes) room = align_down(max_bytes, kPageSize);
  bytes_ = room < kMostBytes ? room : kMostBytes;
  if (bytes_ < kLeastBytes) return SwapOpen::kTooSmall;
  SwapOpen result = check_content();
  if (result == SwapOpen::kOk && original_bytes_ == 0) result = grow_sparse();
  if (result == SwapOpen::kOk) result = mark_ours();
  return result == SwapOpen::kOk ? probe() : result;
}

// Whoever mistypes a path must not lose what is there.
SwapOpen SwapIo::check_content() {
  if (original_bytes_ == 0) return SwapOpen::kOk;
  auto* head = static_cast<char*>(vm_map(kCheckedBytes));
  if (head == nullptr) return SwapOpen::kNoMemory;
  const long got = syscall6(SYS_pread64, fd(), as_arg(head), kCheckedBytes, 0);
  keeps_header_ = std::string_view(head + kPageSize - kMkswapMarker.size(), kMkswapMarker.size()) == kMkswapMarker;
  stale_ = std::string_view(head, kMarker.size()) == kMarker;
  const bool usable = got > 0 && (keeps_header_ || stale_ || all_zero(head, static_cast<size_t>(got)));
  vm_unmap(head, kCheckedBytes);
  return got < 0 ? from_error(got) : usable ? SwapOpen::kOk : SwapOpen::kHoldsData;
}

// Says in the first page what this is from now on, and erases what a killed program left.
SwapOpen SwapIo::mark_ours() {
  if (stale_) erase(bytes_);
  if (keeps_header_) return SwapOpen::kOk;
  const long written = syscall6(SYS_pwrite64, fd(), as_arg(kMarker.data()), kMarker.size(), 0);
  if (written != static_cast<long>(kMarker.size())) return written < 0 ? from_error(written) : SwapOpen::kIoError;
  // Everything else goes past the page cache, so this must not stay in it alone.
  const long synced = syscall6(SYS_fdatasync, fd());
  return synced != 0 ? from_error(synced) : SwapOpen::kOk;
}

bool SwapIo::set_direct(bool wanted) {
  const long flags = syscall6(SYS_fcntl, fd(), F_GETFL);
  if (flags < 0) return false;
  const long changed = wanted ? flags | O_DIRECT : flags & ~long{O_DIRECT};
  return syscall6(SYS_fcntl, fd(), F_SETFL, changed) == 0;
}

// Writes a page and reads it back: some file systems take O_DIRECT and refuse the transfers, and a full disk shows.
SwapOpen SwapIo::probe() {
  direct_ = set_direct(true);
  auto* page = static_cast<char*>(vm_map(2 * kPageSize));
  if (page == nullptr) return SwapOpen::kNoMemory;
  memset(page, 0x5a, kPageSize);
  SwapOpen result = SwapOpen::kOk;
  for (;;) {
    Transfer t = write(page, kPageSize, 0);
    if (t.error == 0) t = read(page + kPageSize, kPageSize, 0);
    const bool same = t.error == 0 && memcmp(page, page + kPageSize, kPageSize) == 0;
    if (same) break;
    if (direct_ && (t.error == EINVAL || t.error == EOPNOTSUPP)) {
      set_direct(false);
      direct_ = false;
      continue;
    }
    result = t.error != 0 ? from_error(-t.error) : SwapOpen::kIoError;
    break;
  }
  vm_unmap(page, 2 * kPageSize);
  if (result == SwapOpen::kOk && !direct_) syscall6(SYS_fadvise64, fd(), 0, 0, POSIX_FADV_RANDOM);
  return result;
}

}  // namespace weir::os
