/* What the two files of pressure_syscalls share: buffers with content that is made from a number, and the end of the
 * program when something is lost.
 *
 * Thread safety: a Slots belongs to one thread; counters are atomic; the other functions touch only their arguments. */
#ifndef WEIR_TESTS_PRESSURE_SYSCALLS_H_
#define WEIR_TESTS_PRESSURE_SYSCALLS_H_

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
  kPage = 4096,
  kSlotBytes = 256 << 10, /* 64 pages: some clusters of what is swapped out together */
  kSlotWords = kSlotBytes / 8,
};

/* Buffers of one thread, used in turn, so that each had the time of all the others to be swapped out. */
struct Slots {
  uint64_t** memory;
  uint64_t* seed; /* what each holds */
  size_t count;
  size_t next;
};

enum Kind {
  kReadWrite,
  kPreadDirect,
  kReadvWritev,
  kSendmsg,
  kVmsplice,
  kProcessVm,
  kPaths,
  kPollFutex,
  kSignalStack,
  kRingRead,
  kRingFixedRead,
  kRingFixedWrite,
  kKinds,
};

extern atomic_bool stop;
extern atomic_ulong calls[kKinds]; /* done */
extern atomic_ulong cold[kKinds];  /* of those, with memory that was not present when the call began */

/* Where files are made. */
extern const char* directory;

void make_slots(struct Slots* slots, size_t count);
/* The slot whose turn it is. */
size_t take_slot(struct Slots* slots);

void fill(uint64_t* memory, uint64_t seed);
/* Ends the program when `memory` is not what fill() wrote. */
void check(const uint64_t* memory, uint64_t seed, const char* what);

/* Ends the program unless a call returned `wanted`; errno says why. */
void expect(ssize_t result, ssize_t wanted, const char* what);
_Noreturn void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

/* Counts a call, and whether a page of the memory it is about to use is away. */
void count_call(enum Kind kind, const void* memory, size_t bytes);

/* A file without a name; O_DIRECT where the file system can, else `*direct` is false. */
int make_file(bool* direct);

/* The thread that uses io_uring; the argument is a struct Slots. */
void* ring_thread(void* slots);

#endif /* WEIR_TESTS_PRESSURE_SYSCALLS_H_ */
