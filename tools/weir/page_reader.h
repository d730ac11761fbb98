// Purpose: finds the statistics page of another process, which takes no notice of it, and copies it
// (weir/stats_page.h). Thread safety: functions of the file system.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace weir::tool {

enum class PageStatus : uint8_t {
  kRead,          // here it is
  kNoProcess,     // there is no such process, or it ended meanwhile
  kNotPermitted,  // it belongs to somebody else
  kTraceOnly,     // its user's processes may not read each other (Yama)
  kNotOnWeir,     // it has no page
  kOtherVersion,  // its page is of a version of weir that is not understood
};

struct PageCopy {
  PageStatus status = PageStatus::kNotOnWeir;
  std::vector<uint64_t> words;  // the page, aligned, when it was read
};

// In words, as the end of a sentence about a process.
[[nodiscard]] std::string describe(PageStatus status);

// A file that is closed at the end: the memory of a process, or its memfd.
class PageFile {
 public:
  explicit PageFile(const std::string& path, bool writable = false);
  ~PageFile();
  PageFile(PageFile&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  PageFile& operator=(PageFile&&) = delete;
  explicit operator bool() const { return fd_ >= 0; }
  [[nodiscard]] int fd() const { return fd_; }
  // All of it, or false.
  [[nodiscard]] bool read(void* to, size_t bytes, uint64_t at) const;
  [[nodiscard]] bool write(const void* from, size_t bytes, uint64_t at) const;
  // As much as there is.
  [[nodiscard]] size_t read_some(void* to, size_t bytes, uint64_t at) const;

 private:
  int fd_;
};

// Where the page is.
struct FoundPage {
  PageStatus status = PageStatus::kNotOnWeir;
  std::optional<PageFile> file;  // when the status is kRead
  uint64_t at = 0;
  bool in_memory = false;  // `file` is the memory of the process, which ends when that does, or becomes another program
};

// For writing, that is the memfd if there is one, so that all who write use the same file.
enum class Access : uint8_t { kRead, kWrite };
[[nodiscard]] FoundPage find_page(pid_t pid, Access access);

// A page that was found, checked: all that its head says lies within it.
[[nodiscard]] PageCopy copy_page(const PageFile& file, uint64_t at);
[[nodiscard]] PageCopy read_page(pid_t pid);

// Reads the page of one process again and again: looks for it once, because its list of mappings costs the process a
// lock and the reader most of its time.
class PageReader {
 public:
  explicit PageReader(pid_t pid) : pid_(pid) {}
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] PageCopy read();

 private:
  pid_t pid_;
  std::optional<FoundPage> known_;
};

}  // namespace weir::tool
