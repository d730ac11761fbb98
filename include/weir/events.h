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

#include "weir/weir.h"

#ifdef __cplusplus
extern "C" {
#endif

enum weir_event {
  WEIR_EVENT_SOME = 1,   /* "some" was at least stall_us within window_us */
  WEIR_EVENT_FULL = 2,   /* "full" was */
  WEIR_EVENT_LIMIT = 4,  /* an allocation met the limit: it had to wait for memory, or failed */
  WEIR_EVENT_KSWAPD = 8, /* kswapd falls behind: threads wait although it works, or it left less free than `min` */
  WEIR_EVENT_OOM = 16,   /* nothing could be reclaimed, and the OOM policy chose somebody */
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
