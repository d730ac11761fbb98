/* weir/pool.h: a budget that several processes of one user share, as it lies in shared memory.
 *
 * A pool NAME is the file WEIR_POOL_DIRECTORY/weir-pool.UID.NAME, which struct weir_pool is the start of. Each member
 * (a process) has an entry, and holds a lock (fcntl F_SETLK) on the byte WEIR_POOL_MEMBER_LOCK + its index as long as
 * it lives: an entry whose byte nobody has locked is nobody's, whatever it says, because the kernel takes the locks of
 * a process that ends from it. Who changes `granted` of an entry, or the limit, holds a lock on byte WEIR_POOL_LOCK
 * meanwhile; no more than one number has to be changed for a step, so that a process may die at any moment.
 *
 * When memory runs out, the members' heaps and the processes themselves stand in one list (weir/heap.h has the
 * formula). Who decides holds a lock on byte WEIR_POOL_OOM_LOCK, counts `call` up, and waits until everybody has
 * written down what it has (its rows) and stored that number in `answered`; who does not answer in time has no heaps in
 * the list. What the others were granted ahead of need is given up for it (`tight_until`); if that is enough, nobody is
 * chosen. Else it gives an order to the member that the victim belongs to, which carries it out by itself.
 *
 * The sum of `granted` of all members is never above the limit, but for a limit that was lowered, or a member that came
 * by fork and has its parent's memory: then it goes down as fast as members give memory back.
 *
 * Thread safety: numbers may be read at any time with atomic loads.
 */
#ifndef WEIR_POOL_H_
#define WEIR_POOL_H_

#include <stddef.h>
#include <stdint.h>

#include "weir/weir.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_POOL_MAGIC 0x6c6f6f7072696577ull /* "weirpool" */
#define WEIR_POOL_VERSION 2u
#define WEIR_POOL_DIRECTORY "/dev/shm"

enum {
  WEIR_POOL_MEMBERS = 256,
  WEIR_POOL_NAME = 64, /* bytes of a pool's name with its NUL: letters, digits, '.', '_' and '-', no '.' first */
  WEIR_POOL_LOCK = 0,
  WEIR_POOL_MEMBER_LOCK = 1,
  WEIR_POOL_OOM_LOCK = WEIR_POOL_MEMBER_LOCK + WEIR_POOL_MEMBERS,
  WEIR_POOL_ROWS = 32, /* of one member: itself, and the heaps with most points */
};

/* What becomes of who is chosen. */
enum weir_pool_kill {
  WEIR_POOL_KILL_FAIL = 0,    /* its allocations fail; of a process, only its own */
  WEIR_POOL_KILL_ABORT = 1,   /* the process is aborted; without a heap, only for an allocation of its own */
  WEIR_POOL_KILL_RELEASE = 2, /* the heap is emptied */
  WEIR_POOL_KILL_SIGNAL = 3,  /* the process gets SIGTERM, and SIGKILL later (oom=kill) */
};

enum weir_pool_row_state {
  WEIR_POOL_ROW_RUNS = 0,
  WEIR_POOL_ROW_DYING = 1, /* was chosen, and is on its way */
  WEIR_POOL_ROW_SPENT = 2, /* was chosen, and has no more to give */
};

/* One that may be chosen: a heap, or what a process has in no heap. 128 bytes, so that all of a member are one page. */
struct weir_pool_row {
  uint64_t heap;   /* its handle in its process; 0: no heap */
  uint64_t serial; /* of several, who was made later has the larger one: CLOCK_MONOTONIC, in ns */
  uint64_t pages;  /* in memory */
  uint64_t swapped;
  uint64_t held_at_last_kill; /* pages and swapped, when somebody was chosen last */
  int32_t oom_score_adj;
  uint16_t kill;  /* enum weir_pool_kill */
  uint16_t state; /* enum weir_pool_row_state */
  char name[64];
  uint64_t reserved[2];
};

/* What a member is to do. `state` is 4 * ticket + one of
 *   0 nothing   1 given (the ticket may be taken back)   2 taken by the member   3 done: `result` is valid
 * and is changed last, by compare and exchange. */
enum { WEIR_POOL_ORDER_GIVEN = 1, WEIR_POOL_ORDER_TAKEN = 2, WEIR_POOL_ORDER_DONE = 3 };

