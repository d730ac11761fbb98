/* weir/heap.h: registered heaps: parts of a program's memory with a name, a limit and statistics of their own, that can
 * be given back at once with all that is in them. weir/heap.hpp has the same for C++.
 *
 * Thread safety: every function may be called from any thread at any time, except in signal handlers. Objects of a heap
 * may be freed by any thread, with weir_free, and with the program's own free where that is weir's.
 *
 * Invariants: what is charged to a heap are the pages of its slabs (16 to 128 KiB for objects of up to 16 KiB) and of
 * its large objects, exactly: from before they are taken until after they were given back, whether they were touched or
 * not. An empty heap is charged nothing. The limit of a heap is on the charged pages that are in memory: those that lie
 * in compressed memory or a swap file do not count (what compressed pages take counts for the process). So where the
 * process has a limit and pages can be swapped, a heap at its limit first loses what it does not use, then its cold
 * pages go, and only when nothing can go do its allocations fail; everywhere else the limit is on all that is charged
 * and holds at every moment. A touch brings pages back: others of the heap leave before that, but if none can, the
 * touch is served all the same, and the heap is above its limit. An object stays in the heap that it was allocated in.
 * A thread that allocates in the same heap several times in a row keeps some free objects of up to 1 KiB of it at hand
 * (at most some hundred KiB); the heap pays for them, and they count as in use. They go back when the thread allocates
 * in another heap for a while, calls weir_trim, or ends. With WEIR_CONF=tcache=0 nothing is kept, and every second free
 * is found at once.
 *
 * A heap costs about 300 bytes, and 4 or 8 KiB more once it is used; there may be 65535.
 *
 * A forked child has copies of all heaps, with the same handles. A heap that another thread was destroying during the
 * fork is gone there, but what had not been given back yet is lost to the child, as the caches of other threads are.
 */
#ifndef WEIR_HEAP_H_
#define WEIR_HEAP_H_

#include <stddef.h>
#include <stdint.h>

#include "weir/weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A handle: a value that is never NULL for a heap, points to nothing, and is never used again for another heap.
 * Functions that get a handle of a heap that was destroyed, or a value that never was a handle, say EINVAL. */
typedef struct weir_heap* weir_heap_t;

/* Bytes of the longest name, with its NUL. */
#define WEIR_HEAP_NAME 64

/* The node of the thread that makes the heap. */
#define WEIR_HEAP_ANY_NODE (-1)

/* When memory runs out: the process has a limit, and 16 rounds of reclaim in a row freed nothing. Then somebody is
 * chosen as by the kernel (oom_badness): the one with the most
 *   points = pages in memory + pages swapped out + oom_score_adj * ((limit + swap file) / 1000)
 * of all heaps and the program's other memory (settings oom and oom_score_adj); who has -1000 never is, nor who holds
 * nothing; of equals the one that was made last is. Who asks is chosen like everybody else, unless the
 * option oom_kill_allocating_task is set. What it comes to is the chosen heap's policy; when that frees nothing, the
 * next one is chosen for the same allocation, unless it is the chosen heap's own. A report in the kernel's layout goes
 * to stderr (oom_dump_tasks), WEIR_EVENT_OOM to who wants to hear of it (weir/events.h).
 *
 * In a pool (weir/pool.h) the heaps of all members and the processes themselves stand in one list, of each the 31 heaps
 * with most points, and limit and swap file are the sum of all. A heap of another process loses what it has as its
 * policy says; one whose process does not react within a second is passed over. Another process is chosen only if it
 * has oom=kill: it gets SIGTERM, and SIGKILL if it has not ended 5 s later; who asked waits for that.
 *
 * A heap with -1000 that has grown most since the last time that somebody was chosen leaks, as far as anybody can tell:
 * rather than feed it with one heap after the other, its own allocations fail until it has given back an eighth of what
 * it had then. A heap that is only at its own limit chooses nobody: its allocation fails. */
