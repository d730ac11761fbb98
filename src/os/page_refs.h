// Purpose: references to pages, by which the kernel keeps them and what they hold however short of memory it is: a pipe
//          that they are spliced into (vmsplice).
//          They are to the pages that were at the addresses: of one that is shared with a child of a fork, or was, the
//          first write makes a copy, at the same address, that nothing refers to.
// Thread safety: one thread, of whose descriptors the pipe is; a child of a fork opens its own.
// Invariants: errno is never touched; nothing waits but for pages that are missing (userfaultfd).
#pragma once

#include <cstddef>

#include "base/units.h"
#include "os/vm.h"

namespace weir::os {

class PageRefs {
 public:
  // Whatever it was before is forgotten. `most`: how many pages can be held at a time. False: there are no descriptors,
  // or the user may not have so large a pipe (pipe-max-size, pipe-user-pages-soft in /proc/sys/fs).
  [[nodiscard]] bool open(Pages most);
  bool is_open() const { return read_ >= 0; }
  void close();
  // Holds the pages of the ranges, which are whole pages; false: not all of them, and so none. Nothing was held before.
  [[nodiscard]] bool take(const VmRange* ranges, unsigned count);
  // Copies what is held to `to`, one range behind the other, and holds nothing any more.
  void copy_out(char* to);
  // Holds nothing any more.
  void drop();

 private:
  int read_ = -1, write_ = -1, null_ = -1;
  Pages most_{};
  size_t held_ = 0;  // bytes
};

}  // namespace weir::os
