// Purpose: the userfaultfds of the process. Each serves its stripes of every arena, so that threads which fault in
//          different places are served by different handlers.
// Thread safety: constant once open; in the child of a fork opened anew before anybody else runs.
// Invariants: a stripe and its staging addresses belong to the same userfaultfd, because pages move only within one.
#pragma once

#include <cstdint>

#include "reclaim/cluster.h"

namespace weir {

struct Shards {
  static constexpr unsigned kMost = 64;
  // Stripes are 16 MiB: small enough that the working sets of two threads lie in several, and large enough that
  // registering splits an arena of 64 GiB into 4096 mappings, a sixteenth of what Linux allows a process.
  static constexpr unsigned kStripeShift = 24 - kPageShift - kClusterShift;

  unsigned count = 0;
  int fds[kMost] = {};
  // The kernel moves pages (UFFDIO_MOVE). Otherwise they are lifted (lift.cc), which needs the next two.
  bool move = true;
  // /proc, and a file that tells of pinned pages (os::has_registered_pages); or negative.
  int proc = -1;
  int status = -1;
  // Pages can be given back without lifting them (drop_in_place.cc).
  bool drop_in_place = false;
  // The kernel reports writes to present pages: what was brought back and not written since need not be stored again.
  bool write_protect = false;

  // A page can be poisoned: a touch of it raises SIGBUS. Otherwise it is made inaccessible, which is SIGSEGV.
  bool poison = true;
  const char* signal_of_lost() const { return poison ? "SIGBUS" : "SIGSEGV"; }

  // Asks a thread of weir's own to wake all who wait for a page; they look again.
  std::atomic<bool> wake_wanted{false};
  void ask_for_wake() { wake_wanted.store(true); }

  static constexpr bool is_in_one_stripe(ClusterId a, ClusterId b) { return a >> kStripeShift == b >> kStripeShift; }
  unsigned shard_of(ClusterId c) const { return (c >> kStripeShift) % count; }
  int fd_of(ClusterId c) const { return fds[shard_of(c)]; }
};

}  // namespace weir
