// Purpose: a limit that is the cgroup's (limit=cgroup, as under weir run without --limit) follows it while the program
//          runs, and leaves room to the others in the group; who wants to hear of its lack of memory is told.
// Thread safety: any of weir's threads, with no lock held.
#pragma once

namespace weir {

// Looks once a second whether the limit of the process's groups is another one now (memory.max, memory.high, and
// memory.limit_in_bytes of version 1), and takes it over. A limit that is gone leaves the last one in force: there must
// be one for pages to be swapped. And whether a group is nearly full, whoever fills it, and how often its limit was met
// (memory.events, memory.failcnt): then weir's part is made smaller than the limit.
void follow_cgroup();

// Somebody wants to hear of a group's lack of memory: what happens from here on counts. By a thread of the program,
// with no lock held.
void follow_cgroup_from_now();

}  // namespace weir