enum weir_heap_oom {
  /* Its allocations that need pages fail until it has given back an eighth of what it holds now. */
  WEIR_HEAP_OOM_FAIL = 0,
  /* It is emptied. Its handle is stale for everything but weir_heap_destroy, which must still be called: until then no
   * address of it is used again, and touching one writes a line to stderr and raises SIGBUS (before Linux 6.6 SIGSEGV;
   * where pages cannot be swapped, too, without the line). Objects may still be freed. */
  WEIR_HEAP_OOM_RELEASE = 1,
  WEIR_HEAP_OOM_ABORT = 2, /* the process is aborted */
};

/* What on_oom returns. */
enum weir_heap_answer {
  WEIR_HEAP_MAY_GO = 0, /* the heap may be emptied; it is not if enough of it was freed meanwhile */
  WEIR_HEAP_STAYS = 1,  /* it must not be: somebody else is chosen */
};

/* What a heap is made with. Begin with WEIR_HEAP_OPTIONS_INIT, which says nothing special. */
typedef struct weir_heap_options {
  size_t size; /* of the structure as the program was compiled with it */
  /* Bytes in memory above which the heap loses pages before all others when its node is short of free pages (below the
   * watermark low); of several, the one that is furthest above. 0: none. Of no effect where pages cannot be swapped. */
  uint64_t soft_limit;
  uint64_t limit; /* most bytes, in whole pages of 4 KiB, rounded down; 0: none. Less than a slab: no object fits */
  int32_t node;   /* where all its memory is from, numbered as weir's nodes are; WEIR_HEAP_ANY_NODE */
  int32_t oom_score_adj; /* -1000 (never chosen) to 1000: how soon it is chosen when memory runs out, see below */
  uint32_t noswap;       /* 1: when the process has a limit, pages of this heap stay in memory all the same */
  uint32_t flags;        /* none is defined: 0 */
  uint32_t oom_policy;   /* enum weir_heap_oom: what happens when it is chosen */
  uint32_t reserved;     /* 0 */
  /* With WEIR_HEAP_OOM_RELEASE, asked before the heap is emptied; NULL: nobody is. `wanted`: bytes that somebody needs.
   * What it returns is one of enum weir_heap_answer. It runs in the thread whose allocation found no memory, within
   * that allocation: it may only try to take locks that are also held while memory is allocated. (When that was in
   * another process of the pool, it runs on a thread of weir's own, see weir/shrinker.h.) It may free, and allocate
   * from what is free and the reserve, without waiting. */
  int (*on_oom)(weir_heap_t heap, size_t wanted, void* arg);
  void* oom_arg;
} weir_heap_options;

#define WEIR_HEAP_OPTIONS_INIT \
  { sizeof(weir_heap_options), 0, 0, WEIR_HEAP_ANY_NODE, 0, 0, 0, WEIR_HEAP_OOM_FAIL, 0, NULL, NULL }

/* What weir_heap_stats tells. */
typedef struct weir_heap_info {
  char name[WEIR_HEAP_NAME];
  uint64_t charged;        /* bytes of the pages that the heap has now */
  uint64_t peak;           /* most that were ever charged */
  uint64_t limit;          /* bytes; 0: none */
  uint64_t soft_limit;     /* bytes; 0: none */
  uint64_t slabs;          /* of charged: bytes of slabs */
  uint64_t large;          /* of charged: bytes of large objects */
  uint64_t objects;        /* in use; and what other threads than the caller keep at hand */
  uint64_t object_bytes;   /* what they may use: weir_usable_size of all of them */
  uint64_t limit_hits;     /* allocations that met the limit */
  uint64_t limit_failures; /* of these, those that failed */
  int32_t node;
  int32_t oom_score_adj;
  uint32_t noswap;
  uint32_t flags;
  uint64_t swapped; /* of charged: bytes in compressed memory or a swap file; the limit is on the others */
  uint32_t oom_policy;
  uint32_t capped; /* 1: the heap was chosen, or leaks, and its allocations that need pages fail */
} weir_heap_info;

/* Makes a heap. `name`: 1 to 63 bytes without control characters, that no other heap has now; NULL: one is made up
 * ("heap-1"). `options` may be NULL: as WEIR_HEAP_OPTIONS_INIT. NULL with errno EINVAL (a name or an option out of
 * range, or a node without memory), EEXIST (the name), E2BIG (`size` is that of a later version, whose additions are
 * not all 0), ENOSPC (65535 heaps), ENOMEM. */
