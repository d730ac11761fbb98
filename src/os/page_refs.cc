#include "os/page_refs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "base/check.h"
#include "os/file.h"
#include "os/syscall.h"

namespace weir::os {

bool PageRefs::open(Pages most) {
  int ends[2];
  read_ = write_ = null_ = -1;
  held_ = 0;
  most_ = most;
  if (!make_pipe(ends)) return false;
  read_ = ends[0];
  write_ = ends[1];
  null_ = open_read_write("/dev/null");  // not everywhere: a program may have changed its root
  // Each page takes an entry, of which there is one for each page that the pipe could copy.
  if (syscall6(SYS_fcntl, write_, F_SETPIPE_SZ, static_cast<long>(bytes_of(most))) >= static_cast<long>(bytes_of(most)))
    return true;
  close();
  return false;
}

void PageRefs::close() {
  if (!is_open()) return;
  close_descriptor(read_);
  close_descriptor(write_);
  if (null_ >= 0) close_descriptor(null_);
  read_ = write_ = null_ = -1;
  held_ = 0;
}

bool PageRefs::take(const VmRange* ranges, unsigned count) {
  size_t bytes = 0;
  for (unsigned i = 0; i < count; ++i) bytes += ranges[i].bytes;
  WEIR_DCHECK(held_ == 0 && bytes <= bytes_of(most_));
  const long taken = syscall6(SYS_vmsplice, write_, as_arg(ranges), count, 0);
  held_ = taken < 0 ? 0 : static_cast<size_t>(taken);
  if (held_ == bytes) return true;
  drop();
  return false;
}

void PageRefs::copy_out(char* to) {
  while (held_ != 0) {
    const long got = syscall6(SYS_read, read_, as_arg(to), static_cast<long>(held_));
    if (got == -EINTR) continue;
    WEIR_CHECK(got > 0);  // they are there, and so is `to`
    to += got;
    held_ -= static_cast<size_t>(got);
  }
}

void PageRefs::drop() {
  while (held_ != 0) {
    const long gone = syscall6(SYS_splice, read_, 0, null_, 0, static_cast<long>(held_), 0);
    if (gone <= 0) break;
    held_ -= static_cast<size_t>(gone);
  }
  if (held_ == 0) return;
  // Closing gives up all at once; but whether there may be another pipe is not up to us.
  close();
  static_cast<void>(open(most_));
}

}  // namespace weir::os
