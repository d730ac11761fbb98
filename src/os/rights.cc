#include "os/rights.h"

#include <cstddef>
#include <string_view>

#include "os/file.h"

namespace weir::os {
namespace {

// The file is some 1400 bytes, and up to 11 a group more: hundreds of them, on a stack that is not large.
struct Status {
  char text[4096];
  std::string_view read;

  [[nodiscard]] bool read_from(int proc, const char* path) {
    const ssize_t bytes = read_small_file_at(proc, path, text, sizeof(text));
    if (bytes <= 0 || static_cast<size_t>(bytes) == sizeof(text)) return false;
    read = {text, static_cast<size_t>(bytes)};
    return true;
  }

  // The line that begins so; empty: there is none. (A thread's name, which comes before, has no line of its own.)
  std::string_view line(std::string_view key) const {
    const size_t at = read.find(key);
    if (at == std::string_view::npos) return {};
    std::string_view found = read;
    found.remove_prefix(at + 1);
    const size_t end = found.find('\n');
    if (end != std::string_view::npos) found.remove_suffix(found.size() - end);
    return found;
  }
};

}  // namespace

bool has_rights_of_process(int proc) {
  if (proc < 0) return false;
  Status own, process;
  if (!own.read_from(proc, "thread-self/status") || !process.read_from(proc, "self/status")) return false;
  for (const std::string_view key : {"\nUid:", "\nGid:", "\nGroups:", "\nCapEff:"})
    if (own.line(key).empty() || own.line(key) != process.line(key)) return false;
  return true;
}

}  // namespace weir::os