WEIR_API weir_heap_t weir_heap_create(const char* name, const weir_heap_options* options);

/* Also of a heap that was emptied (WEIR_HEAP_OOM_RELEASE).
 * Gives a heap back with all that is in it, at once: the time it takes depends on the number of slabs and large
 * objects, not on that of objects. Its handle is stale from the first moment on. The caller sees to it that nobody uses
 * its objects any more: freeing one afterwards is reported as misuse, or is undefined where the memory was given out
 * again. Returns 0 or EINVAL; errno is kept. */
WEIR_API int weir_heap_destroy(weir_heap_t heap);

/* Allocates `size` bytes in a heap, as weir_malloc does. `heap` NULL: in none, which is weir_malloc. NULL with errno
 * ENOMEM (no memory, or the heap's limit, after what it does not use has been given back) or EINVAL (no such heap). */
WEIR_API void* weir_heap_malloc(weir_heap_t heap, size_t size) __attribute__((malloc, alloc_size(2)));

/* Allocates `count * size` zeroed bytes in a heap; overflow of the product is ENOMEM. Otherwise as weir_heap_malloc. */
WEIR_API void* weir_heap_calloc(weir_heap_t heap, size_t count, size_t size) __attribute__((malloc, alloc_size(2, 3)));

/* As weir_realloc: the object stays in the heap that it lies in, whatever `heap` is; only if `ptr` is NULL, the object
 * is allocated in `heap`. weir_realloc and, where it is weir's, realloc do the same for an object of a heap. */
WEIR_API void* weir_heap_realloc(weir_heap_t heap, void* ptr, size_t size) __attribute__((alloc_size(3)));

/* Allocates `size` bytes aligned to `alignment`, a power of two; anything else is EINVAL. As weir_heap_malloc. */
WEIR_API void* weir_heap_aligned_alloc(weir_heap_t heap, size_t alignment, size_t size)
    __attribute__((malloc, alloc_size(3)));

/* The heap that the object at `ptr` lies in, which is found without a lock; NULL when it lies in none, or `ptr` is not
 * an object of weir's at all. */
WEIR_API weir_heap_t weir_heap_of(const void* ptr);

/* The heap of that name; NULL when there is none. */
WEIR_API weir_heap_t weir_heap_find(const char* name);

/* One heap after the other: the one after `previous` (NULL: the first one), in no special order; NULL: there are no
 * more. `previous` may have been destroyed meanwhile; of heaps that come and go, some may be left out. */
WEIR_API weir_heap_t weir_heap_next(weir_heap_t previous);

/* Copies the name of a heap, with its NUL, to `name`, cut to `size` bytes. Returns 0 or EINVAL; errno is kept. */
WEIR_API int weir_heap_name(weir_heap_t heap, char* name, size_t size);

/* Fills `*info`, of which the caller knows `size` bytes, with what is known of a heap. `charged` is exact at some
 * moment of the call; of several numbers not all are from the same moment. Returns 0 or EINVAL; errno is kept. */
WEIR_API int weir_heap_stats(weir_heap_t heap, weir_heap_info* info, size_t size);

/* Changes a limit to `bytes` (0: none). It may be less than what is in memory: the next allocation that needs pages
 * makes room for itself, or fails. Returns 0 or EINVAL; errno is kept. */
WEIR_API int weir_heap_set_limit(weir_heap_t heap, uint64_t bytes);

/* Changes the soft limit to `bytes` (0: none). Returns 0 or EINVAL; errno is kept. */
WEIR_API int weir_heap_set_soft_limit(weir_heap_t heap, uint64_t bytes);

/* Changes the score, -1000 to 1000. Returns 0 or EINVAL; errno is kept. */
WEIR_API int weir_heap_set_oom_score_adj(weir_heap_t heap, int adj);

#ifdef __cplusplus
}
#endif
#endif /* WEIR_HEAP_H_ */
