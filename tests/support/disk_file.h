// Purpose: for tests, a file on a disk whose pages tell which they are, and that nobody sees.
// Thread safety: none. Invariants: gone when the object is.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/units.h"

namespace weir {

class DiskFile {
 public:
  explicit DiskFile(size_t pages) : pages_(pages) {
    fd_ = open_nameless();
    std::vector<uint64_t> page(kPageSize / sizeof(uint64_t));
    for (size_t i = 0; i < pages && fd_ >= 0; ++i) {
      for (uint64_t& word : page) word = word_of(i);
      if (pwrite(fd_, page.data(), kPageSize, static_cast<off_t>(i * kPageSize)) != static_cast<ssize_t>(kPageSize))
        ADD_FAILURE() << "no room";
    }
  }
  ~DiskFile() {
    if (fd_ >= 0) close(fd_);
  }
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;

  // A new file that has no name any more. Not in /tmp, which may be memory; and not by O_TMPFILE, which overlayfs has
  // only since Linux 6.3. Negative: there is no room.
  static int open_nameless() {
    char path[] = "/var/tmp/weir-test-XXXXXX";
    const int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) unlink(path);
    return fd;
  }

  int fd() const { return fd_; }
  size_t pages() const { return pages_; }
  size_t bytes() const { return pages_ * kPageSize; }
  static uint64_t word_of(size_t page) { return page * 0x9e3779b97f4a7c15u + 1; }
  // Null when it cannot be mapped.
  char* map(int protection, int flags, size_t first = 0) const {
    void* p = mmap(nullptr, bytes() - first * kPageSize, protection, flags, fd_, static_cast<off_t>(first * kPageSize));
    return p == MAP_FAILED ? nullptr : static_cast<char*>(p);
  }

 private:
  int fd_;
  size_t pages_;
};

// A file of zeros that has a name, and is mapped for writing.
class MappedFile {
 public:
  explicit MappedFile(size_t pages) : bytes_(pages * kPageSize) {
    char path[] = "/var/tmp/weir-test-XXXXXX";
    fd_ = mkostemp(path, O_CLOEXEC);
    path_ = path;
    if (fd_ < 0 || ftruncate(fd_, static_cast<off_t>(bytes_)) != 0) abort();
    void* p = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (p == MAP_FAILED) abort();
    begin_ = static_cast<char*>(p);
  }
  ~MappedFile() {
    munmap(begin_, bytes_);
    close(fd_);
    unlink(path_.c_str());
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  char* begin() const { return begin_; }
  size_t bytes() const { return bytes_; }
  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  void dirty(size_t first, size_t pages) const {
    for (size_t i = first; i < first + pages; ++i) ++begin_[i * kPageSize];
  }

 private:
  char* begin_;
  size_t bytes_;
  int fd_;
  std::string path_;
};

inline uint64_t first_word(const char* page) {
  return *reinterpret_cast<const volatile uint64_t*>(page);
}

}  // namespace weir
