/* weir/control_box.h: how one process asks another, which is on weir, to tell or change a setting. `weir set` does.
 *
 * The box lies beside the page of statistics (weir/stats_page.h), at `control_offset` from its start: in the memfd with
 * a limit, else in plain memory. Whoever may write there may do worse to the process already (write all its memory, or
 * end it by a signal), so that no right is needed or given here.
 *
 * Asking: hold the file that the box is written through (the memfd, or /proc/PID/mem) with flock(LOCK_EX), so that one
 * asks at a time. Write everything up to `checksum`, then `ticket`, which no request had before and which is not 0, to
 * `request` of the page. The process has answered once `answered` is the ticket. To give up, write 0 to `request`; if
 * `taken` is not the ticket after that, or becomes another, the request never will be done; else an answer comes at
 * once.
 *
 * Answering is done by threads of weir's own (with a limit at least every 50 ms, without one while there is memory to
 * give back) and by the slow path of malloc and free. A process that is stopped, or without either, does not answer.
 *
 * Thread safety: see above. Invariants: the process copies a request before it looks at it and ignores it when the
 * checksum is wrong, as that of two that were written at once is. A forked child has a box of its own, which is empty.
 */
#ifndef WEIR_CONTROL_BOX_H_
#define WEIR_CONTROL_BOX_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In `control_version` of the page; changes when one side would not understand the other any more. */
#define WEIR_CONTROL_VERSION 1u

enum {
  WEIR_CONTROL_GET = 1, /* tells the setting `name` */
  WEIR_CONTROL_SET = 2, /* changes it to `value` */

  WEIR_CONTROL_NAME = 64, /* with the NUL behind it, as the next */
  WEIR_CONTROL_TEXT = 512,
};

struct weir_control_request {
  uint64_t ticket; /* as in `request` of the page */
  uint32_t operation;
  uint32_t reserved;
  char name[WEIR_CONTROL_NAME];
  char value[WEIR_CONTROL_TEXT];
};

struct weir_control_box {
  /* by who asks */
  struct weir_control_request request;
  uint64_t checksum; /* weir_control_checksum(&request) */

  /* by the process */
  uint64_t taken;    /* the ticket of the request that it has begun with */
  uint64_t answered; /* and that it is done with: what follows is about it */
  int32_t error;     /* what weir_sysctl returned */
  uint32_t reserved;
  char old_value[WEIR_CONTROL_TEXT]; /* the setting before, as weir_sysctl tells it */
  char new_value[WEIR_CONTROL_TEXT]; /* and after */
  char report[WEIR_CONTROL_TEXT];    /* why it was refused */
};

/* FNV-1a. */
static inline uint64_t weir_control_checksum(const struct weir_control_request* request) {
  const unsigned char* bytes = (const unsigned char*)request;
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < sizeof(*request); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

#ifdef __cplusplus
}
#endif
#endif /* WEIR_CONTROL_BOX_H_ */
