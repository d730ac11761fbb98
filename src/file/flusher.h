// Purpose: has what the program changed in its mapped files written to their disks: from time to time what has been
//          dirty for long, and at once what is more than a share of memory (kernel: fs/fs-writeback.c, and the
//          thresholds of mm/page-writeback.c).
// Thread safety: one thread, which has a descriptor table that is not the program's; the numbers may be read by any.
// Invariants: only what writing back does anyway happens, sooner: nothing is lost or changed, whatever the program does
//             meanwhile. A descriptor is kept no longer than until the first round after its mapping was given up.
//
// A file is opened once more by the name that it is mapped under. One that has none any more, or lies where names are
// not the file's own (overlayfs, btrfs), is left to the kernel.
#pragma once

#include <cstdint>

#include "base/live.h"
#include "base/units.h"
#include "file/file_pages.h"
#include "os/mapped_file.h"

namespace weir {

struct FlushPolicy {
  uint64_t background = 0;   // pages: more than that is written down to it, oldest first
  uint64_t most = 0;         // pages: above that it is also waited for, and looked at often
  uint64_t expire_ms = 0;    // what has been dirty for so long is written
  uint64_t interval_ms = 0;  // between two rounds; 0: there are none
};

class Flusher {
 public:
  // Mappings beyond that are left to the kernel.
  static constexpr unsigned kMost = 256;
  static constexpr uint64_t kNever = UINT64_MAX;

  // Looks at all writable mappings of `files`, and has written what is to be. `proc`: an open /proc. Returns in how
  // many ms the next round is due.
  uint64_t run(FilePages& files, const FlushPolicy& policy, int proc, uint64_t now_ms);
  // In the child of a fork, whose descriptors these are not.
  void forget() {
    count_ = 0;
    dirty_ = writeback_ = 0;
  }
  // Whether a file is kept open; by any thread.
  bool holds_any() const { return count_ != 0; }

  // At the last round, in pages; and pages that were written since the beginning. Before Linux 6.5 nobody can tell.
  Pages dirty() const { return Pages(dirty_); }
  Pages writeback() const { return Pages(writeback_); }
  uint64_t written() const { return written_; }

 private:
  struct File {
    uint64_t serial;  // of the mapping
    uint64_t bytes;
    os::MappedAt at;
    uint64_t dirty;           // pages
    uint64_t dirty_since_ms;  // 0: it is clean
    bool seen;                // in this round
    bool is_known;            // the kernel tells what is dirty
  };

  File* find(const FilePages::Writable& mapping, int proc, unsigned& opened);
  void look(File& file, uint64_t now_ms);
  void close_unseen();
  File* oldest_dirty();
  void write(File& file, bool wait, uint64_t& dirty);

  File files_[kMost] = {};
  Live<unsigned> count_;
  Live<uint64_t> dirty_, writeback_, written_;
};

}  // namespace weir