enum weir_pool_order_result {
  WEIR_POOL_DONE = 0,  /* the victim has lost what it has, or the process is on its way to its end */
  WEIR_POOL_FREED = 1, /* the owner has freed enough by itself, or the heap is gone */
  WEIR_POOL_STAYS = 2, /* the owner did not agree */
};

struct weir_pool_order {
  uint64_t state;
  uint32_t kill; /* enum weir_pool_kill */
  uint32_t result;
  uint64_t heap;   /* 0: the process */
  uint64_t wanted; /* pages that somebody needs, or that a heap gets no more than (WEIR_POOL_KILL_FAIL) */
  uint64_t joined; /* of the member that is meant */
  uint64_t by;     /* whose allocation it is for: its pid, as it itself sees it */
  int64_t points;  /* of the victim */
};

/* All numbers are pages of 4 KiB unless they say otherwise. */
struct weir_pool_member {
  uint32_t pid;        /* as the process itself sees it; 0: never used */
  uint32_t nr_rows;    /* that are valid, if `answered` says so */
  uint64_t granted;    /* what it may hold */
  uint64_t used;       /* what it holds, free pages that have memory included */
  uint64_t swapped;    /* in compressed memory and in its swap file */
  uint64_t wanted;     /* what it would hold if there were no limit, as far as that is known */
  uint64_t updated;    /* when it came by last, CLOCK_MONOTONIC in ns */
  char command[16];    /* as in /proc/PID/comm */
  uint64_t joined;     /* when it became a member, CLOCK_MONOTONIC in ns: no two owners of an entry have the same */
  uint64_t swap_total; /* its swap file, and what of it is in use */
  uint64_t swap_used;
  uint64_t answered; /* the last `call` that its rows are for */
  int32_t oom_score_adj;
  uint16_t kill; /* enum weir_pool_kill */
  uint8_t dying;
  uint8_t stuck; /* it can give nothing back, whatever its part is */
  struct weir_pool_order order;
};

struct weir_pool {
  uint64_t magic;
  uint32_t version;
  uint32_t nr_members; /* entries */
  uint64_t limit;
  uint64_t call;        /* when it changes, everybody writes its rows */
  uint64_t nr_kills;    /* when it changes, somebody was chosen */
  uint64_t tickets;     /* of orders, given out so far */
  uint64_t decider;     /* 1 + the entry of who decides, or did last */
  uint64_t tight_until; /* CLOCK_MONOTONIC in ns: until then nobody but who decides keeps room ahead of need */
  struct weir_pool_member members[WEIR_POOL_MEMBERS];
};

/* Where the rows of a member lie in the file, from its start: WEIR_POOL_ROWS of them, a page, which only exists once
 * the entry was somebody's. */
static inline size_t weir_pool_rows_at(uint32_t member) {
  const size_t page = 4096;
  return (sizeof(struct weir_pool) + page - 1) / page * page + member * page;
}

/* Makes the calling process a member of the pool of this name, which is made, with this process's limit, when there is
 * none. From then on the process may hold what the pool leaves to it. Children that are forked are members too;
 * programs that are started (exec) are when WEIR_CONF says pool=NAME, which does the same from the start. There is no
 * way out.
 * Returns 0, or -1 with errno
 *   EINVAL      the name
 *   ENXIO       the process was started without a limit, or without weir's threads (background_thread=0)
 *   EEXIST      it is in a pool already
 *   EACCES      the file cannot be opened or made, or is somebody else's
 *   ENOMEM      WEIR_POOL_DIRECTORY is full
 *   ENOSPC      the pool has WEIR_POOL_MEMBERS members
 *   EAGAIN      a member that was stopped holds the pool's lock
 *   EPROTO      the file is of another version of weir
 * Thread safety: any thread, but not in signal handlers. */
WEIR_API int weir_pool_join(const char* name);

/* Whether these are the bytes of a pool's name. */
static inline int weir_pool_is_name(const char* name, size_t length) {
  if (length == 0 || length >= WEIR_POOL_NAME || name[0] == '.') return 0;
  for (size_t i = 0; i < length; ++i) {
    const char c = name[i];
    const int letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-') return 0;
  }
  return 1;
}

#ifdef __cplusplus
}
#endif
#endif /* WEIR_POOL_H_ */
