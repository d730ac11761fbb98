// Purpose: the thread "kcompactd": moves objects with handles together ahead of need, and when somebody asked for it.
// Thread safety: any thread, with no weir lock held but that of the settings.
// Invariants: at most one such thread in a process, from when the first object with a handle is made; it sleeps while
//             nothing comes or goes, or while compaction_proactiveness is 0. In the child of a fork there is none until
//             it is needed.
#pragma once

namespace weir {

// After an object was made or freed: starts the thread if there is none.
void kcompactd_poll();
// A setting changed (the kernel's kcompactd looks at once when compaction_proactiveness is written), or `everything` is
// to be moved together. False: there is no such thread, because none can be started now, or there is nothing for it to
// do.
[[nodiscard]] bool kcompactd_wake(bool everything);
// In the child of a fork: its parent's thread is not there.
void kcompactd_after_fork_in_child();

}  // namespace weir
