/* events.h: hearing of memory pressure early: pressure stall information, and events as descriptors or callbacks.
 *
 * Pressure is measured as the kernel does (Documentation/accounting/psi.rst, kernel/sched/psi.c), for this process and
 * its limit: a thread is stalled while it waits for memory in an allocation, while a page that it touched is brought
 * back from compressed memory or a file, and while a fault reclaims. "some" is the time in which at least one thread is
 * stalled, "full" that in which all are. weir cannot see whether a thread that is not stalled runs or sleeps: it counts
 * as running if it has ever allocated. "full" is therefore at most what the kernel would say, and for a process with
 * sleeping threads less.
 *
 * Without a limit there is no pressure, and no event ever happens.
 *
 * Thread safety: every function may be called from any thread, but not in signal handlers; callbacks run on a thread
 * of weir's own, see weir/shrinker.h, one at a time.
 */
#ifndef WEIR_EVENTS_H_
#define WEIR_EVENTS_H_

#include <stddef.h>
#include <stdint.h>

#include "weir/heap.h"
#include "weir/weir.h"

#ifdef __cplusplus
extern "C" {
#endif

enum weir_event {
  WEIR_EVENT_SOME = 1,   /* "some" was at least stall_us within window_us */
  WEIR_EVENT_FULL = 2,   /* "full" was */
  WEIR_EVENT_LIMIT = 4,  /* an allocation met the limit: it had to wait for memory, or failed */
  WEIR_EVENT_KSWAPD = 8, /* kswapd falls behind: threads wait although it works, or it left less free than `min` */
  WEIR_EVENT_OOM = 16,   /* nothing could be reclaimed, and the OOM policy chose somebody: see weir_victims */
  /* The control group of the process, or one around it, is short of memory, whoever in it takes it: it met its limit
   * (high and max of memory.events, memory.failcnt of version 1) though nearly all of what it holds is no file page;
   * the kernel killed somebody there; or its processes were stalled a tenth of the time (memory.pressure, where there
   * is none /proc/pressure/memory). Looked at once a second, and ten times when a limit that is the group's is near. */
  WEIR_EVENT_CGROUP = 32,
};

/* What is to be heard of. Of each kind one event is told within window_us; one that happens earlier is told then. */
struct weir_event_filter {
  size_t size;        /* sizeof(struct weir_event_filter) */
  uint32_t events;    /* of enum weir_event, or-ed */
  uint64_t stall_us;  /* for SOME and FULL: 1 to window_us; otherwise ignored */
  uint64_t window_us; /* 500000 to 10000000, as the kernel's triggers; 0: 1000000 */
};

/* Opens a descriptor for poll, select and epoll: it can be read when one of the events has happened. Read it with
 * weir_events_read, and close it with weir_events_close. It is close-on-exec and does not block. A forked child hears
 * nothing by its parent's descriptors; it opens its own.
 * Returns the descriptor, or -1 with errno
 *   EINVAL      no event or an unknown one, a time out of range, or a `size` that this version does not know
 *   EMFILE, ENFILE, ENOMEM  as for eventfd(2)
 *   ENOSPC      256 descriptors and callbacks are in use
 *   EOPNOTSUPP  the descriptor cannot be handed to weir's threads (before Linux 5.6) */
WEIR_API int weir_events_open(const struct weir_event_filter* filter);

/* Returns the events that have happened since the last call, or-ed, 0 when there are none, and makes the descriptor
 * unreadable until the next; -1 with errno EBADF when weir_events_open did not return it. Does not wait. */
WEIR_API int weir_events_read(int fd);

/* Closes the descriptor. Returns 0, or -1 with errno EBADF when weir_events_open did not return it. */
WEIR_API int weir_events_close(int fd);

/* Has `callback` called with the events that have happened, or-ed, and `arg`. What it may do is what a shrinker may
 * (weir/shrinker.h).
 * Returns 0, or -1 with errno
 *   EINVAL  as for weir_events_open, or `callback` is NULL
 *   EEXIST  this callback with this `arg` is there already
 *   ENOSPC  256 descriptors and callbacks are in use */
WEIR_API int weir_on_event(const struct weir_event_filter* filter, void (*callback)(uint32_t events, void* arg),
                           void* arg);

/* Takes a callback back; waits until it has returned, unless it is called by the callback itself.
 * Returns 0, or -1 with errno ENOENT when there is none with this `arg`. */
WEIR_API int weir_off_event(void (*callback)(uint32_t events, void* arg), void* arg);

/* What became of who was chosen. */
enum weir_fate {
  WEIR_FATE_FAILS = 1,   /* a heap's allocations fail until it has given back an eighth; a process's: one has failed */
  WEIR_FATE_EMPTIED = 2, /* the heap is emptied */
  WEIR_FATE_ABORTED = 3, /* the process is aborted */
  WEIR_FATE_KILLED = 4,  /* the process is sent SIGTERM, and SIGKILL 5 s later */
};

/* Somebody whom the OOM policy chose: a heap or a process, in a pool maybe another process or a heap of one. */
typedef struct weir_victim {
  uint64_t number;  /* 1 for the first one that this process chose or was, and so on */
  weir_heap_t heap; /* its handle, which may be stale by now; NULL: no heap, or one of another process */
  uint64_t pages;   /* that it held in memory */
  uint64_t swapped; /* and in compressed memory or a swap file */
  int64_t points;   /* see weir/heap.h */
  int32_t oom_score_adj;
  uint32_t fate;       /* enum weir_fate */
  uint32_t is_heap;    /* 0: a process, or what it has in no heap */
  uint32_t pid;        /* of the process, as it itself sees it */
  uint32_t asking_pid; /* whose allocation found no memory */
  uint32_t reserved;
  char name[64]; /* of the heap or the process, with its NUL */
} weir_victim;

/* Tells whom the OOM policy chose after the victim of that number (0: from the start): copies up to `count` of them to
 * `victims`, the earliest first. The last 16 are kept, and of one that is chosen for the same again and again (an
 * allocation that fails and is tried again) only the last. `size`: sizeof(weir_victim) as the caller was compiled.
 * To be called when WEIR_EVENT_OOM has happened, also within the callback; the process that asked and the one that is
 * to lose memory both hear of it.
 * Returns how many were copied, or -1 with errno EINVAL (`size`). */
WEIR_API int weir_victims(uint64_t after, weir_victim* victims, int count, size_t size);

/* Writes the pressure of this process to `text`, in the format of /proc/pressure/memory: two lines
 *   some avg10=0.00 avg60=0.00 avg300=0.00 total=0
 *   full avg10=0.00 avg60=0.00 avg300=0.00 total=0
 * averages in percent over 10, 60 and 300 seconds, brought up to date every 2 s, and the total in microseconds. The
 * text is cut to `size` bytes with its NUL; 256 hold it.
 * Returns the length of the whole text. */
WEIR_API size_t weir_pressure(char* text, size_t size);

#ifdef __cplusplus
}
#endif
#endif /* WEIR_EVENTS_H_ */
