/* pressure_syscalls: system calls that read and write memory which may be swapped out at that moment.
 *
 *   pressure_syscalls [--memory SIZE] [--seconds N] [--directory DIR] [--expect-cold]
 *
 * Some threads write and check two thirds of the memory over and over, so that under a limit everything else is swapped
 * out soon. Others move buffers of the last third through files, pipes, sockets and rings, each buffer coming up only
 * when all others were used since. No call may fail (EFAULT least of all), and every byte must arrive. It knows nothing
 * of weir and passes without a limit too; --expect-cold demands that calls really met memory that was away.
 * Exit status: 0 all well, 1 a call failed or bytes were lost, 64 usage. */
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
  kCallThreads = 2,
  kPressThreads = 2,
  kPipeBytes = 1 << 20, /* a slot fits into it; what root and, by default, everybody may ask for */
  kPathPages = 256,
  kVectors = 37, /* a slot cut into odd pieces */
};

atomic_bool stop;
atomic_ulong calls[kKinds];
atomic_ulong cold[kKinds];
const char* directory = ".";

static const char* const kind_names[kKinds] = {"read and write",
                                               "pread and pwrite, O_DIRECT",
                                               "readv and writev",
                                               "sendmsg and recvmsg",
                                               "vmsplice",
                                               "process_vm_readv",
                                               "paths",
                                               "poll and futex",
                                               "signal stack",
                                               "io_uring read",
                                               "io_uring read, fixed",
                                               "io_uring write, fixed"};

static atomic_ulong next_seed = 1;
static int pagemap = -1;

void fail(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  fprintf(stderr, "pressure_syscalls: %s\n", text);
  _exit(1);
}

void expect(ssize_t result, ssize_t wanted, const char* what) {
  if (result == wanted) return;
  if (result < 0) fail("%s: %s", what, strerror(errno));
  fail("%s: %zd of %zd", what, result, wanted);
}

static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/* Two random words in eight: it compresses about 3 to 1, so that twice the limit fits compressed memory. */
static uint64_t word(uint64_t seed, size_t i) {
  return i % 8 < 2 ? mix(seed << 20 | i) : mix(seed);
}

void fill(uint64_t* memory, uint64_t seed) {
  for (size_t i = 0; i < kSlotWords; ++i) memory[i] = word(seed, i);
}

void check(const uint64_t* memory, uint64_t seed, const char* what) {
  for (size_t i = 0; i < kSlotWords; ++i)
    if (memory[i] != word(seed, i))
      fail("%s: lost bytes: word %zu of buffer %p is %016llx, expected %016llx", what, i, (const void*)memory,
           (unsigned long long)memory[i], (unsigned long long)word(seed, i));
}

void make_slots(struct Slots* slots, size_t count) {
  slots->memory = calloc(count, sizeof(*slots->memory));
  slots->seed = calloc(count, sizeof(*slots->seed));
  if (slots->memory == NULL || slots->seed == NULL) fail("calloc: %s", strerror(errno));
  slots->count = count;
  slots->next = 0;
  for (size_t i = 0; i < count; ++i) {
    slots->memory[i] = aligned_alloc(kPage, kSlotBytes);
    if (slots->memory[i] == NULL) fail("aligned_alloc: %s", strerror(errno));
    fill(slots->memory[i], slots->seed[i] = atomic_fetch_add(&next_seed, 1));
  }
}

size_t take_slot(struct Slots* slots) {
  slots->next = slots->next + 1 < slots->count ? slots->next + 1 : 0;
  return slots->next;
}

void count_call(enum Kind kind, const void* memory, size_t bytes) {
  uint64_t entries[kSlotBytes / kPage];
  const size_t pages = bytes / kPage < sizeof(entries) / 8 ? (bytes + kPage - 1) / kPage : sizeof(entries) / 8;
  atomic_fetch_add(&calls[kind], 1);
  const off_t at = (off_t)((uintptr_t)memory / kPage * 8);
  if (pread(pagemap, entries, pages * 8, at) != (ssize_t)(pages * 8)) return;
  for (size_t i = 0; i < pages; ++i)
    if ((entries[i] >> 63) == 0) {
      atomic_fetch_add(&cold[kind], 1);
      return;
    }
}

int make_file(bool* direct) {
  *direct = true;
  int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | O_DIRECT, 0600);
  if (fd < 0) {
    *direct = false;
    fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  }
  if (fd < 0) fail("a file in %s: %s", directory, strerror(errno));
  return fd;
}

