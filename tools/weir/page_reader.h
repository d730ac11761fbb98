// Purpose: copies the statistics page out of another process, which takes no notice of it (weir/stats_page.h).
// Thread safety: functions of the file system.
#pragma once

#include <sys/types.h>

#include <cstdint>
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

// The page of a process, checked: all that its head says lies within it.
[[nodiscard]] PageCopy read_page(pid_t pid);

}  // namespace weir::tool
