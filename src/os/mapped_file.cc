#include "os/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstring>
#include <string_view>

#include "base/units.h"
#include "os/file.h"
#include "os/syscall.h"
#include "os/vm.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451  // the same on all machines; Linux 6.5
#endif

namespace weir::os {
namespace {

// linux/mman.h of 6.5, which is newer than the headers.
struct CachestatRange {
  uint64_t offset;
  uint64_t bytes;
};
struct Cachestat {
  uint64_t cached;
  uint64_t dirty;
  uint64_t writeback;
  uint64_t evicted;
  uint64_t recently_evicted;
};

// Of linux/fs.h.
constexpr long kWaitBefore = 1, kWrite = 2, kWaitAfter = 4;

// Of /proc/PID/maps: the longest path, and what stands in front of it.
constexpr size_t kLongestLine = PATH_MAX + 128;
constexpr size_t kBufferBytes = 4 * kLongestLine;

// What stands in a line of it.
struct MapsLine {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t offset = 0;
  uint64_t device = 0;
  uint64_t inode = 0;
  std::string_view path;
};

bool take_number(std::string_view& text, unsigned base, char stop, uint64_t& value) {
  value = 0;
  size_t i = 0;
  for (; i < text.size() && text[i] != stop; ++i) {
    const char c = text[i];
    const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                           : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10)
                                                  : base;
    if (digit >= base) return false;
    value = value * base + digit;
  }
  if (i == 0 || i == text.size()) return false;
  text.remove_prefix(i + 1);
  return true;
}

// "7f00-7f08 rw-s 00000000 fe:00 1234      /a/path"
bool parse_line(std::string_view text, MapsLine& line) {
  uint64_t major = 0, minor = 0;
  constexpr size_t kFlags = sizeof("rw-s");
  if (!take_number(text, 16, '-', line.begin) || !take_number(text, 16, ' ', line.end)) return false;
  if (text.size() < kFlags) return false;
  text.remove_prefix(kFlags);
  if (!take_number(text, 16, ' ', line.offset) || !take_number(text, 16, ':', major) ||
      !take_number(text, 16, ' ', minor) || !take_number(text, 10, ' ', line.inode))
    return false;
  line.device = makedev(static_cast<unsigned>(major), static_cast<unsigned>(minor));
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  line.path = text;
  return true;
}

// Finds the line of an address in an open file of them; its path ends with a NUL, in the buffer.
bool find_line(int maps, uint64_t address, char* buffer, MapsLine& line) {
  size_t filled = 0;
  for (;;) {
    const long got = syscall6(SYS_read, maps, as_arg(buffer + filled), static_cast<long>(kBufferBytes - filled));
    if (got == -EINTR) continue;
    if (got <= 0) return false;
    filled += static_cast<size_t>(got);
    size_t begin = 0;
    for (char* end; (end = static_cast<char*>(memchr(buffer + begin, '\n', filled - begin))) != nullptr;) {
      *end = '\0';
      const std::string_view text(buffer + begin, static_cast<size_t>(end - (buffer + begin)));
      if (parse_line(text, line) && line.end > address) return line.begin <= address;
      begin = static_cast<size_t>(end - buffer) + 1;
    }
    if (begin == 0 && filled == kBufferBytes) return false;
    memmove(buffer, buffer + begin, filled - begin);
    filled -= begin;
  }
}

// Opens the file of that name, if it is the one that is mapped.
int open_named(const MapsLine& line) {
  if (line.path.empty() || line.path.front() != '/') return -ENOENT;
  const long fd = syscall6(SYS_openat, AT_FDCWD, as_arg(line.path.data()),
                           O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW, 0);
  if (fd < 0) return static_cast<int>(fd);
  struct stat status = {};
  const bool is_it = syscall6(SYS_fstat, fd, as_arg(&status)) == 0 && S_ISREG(status.st_mode) &&
                     status.st_ino == line.inode && status.st_dev == line.device;
  if (is_it) return static_cast<int>(fd);
  close_descriptor(static_cast<int>(fd));
  return -ESTALE;
}

}  // namespace

bool open_mapped_file(int proc, const void* address, MappedAt& result) {
  const long maps = syscall6(SYS_openat, proc, as_arg("self/maps"), O_RDONLY | O_CLOEXEC, 0);
  if (maps < 0) return false;
  const size_t bytes = align_up(kBufferBytes, kPageSize);
  auto* const buffer = static_cast<char*>(vm_map(bytes));
  MapsLine line;
  const auto at = reinterpret_cast<uintptr_t>(address);
  if (buffer != nullptr && find_line(static_cast<int>(maps), at, buffer, line)) {
    result.fd = open_named(line);
    result.offset = line.offset + (at - line.begin);
  }
  if (buffer != nullptr) vm_unmap(buffer, bytes);
  close_descriptor(static_cast<int>(maps));
  return result.fd >= 0;
}

bool cached_pages(int fd, uint64_t offset, uint64_t bytes, CachedPages& result) {
  const CachestatRange range = {offset, bytes};
  Cachestat state = {};
  if (syscall6(SYS_cachestat, fd, as_arg(&range), as_arg(&state), 0) != 0) return false;
  result = {state.dirty, state.writeback};
  return true;
}

long write_dirty_pages(int fd, uint64_t offset, uint64_t bytes, bool wait) {
  const long how = wait ? kWaitBefore | kWrite | kWaitAfter : kWrite;
  return syscall6(SYS_sync_file_range, fd, static_cast<long>(offset), static_cast<long>(bytes), how);
}

}  // namespace weir::os
