/* weir/doctor.h: what the system lets a process do of what weir needs to keep it within a limit, found out by trying.
 *
 * For tools that tell their users what weir can do on a machine; `weir doctor` is one. The answers hold for the calling
 * process: its rights, its resource limits, its system-call filters, its control groups. Part of libweir, not of the
 * preloaded libweir-malloc.
 *
 * Thread safety: every function may be called from any thread. Invariants: nothing that is made for trying outlives the
 * call; errno is kept; text that does not fit its buffer is cut, and always ends with a NUL.
 */
#ifndef WEIR_DOCTOR_H_
#define WEIR_DOCTOR_H_

#include <stddef.h>
#include <stdint.h>

#include "weir/weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every int is 0 when it works, and otherwise the errno of what was refused. */
typedef struct weir_capabilities {
  int uffd_syscall;       /* userfaultfd(2) that also sees faults of system calls; EPERM: neither right nor sysctl */
  int uffd_device;        /* the same from /dev/userfaultfd (Linux 6.1); EACCES: no access to it */
  int uffd_move;          /* UFFDIO_MOVE (Linux 6.8), tried on a page */
  int uffd_poison;        /* UFFDIO_POISON (Linux 6.6), tried on a page */
  int uffd_write_protect; /* write protection of anonymous memory (Linux 5.7) */
  int uffd_thread_id;     /* faults name their thread (Linux 4.14) */
  int thread_descriptors; /* descriptors of a thread can be copied, or opened again: children get the swap file */
  int io_uring;           /* io_uring with plain reads (Linux 5.6), tried with an operation that does nothing */
  uint64_t cgroup_limit;  /* bytes that the control groups leave to the process, 0 when they have no limit */
  int lift;               /* taking pages away by mremap, and seeing what refers to them (Linux 5.18, and /proc) */
} weir_capabilities;

/* Tries everything and fills `*capabilities`, of which the caller knows `size` bytes: sizeof(weir_capabilities). What
 * can be tried only on a userfaultfd is tried on one for faults of user mode when no other is allowed. Returns 1; 0
 * when there is no memory for trying. */
WEIR_API int weir_capabilities_probe(weir_capabilities* capabilities, size_t size);

/* What a swap file turned out to be. */
typedef struct weir_swap_place {
  int kind;        /* WEIR_SWAP_NAMELESS, WEIR_SWAP_FILE or WEIR_SWAP_DEVICE */
  int direct;      /* 1: transfers go past the page cache (O_DIRECT), tried with a page */
  int tmpfile;     /* 1: the nameless file never had a name (O_TMPFILE) */
  uint64_t bytes;  /* the most that it may hold of `max_bytes`, bounded by the file system, RLIMIT_FSIZE, or its size */
  int others_read; /* 1: users other than its owner may read it */
} weir_swap_place;

/* A file that is made in a directory and has no name; a file of the user's; a block device. */
#define WEIR_SWAP_NAMELESS 1
#define WEIR_SWAP_FILE 2
#define WEIR_SWAP_DEVICE 3

/* Tries to swap to `path` as a program that starts with `swap=path` does: opens it for up to `max_bytes` (0: as much as
 * a file or device has, 1 MiB in a directory), writes and reads a page, and closes it. Returns 1 and fills `*place`, of
 * which the caller knows `size` bytes; otherwise returns 0, and `report` says why: "permission denied". What a file or
 * device of that name holds is kept unless it is free for swapping. */
WEIR_API int weir_swap_probe(const char* path, uint64_t max_bytes, weir_swap_place* place, size_t size, char* report,
                             size_t capacity);

#ifdef __cplusplus
}
#endif
#endif /* WEIR_DOCTOR_H_ */
