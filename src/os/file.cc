#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include <cstdint>
#include <cstring>

#include "os/syscall.h"

namespace weir::os {
namespace {

// What getdents64(2) writes; glibc's struct dirent64 has the same layout but a fixed-size name.
struct DirectoryEntry {
  uint64_t inode;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[];
};

long open_at(int directory, const char* path, int flags) {
  long fd;
  do {
    fd = syscall6(SYS_openat, directory, as_arg(path), flags | O_CLOEXEC);
  } while (fd == -EINTR);
  return fd;
}

bool is_dot(const char* name) {
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

}  // namespace

bool is_on_disk(int fd) {
  // linux/magic.h; that of ramfs stands nowhere else.
  constexpr unsigned long kTmpfs = 0x01021994, kRamfs = 0x858458f6, kHugetlbfs = 0x958458f6;
  struct stat status = {};
  struct statfs system = {};
  if (syscall6(SYS_fstat, fd, as_arg(&status)) != 0 || !S_ISREG(status.st_mode)) return false;
  if (syscall6(SYS_fstatfs, fd, as_arg(&system)) != 0) return false;
  const auto type = static_cast<unsigned long>(system.f_type);
  return type != kTmpfs && type != kRamfs && type != kHugetlbfs;
}

int open_directory_at(int directory, const char* path) {
  return static_cast<int>(open_at(directory, path, O_RDONLY | O_DIRECTORY));
}

int open_directory(const char* path) {
  return open_directory_at(AT_FDCWD, path);
}

int open_read_write(const char* path) {
  return static_cast<int>(syscall6(SYS_openat, AT_FDCWD, as_arg(path), O_RDWR | O_CLOEXEC | O_NOCTTY, 0));
}

void set_nonblocking(int fd, bool on) {
  int value = on ? 1 : 0;
  syscall6(SYS_ioctl, fd, FIONBIO, as_arg(&value));
}

uint32_t wait_readable(const int* fds, unsigned count) {
  constexpr unsigned kMost = 16;
  struct pollfd set[kMost];
  if (count > kMost) count = kMost;
  for (unsigned i = 0; i < count; ++i) set[i] = {fds[i], POLLIN, 0};
  syscall6(SYS_ppoll, as_arg(set), count, 0, 0, 0);
  uint32_t readable = 0;
  for (unsigned i = 0; i < count; ++i) readable |= uint32_t{set[i].revents != 0} << i;
  return readable;
}

bool make_pipe(int ends[2]) {
  return syscall6(SYS_pipe2, as_arg(ends), O_CLOEXEC | O_NONBLOCK) == 0;
}

bool is_hung_up(int fd) {
  struct pollfd one = {fd, 0, 0};
  const struct timespec at_once = {0, 0};
  return syscall6(SYS_ppoll, as_arg(&one), 1, as_arg(&at_once), 0, 0) > 0 && (one.revents & POLLHUP) != 0;
}

void close_descriptor(int fd) {
  syscall6(SYS_close, fd);
}

ssize_t read_small_file_at(int directory, const char* path, char* buffer, size_t capacity) {
  // O_NONBLOCK: a FIFO in the place of the file must not stop the program in its first malloc.
  const long fd = open_at(directory, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return fd;
  size_t size = 0;
  long got = 0;
  while (size < capacity) {
    got = syscall6(SYS_read, fd, as_arg(buffer + size), static_cast<long>(capacity - size));
    if (got == -EINTR) continue;
    if (got <= 0) break;
    size += static_cast<size_t>(got);
  }
  close_descriptor(static_cast<int>(fd));
  return got < 0 ? got : static_cast<ssize_t>(size);
}

ssize_t read_small_file(const char* path, char* buffer, size_t capacity) {
  return read_small_file_at(AT_FDCWD, path, buffer, capacity);
}

int list_directory(int directory, bool (*each)(void* context, const char* name), void* context) {
  // The offset may stand anywhere from an earlier listing.
  const long start = syscall6(SYS_lseek, directory, 0, 0 /* SEEK_SET */);
  if (start < 0) return static_cast<int>(start);
  // Some 60 entries of /sys a call, and small enough for the stack of a thread that makes the first malloc.
  alignas(DirectoryEntry) char buffer[2048];
  for (;;) {
    const long got = syscall6(SYS_getdents64, directory, as_arg(buffer), sizeof(buffer));
    if (got == -EINTR) continue;
    if (got <= 0) return static_cast<int>(got);
    for (long at = 0; at < got;) {
      const auto* entry = reinterpret_cast<const DirectoryEntry*>(buffer + at);
      if (!is_dot(entry->name) && !each(context, entry->name)) return 0;
      at += entry->length;
    }
  }
}

}  // namespace weir::os