/* --- one thread's channels and calls */

struct Caller {
  struct Slots slots;
  int file, direct_file, pipe[2], socket[2];
  char* paths[kPathPages];
  size_t next_path;
};

static void move_through_file(struct Caller* c, int fd, enum Kind kind, const uint64_t* from, uint64_t* to) {
  count_call(kind, from, kSlotBytes);
  expect(pwrite(fd, from, kSlotBytes, 0), kSlotBytes, "pwrite");
  count_call(kind, to, kSlotBytes);
  expect(pread(fd, to, kSlotBytes, 0), kSlotBytes, "pread");
  (void)c;
}

static void move_through_pipe(struct Caller* c, enum Kind kind, const uint64_t* from, uint64_t* to) {
  count_call(kind, from, kSlotBytes);
  expect(write(c->pipe[1], from, kSlotBytes), kSlotBytes, "write");
  count_call(kind, to, kSlotBytes);
  expect(read(c->pipe[0], to, kSlotBytes), kSlotBytes, "read");
}

/* Pieces of odd lengths that make up a slot. */
static void cut(struct iovec* vectors, const void* memory) {
  char* at = (char*)(uintptr_t)memory;
  size_t left = kSlotBytes;
  for (size_t i = 0; i < kVectors; ++i) {
    const size_t length = i + 1 < kVectors ? 1 + (i * 7919) % (2 * kSlotBytes / kVectors - 700) : left;
    vectors[i].iov_base = at;
    vectors[i].iov_len = length < left ? length : left;
    at += vectors[i].iov_len;
    left -= vectors[i].iov_len;
  }
}

static void move_by_vectors(struct Caller* c, const uint64_t* from, uint64_t* to) {
  struct iovec vectors[kVectors];
  cut(vectors, from);
  count_call(kReadvWritev, from, kSlotBytes);
  expect(writev(c->pipe[1], vectors, kVectors), kSlotBytes, "writev");
  cut(vectors, to);
  count_call(kReadvWritev, to, kSlotBytes);
  expect(readv(c->pipe[0], vectors, kVectors), kSlotBytes, "readv");
}

/* In pieces that a socket's buffer takes without a reader. */
static void move_through_socket(struct Caller* c, const uint64_t* from, uint64_t* to) {
  enum { kPiece = 32 << 10, kHalf = kPiece / 2 - 5 };
  for (size_t at = 0; at < kSlotBytes; at += kPiece) {
    char *source = (char*)(uintptr_t)from + at, *target = (char*)to + at;
    struct iovec out[2] = {{source, kHalf}, {source + kHalf, kPiece - kHalf}};
    struct iovec in[2] = {{target, kPiece - kHalf}, {target + kPiece - kHalf, kHalf}};
    struct msghdr message = {.msg_iov = out, .msg_iovlen = 2};
    count_call(kSendmsg, source, kPiece);
    expect(sendmsg(c->socket[0], &message, 0), kPiece, "sendmsg");
    message = (struct msghdr){.msg_iov = in, .msg_iovlen = 2};
    count_call(kSendmsg, target, kPiece);
    expect(recvmsg(c->socket[1], &message, MSG_WAITALL), kPiece, "recvmsg");
  }
}

/* The pages themselves go into the pipe; they are not written before they were read from it. */
static void move_by_vmsplice(struct Caller* c, const uint64_t* from, uint64_t* to) {
  for (size_t at = 0; at < kSlotBytes;) {
    struct iovec vector = {(char*)(uintptr_t)from + at, kSlotBytes - at};
    count_call(kVmsplice, vector.iov_base, vector.iov_len);
    const ssize_t n = vmsplice(c->pipe[1], &vector, 1, 0);
    if (n <= 0) expect(n, kSlotBytes, "vmsplice");
    sched_yield(); /* time for the pages to be chosen for swapping while the pipe holds them */
    for (size_t got = 0; got < (size_t)n;) {
      const ssize_t piece = read(c->pipe[0], (char*)to + at + got, (size_t)n - got);
      if (piece <= 0) expect(piece, n, "read of what was spliced");
      got += (size_t)piece;
    }
    at += (size_t)n;
  }
}

static void move_by_process_vm(const uint64_t* from, uint64_t* to) {
  const struct iovec source = {(void*)(uintptr_t)from, kSlotBytes}, target = {to, kSlotBytes};
  count_call(kProcessVm, from, kSlotBytes);
  expect(process_vm_readv(getpid(), &target, 1, &source, 1, 0), kSlotBytes, "process_vm_readv");
}

