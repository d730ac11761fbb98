/* weir/pool.h: a budget that several processes of one user share, as it lies in shared memory.
 *
 * A pool NAME is the file WEIR_POOL_DIRECTORY/weir-pool.UID.NAME, which struct weir_pool is the start of. Each member
 * (a process) has an entry, and holds a lock (fcntl F_SETLK) on the byte WEIR_POOL_MEMBER_LOCK + its index as long as
 * it lives: an entry whose byte nobody has locked is nobody's, whatever it says, because the kernel takes the locks of
 * a process that ends from it. Who changes `granted` of an entry, or the limit, holds a lock on byte WEIR_POOL_LOCK
 * meanwhile; no more than one number has to be changed for a step, so that a process may die at any moment.
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

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_POOL_MAGIC 0x6c6f6f7072696577ull /* "weirpool" */
#define WEIR_POOL_VERSION 1u
#define WEIR_POOL_DIRECTORY "/dev/shm"

enum {
  WEIR_POOL_MEMBERS = 256,
  WEIR_POOL_NAME = 64, /* bytes of a pool's name with its NUL: letters, digits, '.', '_' and '-', no '.' first */
  WEIR_POOL_LOCK = 0,
  WEIR_POOL_MEMBER_LOCK = 1,
};

/* All numbers are pages of 4 KiB unless they say otherwise. */
struct weir_pool_member {
  uint32_t pid; /* as the process itself sees it; 0: never used */
  uint32_t reserved;
  uint64_t granted; /* what it may hold */
  uint64_t used;    /* what it holds, free pages that have memory included */
  uint64_t swapped; /* in compressed memory and in its swap file */
  uint64_t wanted;  /* what it would hold if there were no limit, as far as that is known */
  uint64_t updated; /* when it came by last, CLOCK_MONOTONIC in ns */
  char command[16]; /* as in /proc/PID/comm */
};

struct weir_pool {
  uint64_t magic;
  uint32_t version;
  uint32_t nr_members; /* entries */
  uint64_t limit;
  uint64_t reserved[5];
  struct weir_pool_member members[WEIR_POOL_MEMBERS];
};

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
