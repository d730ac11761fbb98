/* weir/movable.h: objects that weir may move to other addresses while nobody uses them.
 *
 * What malloc returns stays where it is, and a heap that has lived for long is full of gaps: enough is free, but
 * nowhere side by side. For buffers that are large, live long and are used now and then (blocks of a cache, columns,
 * images) a program can take a handle instead of a pointer:
 *
 *     weir_movable_t block = weir_movable_alloc(bytes);
 *     char* p = weir_movable_pin(block);         the object stays here
 *     ... p[0] to p[bytes - 1] ...
 *     weir_movable_unpin(block);                 p is worth nothing from here on
 *     weir_movable_free(block);
 *
 * Between its pins an object is moved, as the kernel moves pages (mm/compaction.c): at once, for an allocation that
 * needs pages side by side where the address space has no more room for them (ulimit -v, overcommit), if free memory is
 * in many pieces (vm.extfrag_threshold); by a thread of weir's own, "kcompactd", when most of what is free is in small
 * pieces (vm.compaction_proactiveness); and when somebody asks for it: weir_movable_compact, or
 * `weir set PID vm.compact_memory=1`. The counters compact_* and pgmigrate_* tell what was done.
 *
 * An object takes whole pages of 4 KiB, aligned to them. It belongs to the heap as all others do: it counts within the
 * limit, and is swapped, pinned or not. Where moving it would mean to bring it back from there, it is left alone,
 * unless an allocation would fail without it. Where pages cannot be swapped, because the kernel lets weir see no faults
 * (`weir doctor` tells), objects that nobody has pinned are compressed all the same, those first that were not pinned
 * for the longest time; a pin brings the whole object back. While something hangs on its addresses (mlock, mprotect,
 * madvise, a read that a device is busy with), it must stay pinned.
 *
 * A pin costs some nanoseconds, and a wait while the object is being moved: as long as copying it takes. One that
 * brings the object back waits for memory, too, and exceeds the limit where there is none to be had.
 *
 * In the child of a fork handles are valid as in the parent, and what threads of the parent had pinned stays pinned.
 *
 * Mistakes (a handle that is none or whose object is gone, an unpin too many, freeing what is pinned) are reported on
 * stderr in one line, and the process aborts.
 *
 * Thread safety: every function may be called from any thread at any time, except in signal handlers; a handle that is
 * freed by one thread must not be used by another one any more, as with pointers.
 */
#ifndef WEIR_MOVABLE_H_
#define WEIR_MOVABLE_H_

#include <stddef.h>

#include "weir/weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An object that may move. The same value is never given out again while anybody may remember it. */
typedef struct weir_movable* weir_movable_t;

/* Makes an object of `size` bytes, which read as zeros; 0 is taken for 1. It is not pinned.
 * Returns NULL with errno ENOMEM when there is no memory, or `size` exceeds PTRDIFF_MAX. */
WEIR_API weir_movable_t weir_movable_alloc(size_t size);

/* Frees an object that nobody has pinned; NULL is ignored, errno is kept. */
WEIR_API void weir_movable_free(weir_movable_t object);

/* Where the object is, and stays until it has been unpinned as often as it was pinned (up to 2^29 - 1 times at once).
 * Never NULL. */
WEIR_API void* weir_movable_pin(weir_movable_t object);
WEIR_API void weir_movable_unpin(weir_movable_t object);

/* The bytes that were asked for. */
WEIR_API size_t weir_movable_size(weir_movable_t object);

/* Moves all objects that are not pinned together now, in the calling thread. Returns how many bytes were moved. */
WEIR_API size_t weir_movable_compact(void);

#ifdef __cplusplus
}
#endif
#endif /* WEIR_MOVABLE_H_ */