/* Small structures on pages of their own: a path, what stat fills in, poll's array, a futex. */
static void small_calls(struct Caller* c) {
  char* page = c->paths[c->next_path];
  c->next_path = (c->next_path + 1) % kPathPages;
  count_call(kPaths, page, kPage);
  const int fd = open(page, O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("open of a path in memory: %s", strerror(errno));
  struct stat* status = (struct stat*)(void*)(page + 1024);
  expect(fstat(fd, status), 0, "fstat");
  if (!S_ISCHR(status->st_mode)) fail("fstat filled in mode %o for %s", status->st_mode, page);
  close(fd);

  page = c->paths[c->next_path];
  c->next_path = (c->next_path + 1) % kPathPages;
  struct pollfd* polled = (struct pollfd*)(void*)(page + 2048); /* for writing to the pipe, as prepared */
  polled->fd = c->pipe[1];
  count_call(kPollFutex, c->paths[c->next_path], kPage);
  expect(poll(polled, 1, 0), 1, "poll");
  if (polled->revents != POLLOUT) fail("poll gave %x", (unsigned)polled->revents);
  uint32_t* futex = (uint32_t*)(void*)(c->paths[c->next_path] + 3072); /* holds 7 */
  if (syscall(SYS_futex, futex, FUTEX_WAIT, 8, NULL, NULL, 0) != -1 || errno != EAGAIN)
    fail("futex wait for another value: %s", strerror(errno));
  const int add = FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 7);
  expect(syscall(SYS_futex, futex, FUTEX_WAKE_OP, 1, 1L, futex, add), 0, "futex wake");
  if (*futex != 7) fail("futex holds %u", *futex);
  c->next_path = (c->next_path + 1) % kPathPages;
}

static void prepare_pages(struct Caller* c) {
  for (size_t i = 0; i < kPathPages; ++i) {
    char* page = c->paths[i] = aligned_alloc(kPage, kPage);
    if (page == NULL) fail("aligned_alloc: %s", strerror(errno));
    memset(page, 0, kPage);
    strcpy(page, "/dev/null");
    ((struct pollfd*)(void*)(page + 2048))->events = POLLOUT;
    *(uint32_t*)(void*)(page + 3072) = 7;
  }
}

static atomic_ulong signals;
static void on_signal(int number) {
  (void)number;
  atomic_fetch_add(&signals, 1);
}

/* The kernel itself writes the frame onto a stack in malloc memory that was not used for a while. */
static void signal_on_slot(uint64_t* memory) {
  stack_t stack = {.ss_sp = memory, .ss_size = kSlotBytes}, off = {.ss_flags = SS_DISABLE};
  expect(sigaltstack(&stack, NULL), 0, "sigaltstack");
  count_call(kSignalStack, memory, kSlotBytes);
  const unsigned long before = atomic_load(&signals);
  expect(pthread_kill(pthread_self(), SIGUSR1), 0, "pthread_kill");
  if (atomic_load(&signals) == before) fail("a signal was not delivered");
  expect(sigaltstack(&off, NULL), 0, "sigaltstack");
}

static void prepare_channels(struct Caller* c) {
  bool direct;
  c->direct_file = make_file(&direct);
  c->file = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (c->file < 0) fail("a file in %s: %s", directory, strerror(errno));
  expect(pipe2(c->pipe, O_CLOEXEC), 0, "pipe2");
  if (fcntl(c->pipe[1], F_SETPIPE_SZ, kPipeBytes) < kPipeBytes) fail("F_SETPIPE_SZ: %s", strerror(errno));
  expect(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c->socket), 0, "socketpair");
}

static void* call_thread(void* argument) {
  struct Caller* c = argument;
  prepare_channels(c);
  prepare_pages(c);
  for (unsigned round = 0; !atomic_load(&stop); ++round) {
    const size_t from = take_slot(&c->slots), to = take_slot(&c->slots);
    const uint64_t* source = c->slots.memory[from];
    uint64_t* target = c->slots.memory[to];
    switch (round % 7) {
      case 0:
        move_through_pipe(c, kReadWrite, source, target);
        break;
      case 1:
        move_through_file(c, c->direct_file, kPreadDirect, source, target);
        break;
      case 2:
        move_by_vectors(c, source, target);
        break;
      case 3:
        move_through_socket(c, source, target);
        break;
      case 4:
        move_by_vmsplice(c, source, target);
        break;
      case 5:
        move_by_process_vm(source, target);
        break;
      default:
        move_through_file(c, c->file, kReadWrite, source, target);
        break;
    }
    check(target, c->slots.seed[to] = c->slots.seed[from], kind_names[round % 7 == 6 ? kReadWrite : round % 7]);
    small_calls(c);
    const size_t stack = take_slot(&c->slots);
    if (round % 4 == 0) signal_on_slot(c->slots.memory[stack]);
    fill(c->slots.memory[stack], c->slots.seed[stack] = atomic_fetch_add(&next_seed, 1));
  }
  return NULL;
}

