/* io_uring, by its system calls: O_DIRECT reads in flight into buffers that are candidates for swapping all the while,
 * and registered ("fixed") buffers, which the kernel keeps pinned: their pages must stay the ones that the program
 * sees. */
#include <errno.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "syscalls.h"

enum {
  kEntries = 16,   /* reads in flight */
  kFixed = 4,      /* registered buffers: 1 MiB, little enough for any RLIMIT_MEMLOCK of today */
  kFileSlots = 32, /* what the file holds */
};

/* Long enough for everything else to be swapped out in between. */
static const struct timespec kWhilePinned = {0, 30 * 1000 * 1000};

struct Ring {
  int fd;
  unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
  struct io_uring_sqe* entries;
  struct io_uring_cqe* completions;
};

static void* map_part(int fd, size_t bytes, off_t offset) {
  void* part = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
  if (part == MAP_FAILED) fail("mapping the ring: %s", strerror(errno));
  return part;
}

/* False where the system does not let programs use io_uring. */
static bool open_ring(struct Ring* ring) {
  struct io_uring_params p;
  memset(&p, 0, sizeof(p));
  ring->fd = (int)syscall(SYS_io_uring_setup, kEntries, &p);
  if (ring->fd < 0) {
    fprintf(stderr, "pressure_syscalls: io_uring is left out: %s\n", strerror(errno));
    return false;
  }
  char* sq = map_part(ring->fd, p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
  char* cq = map_part(ring->fd, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
  ring->entries = map_part(ring->fd, p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
  ring->sq_tail = (unsigned*)(void*)(sq + p.sq_off.tail);
  ring->sq_mask = (unsigned*)(void*)(sq + p.sq_off.ring_mask);
  ring->sq_array = (unsigned*)(void*)(sq + p.sq_off.array);
  ring->cq_head = (unsigned*)(void*)(cq + p.cq_off.head);
  ring->cq_tail = (unsigned*)(void*)(cq + p.cq_off.tail);
  ring->cq_mask = (unsigned*)(void*)(cq + p.cq_off.ring_mask);
  ring->completions = (struct io_uring_cqe*)(void*)(cq + p.cq_off.cqes);
  return true;
}

/* Queues one transfer of a slot; `buffer_index` is for the fixed ones. */
static void queue(struct Ring* ring, uint8_t opcode, int file, void* memory, size_t file_slot, uint64_t tag,
                  unsigned buffer_index) {
  const unsigned tail = *ring->sq_tail, index = tail & *ring->sq_mask;
  struct io_uring_sqe* entry = &ring->entries[index];
  memset(entry, 0, sizeof(*entry));
  entry->opcode = opcode;
  entry->fd = file;
  entry->addr = (uint64_t)(uintptr_t)memory;
  entry->len = kSlotBytes;
  entry->off = file_slot * kSlotBytes;
  entry->user_data = tag;
  entry->buf_index = (uint16_t)buffer_index;
  ring->sq_array[index] = index;
  __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

static void enter(struct Ring* ring, unsigned submit, unsigned wait) {
  long n;
  do {
    n = syscall(SYS_io_uring_enter, ring->fd, submit, wait, wait != 0 ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
  } while (n < 0 && errno == EINTR);
  expect(n, (ssize_t)submit, "io_uring_enter");
}

/* The tag of a transfer that is done. */
static uint64_t reap(struct Ring* ring, const char* what) {
  unsigned head = *ring->cq_head;
  while (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE)) enter(ring, 0, 1);
  const struct io_uring_cqe done = ring->completions[head & *ring->cq_mask];
  __atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
  if (done.res < 0) fail("%s: %s", what, strerror(-done.res));
  expect(done.res, kSlotBytes, what);
  return done.user_data;
}

/* Slot n of the file holds the content of seed first + n. */
static int make_filled_file(struct Slots* slots, uint64_t first) {
  bool direct;
  const int file = make_file(&direct);
  if (!direct) fprintf(stderr, "pressure_syscalls: no O_DIRECT in %s: reads go through the page cache\n", directory);
  for (size_t n = 0; n < kFileSlots; ++n) {
    const size_t i = take_slot(slots);
    fill(slots->memory[i], slots->seed[i] = first + n);
    expect(pwrite(file, slots->memory[i], kSlotBytes, (off_t)(n * kSlotBytes)), kSlotBytes, "filling a file");
  }
  return file;
}

/* As many reads as fit are in flight, each into the buffer that was not used for the longest time. */
static void read_in_flight(struct Ring* ring, int file, struct Slots* slots, uint64_t first, unsigned round) {
  const unsigned flights = slots->count < kEntries ? (unsigned)slots->count : kEntries;
  for (unsigned n = 0; n < flights; ++n) {
    const size_t i = take_slot(slots), from = (round * 7 + n * 5) % kFileSlots;
    slots->seed[i] = first + from;
    count_call(kRingRead, slots->memory[i], kSlotBytes);
    queue(ring, IORING_OP_READ, file, slots->memory[i], from, i, 0);
  }
  enter(ring, flights, 0);
  for (unsigned n = 0; n < flights; ++n) {
    const size_t i = reap(ring, "io_uring read");
    check(slots->memory[i], slots->seed[i], "io_uring read");
  }
}

/* Reads into the pinned pages what the file has, then writes out what the program put there. */
static void use_fixed(struct Ring* ring, int file, int scratch, uint64_t* const* fixed, uint64_t first,
                      unsigned round) {
  nanosleep(&kWhilePinned, NULL);
  for (unsigned b = 0; b < kFixed; ++b) {
    count_call(kRingFixedRead, fixed[b], kSlotBytes);
    queue(ring, IORING_OP_READ_FIXED, file, fixed[b], (round + b) % kFileSlots, b, b);
  }
  enter(ring, kFixed, 0);
  for (unsigned b = 0; b < kFixed; ++b) {
    const uint64_t done = reap(ring, "io_uring read, fixed");
    check(fixed[done], first + (round + done) % kFileSlots, "io_uring read, fixed");
  }
  for (unsigned b = 0; b < kFixed; ++b) fill(fixed[b], first + round * 131 + b);
  nanosleep(&kWhilePinned, NULL);
  for (unsigned b = 0; b < kFixed; ++b) {
    count_call(kRingFixedWrite, fixed[b], kSlotBytes);
    queue(ring, IORING_OP_WRITE_FIXED, scratch, fixed[b], b, b, b);
  }
  enter(ring, kFixed, 0);
  for (unsigned b = 0; b < kFixed; ++b) reap(ring, "io_uring write, fixed");
}

static void check_written(int scratch, struct Slots* slots, uint64_t first, unsigned round) {
  for (unsigned b = 0; b < kFixed; ++b) {
    const size_t i = take_slot(slots);
    slots->seed[i] = first + round * 131 + b;
    expect(pread(scratch, slots->memory[i], kSlotBytes, b * kSlotBytes), kSlotBytes, "reading back");
    check(slots->memory[i], slots->seed[i], "io_uring write, fixed");
  }
}

static bool register_buffers(struct Ring* ring, uint64_t* const* fixed) {
  struct iovec vectors[kFixed];
  for (unsigned b = 0; b < kFixed; ++b) vectors[b] = (struct iovec){fixed[b], kSlotBytes};
  if (syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_BUFFERS, vectors, kFixed) == 0) return true;
  if (errno != ENOMEM && errno != EPERM) fail("registering buffers: %s", strerror(errno));
  fprintf(stderr, "pressure_syscalls: fixed buffers are left out (RLIMIT_MEMLOCK): %s\n", strerror(errno));
  return false;
}

void* ring_thread(void* argument) {
  static struct Slots pinned; /* one thread runs this */
  struct Slots* slots = argument;
  const uint64_t first = 1u << 20; /* seeds that no other buffer has */
  struct Ring ring;
  if (!open_ring(&ring)) return NULL;
  bool direct;
  const int file = make_filled_file(slots, first), scratch = make_file(&direct);
  make_slots(&pinned, kFixed);
  /* The buffers are away when they are registered, as far as there is a limit. */
  for (size_t i = 0; i < slots->count; ++i) check(slots->memory[i], slots->seed[i], "memory of the ring");
  const bool fixed = register_buffers(&ring, pinned.memory);
  for (unsigned round = 0; !atomic_load(&stop); ++round) {
    read_in_flight(&ring, file, slots, first, round);
    if (!fixed) continue;
    use_fixed(&ring, file, scratch, pinned.memory, first, round);
    check_written(scratch, slots, first, round);
  }
  return NULL;
}
