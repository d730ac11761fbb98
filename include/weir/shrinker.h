/* shrinker.h: caches that give memory back when it gets scarce.
 *
 * A program under a limit (WEIR_CONF=limit=...) registers what it could do without: how many objects there are, and
 * how to free some. weir asks for as many as the kernel would of a cache of its own (mm/shrinker.c, do_shrink_slab):
 * the shorter memory is, the larger the part. Freed objects must go back to weir (free, weir_free, operator delete).
 *
 * Without a limit nobody but weir_trim calls a shrinker, unless it is that of a heap with a limit.
 *
 * Where callbacks run: on a thread of weir's own, "weir-shrinker", which is started by the first registration under a
 * limit, or of one for a heap, and has all signals blocked; in weir_trim, on the thread that calls it; and with
 * WEIR_SHRINKER_DIRECT, also in threads that wait for memory within an allocation. The callbacks of one shrinker never
 * run on two threads at a time. What a callback may do: take locks, unless a thread that holds them waits for the
 * callback; for WEIR_SHRINKER_DIRECT, only try to take locks that are also held while memory is allocated. Allocate: it
 * is given what is free and the reserve below the watermark min, and NULL instead of a wait. Unregister any shrinker.
 * A callback must return: memory that a thread waits for is refused when its shrinker stands still for a second.
 *
 * A shrinker is to be unregistered before what it works on is gone, also when the program ends.
 *
 * In the child of a fork shrinkers are registered as in the parent, and it has such a thread of its own (without a
 * limit, from the first time on that a heap with a shrinker meets its limit: that time is over before it is there).
 *
 * Thread safety: both functions may be called from any thread, also within callbacks, but not in signal handlers.
 */
#ifndef WEIR_SHRINKER_H_
#define WEIR_SHRINKER_H_

#include <stddef.h>
#include <stdint.h>

#include "weir/heap.h"
#include "weir/weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of scan: nothing can be freed now (a lock is taken, say); the rest is asked for another time.
 * Of count: nothing can be said now; the same as 0. */
#define WEIR_SHRINK_STOP SIZE_MAX

/* What seeks usually is (the kernel's DEFAULT_SEEKS). */
#define WEIR_DEFAULT_SEEKS 2u

/* Callbacks may also run within an allocation of any thread, which they must not wait for. */
#define WEIR_SHRINKER_DIRECT 1u

struct weir_shrinker {
  size_t size;      /* sizeof(struct weir_shrinker), so that later versions may have more */
  const char* name; /* for reports; cut to 31 bytes; NULL: none */
  /* How many objects could be freed. */
  size_t (*count)(void* arg);
  /* Looks at up to `nr_to_scan` objects and frees what is of least use; returns how many were freed. */
  size_t (*scan)(void* arg, size_t nr_to_scan);
  /* What it costs to make an object again, in units of a disk seek: the more, the fewer are asked for. 0: nothing;
   * then half of all objects are asked for each time. */
  unsigned seeks;
  size_t batch; /* objects per call of scan; 0: 128. Fewer are only asked for when that is all there is */
  void* arg;
  unsigned flags; /* WEIR_SHRINKER_DIRECT or 0 */
  /* The heap that the objects lie in, or NULL. The shrinker is then also asked when that heap is at its
   * limit, before an allocation there fails; no other heap's limit asks it. When the heap is gone, it is asked as one
   * without. */
  weir_heap_t heap;
};

/* Registers a shrinker. `shrinker` is copied, its name too; its address is what unregisters it.
 * Returns 0, or -1 with errno
 *   EINVAL  a callback is missing, `size` is none that this version knows, or a flag is unknown
 *   EEXIST  a shrinker is registered under this address
 *   ENOMEM  there is no memory for the registration */
WEIR_API int weir_register_shrinker(const struct weir_shrinker* shrinker);

/* Unregisters the shrinker registered under this address; waits until its callbacks have returned, unless it is called
 * by one of them, so that no lock may be held that they take. None of them runs after that.
 * Returns 0, or -1 with errno ENOENT when none is registered. */
WEIR_API int weir_unregister_shrinker(const struct weir_shrinker* shrinker);

#ifdef __cplusplus
}
#endif
#endif /* WEIR_SHRINKER_H_ */