static void* press_thread(void* argument) {
  struct Slots* slots = argument;
  for (unsigned long round = 0; !atomic_load(&stop); ++round) {
    const size_t i = take_slot(slots);
    check(slots->memory[i], slots->seed[i], "memory under pressure");
    if (round % 3 == 0) fill(slots->memory[i], slots->seed[i] = atomic_fetch_add(&next_seed, 1));
  }
  return NULL;
}

struct Settings {
  uint64_t memory;
  unsigned seconds;
  bool expect_cold;
};

_Noreturn static void usage(const char* bad) {
  fprintf(
      stderr,
      "pressure_syscalls: bad argument '%s', expected [--memory SIZE (16M or more)] [--seconds N] [--directory DIR] "
      "[--expect-cold]\n",
      bad);
  exit(64);
}

static uint64_t parse_size(const char* text) {
  char* end = NULL;
  const uint64_t n = text == NULL ? 0 : strtoull(text, &end, 10);
  const unsigned shift = n == 0 ? 0 : *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
  if (n == 0 || text[0] < '0' || text[0] > '9' || end[shift != 0] != '\0' || n > (UINT64_MAX >> 20 >> shift))
    usage(text == NULL ? "(missing value)" : text);
  return n << shift;
}

static struct Settings parse(int argc, char** argv) {
  struct Settings settings = {.memory = 96 << 20, .seconds = 5};
  for (int i = 1; i < argc; ++i) {
    const char* value = i + 1 < argc ? argv[i + 1] : NULL;
    if (strcmp(argv[i], "--expect-cold") == 0) {
      settings.expect_cold = true;
      continue;
    }
    if (strcmp(argv[i], "--memory") == 0) {
      settings.memory = parse_size(value);
      if (settings.memory < 16 << 20) usage(value);
    } else if (strcmp(argv[i], "--seconds") == 0) {
      settings.seconds = (unsigned)parse_size(value);
    } else if (strcmp(argv[i], "--directory") == 0 && value != NULL) {
      directory = value;
    } else {
      usage(argv[i]);
    }
    ++i;
  }
  return settings;
}

static int report(const struct Settings* settings) {
  unsigned long met = 0;
  for (unsigned k = 0; k < kKinds; ++k) {
    printf("%-28s %8lu calls, %8lu with pages away\n", kind_names[k], atomic_load(&calls[k]), atomic_load(&cold[k]));
    met += atomic_load(&cold[k]);
  }
  if (settings->expect_cold && met == 0) fail("no call met memory that was away: nothing was tested");
  return fflush(stdout) == 0 ? 0 : 1;
}

static void start(pthread_t* thread, void* (*function)(void*), void* argument) {
  const int error = pthread_create(thread, NULL, function, argument);
  if (error != 0) fail("pthread_create: %s", strerror(error));
}

int main(int argc, char** argv) {
  const struct Settings settings = parse(argc, argv);
  const size_t slots = settings.memory / kSlotBytes;
  static struct Caller callers[kCallThreads];
  static struct Slots pressure[kPressThreads], ring;
  pthread_t threads[kCallThreads + kPressThreads + 1];
  size_t started = 0;
  pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
  expect(sigaction(SIGUSR1, &action, NULL), 0, "sigaction");
  for (size_t i = 0; i < kCallThreads; ++i) make_slots(&callers[i].slots, slots / 9);
  make_slots(&ring, slots / 9);
  for (size_t i = 0; i < kPressThreads; ++i) make_slots(&pressure[i], slots / 3);
  for (size_t i = 0; i < kCallThreads; ++i) start(&threads[started++], call_thread, &callers[i]);
  start(&threads[started++], ring_thread, &ring);
  for (size_t i = 0; i < kPressThreads; ++i) start(&threads[started++], press_thread, &pressure[i]);
  for (unsigned left = settings.seconds; left > 0; left = sleep(left)) {
  }
  atomic_store(&stop, true);
  while (started > 0) pthread_join(threads[--started], NULL);
  return report(&settings);
}
