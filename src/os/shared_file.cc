#include "os/shared_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "os/syscall.h"

namespace weir::os {
namespace {

long lock_request(int fd, int command, short type, uint64_t byte, struct flock& lock) {
  lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(byte);
  lock.l_len = 1;
  return syscall6(SYS_fcntl, fd, command, as_arg(&lock));
}

bool describe(int fd, struct stat& status) {
  return syscall6(SYS_newfstatat, fd, as_arg(""), as_arg(&status), AT_EMPTY_PATH) == 0;
}

bool is_private(int fd) {
  struct stat status = {};
  if (!describe(fd, status)) return false;
  constexpr mode_t kOthersMayWrite = S_IWGRP | S_IWOTH;
  return S_ISREG(status.st_mode) && status.st_uid == static_cast<uid_t>(syscall6(SYS_geteuid)) &&
         (status.st_mode & kOthersMayWrite) == 0;
}

}  // namespace

int open_shared_file(const char* path) {
  long fd;
  do {
    fd = syscall6(SYS_openat, AT_FDCWD, as_arg(path), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
  } while (fd == -EINTR);
  if (fd < 0 || is_private(static_cast<int>(fd))) return static_cast<int>(fd);
  syscall6(SYS_close, fd);
  return -EPERM;
}

bool reserve_file(int fd, size_t offset, size_t bytes) {
  long result;
  do {
    result = syscall6(SYS_fallocate, fd, 0, static_cast<long>(offset), static_cast<long>(bytes));
  } while (result == -EINTR);
  return result == 0;
}

void* map_shared_file(int fd, size_t bytes) {
  const long address = syscall6(SYS_mmap, 0, static_cast<long>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  // Errors are -4095..-1; every other value is an address.
  return address >= 0 || address < -4095 ? reinterpret_cast<void*>(address) : nullptr;
}

bool has_name(int fd) {
  struct stat status = {};
  return describe(fd, status) && status.st_nlink != 0;
}

bool try_lock_byte(int fd, uint64_t byte) {
  struct flock lock;
  return lock_request(fd, F_SETLK, F_WRLCK, byte, lock) == 0;
}

void unlock_byte(int fd, uint64_t byte) {
  struct flock lock;
  lock_request(fd, F_SETLK, F_UNLCK, byte, lock);
}

bool is_byte_locked(int fd, uint64_t byte) {
  struct flock lock;
  return lock_request(fd, F_GETLK, F_WRLCK, byte, lock) != 0 || lock.l_type != F_UNLCK;
}

int holder_of_byte(int fd, uint64_t byte) {
  struct flock lock;
  const bool locked = lock_request(fd, F_GETLK, F_WRLCK, byte, lock) == 0 && lock.l_type != F_UNLCK;
  return locked && lock.l_pid > 0 ? lock.l_pid : 0;
}

}  // namespace weir::os
