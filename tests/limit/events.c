/* events.c: pressure is told: by a descriptor that can be polled, whoever closes what; by callbacks; and as the text of
 * /proc/pressure/memory, which fits the time that the program really lost. */
// limit: cases=descriptor,callback,closed,child,pressure conf=limit=24M,swap=DIR timeout=120 weir
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#include "limit.h"
#include "weir/events.h"

/* They come from the library that is preloaded. */
#pragma weak weir_events_open
#pragma weak weir_events_read
#pragma weak weir_events_close
#pragma weak weir_on_event
#pragma weak weir_off_event
#pragma weak weir_pressure

static struct Dataset data;

static struct weir_event_filter filter_of(uint32_t events) {
  struct weir_event_filter filter = {.size = sizeof filter, .events = events, .stall_us = 1000, .window_us = 500000};
  return filter;
}

static int wait_readable(int fd, int ms) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  return poll(&p, 1, ms) == 1 && (p.revents & POLLIN) != 0;
}

static uint64_t random_state = 3;
static void touch_much(unsigned times) {
  for (unsigned i = 0; i < times; ++i) check_block(&data, (unsigned)(next_random(&random_state) % data.count));
}

static void test_descriptor(void) {
  struct weir_event_filter filter = filter_of(WEIR_EVENT_SOME);
  int some = weir_events_open(&filter);
  CHECK(some >= 0);
  CHECK(!wait_readable(some, 0) && weir_events_read(some) == 0);
  make_twice_the_limit(&data);
  for (int i = 0; i < 300 && !wait_readable(some, 0); ++i) touch_much(100);
  CHECK(wait_readable(some, 1000));
  CHECK(weir_events_read(some) == WEIR_EVENT_SOME);
  CHECK(!wait_readable(some, 0));
  /* It goes quiet: at most what was put off is told yet. */
  wait_readable(some, 1500);
  weir_events_read(some);
  CHECK(!wait_readable(some, 1500));
  CHECK(weir_events_close(some) == 0);
  CHECK(weir_events_close(some) == -1 && errno == EBADF);
  CHECK(weir_events_read(some) == -1 && errno == EBADF);
  CHECK(fcntl(some, F_GETFD) == -1);
  /* What cannot be asked for. */
  struct weir_event_filter bad[] = {filter_of(0), filter_of(1u << 20), filter_of(1), filter_of(1), filter_of(1)};
  bad[2].size = 3;
  bad[3].window_us = 100;
  bad[4].stall_us = bad[4].window_us + 1;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) CHECK(weir_events_open(&bad[i]) == -1 && errno == EINVAL);
  CHECK(weir_events_open(NULL) == -1 && errno == EINVAL);
}

static atomic_uint heard, calls;
static void hear(uint32_t events, void* arg) {
  /* Whatever it does, it does not hang. */
  free(malloc(100000));
  sigset_t blocked;
  CHECK(pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0 && sigismember(&blocked, SIGUSR1) == 1);
  CHECK(arg == &data);
  atomic_fetch_or(&heard, events);
  atomic_fetch_add(&calls, 1);
}

static void test_callback(void) {
  struct weir_event_filter filter = filter_of(WEIR_EVENT_SOME | WEIR_EVENT_LIMIT);
  CHECK(weir_on_event(&filter, hear, &data) == 0);
  CHECK(weir_on_event(&filter, hear, &data) == -1 && errno == EEXIST);
  CHECK(weir_on_event(&filter, NULL, &data) == -1 && errno == EINVAL);
  make_twice_the_limit(&data);
  for (int i = 0; i < 300 && (atomic_load(&heard) & WEIR_EVENT_SOME) == 0; ++i) touch_much(100);
  CHECK((atomic_load(&heard) & WEIR_EVENT_SOME) != 0);
  CHECK((atomic_load(&heard) & (WEIR_EVENT_OOM | WEIR_EVENT_FULL | WEIR_EVENT_KSWAPD)) == 0);
  CHECK(weir_off_event(hear, &data) == 0);
  CHECK(weir_off_event(hear, &data) == -1 && errno == ENOENT);
  unsigned before = atomic_load(&calls);
  touch_much(500);
  usleep(600000);
  CHECK(atomic_load(&calls) == before);
}

/* A program that closes everything and uses the numbers again: nothing is written there. */
static void test_closed(void) {
  struct weir_event_filter filter = filter_of(WEIR_EVENT_SOME);
  int fd = weir_events_open(&filter);
  CHECK(fd > 2);
  for (int i = 3; i < 64; ++i) close(i);
  char name[300];
  snprintf(name, sizeof name, "%s/file", getenv("LIMIT_SWAP"));
  int file;
  do {
    file = open(name, O_RDWR | O_CREAT, 0600);
    CHECK(file >= 0);
  } while (file < fd);
  CHECK(file == fd && unlink(name) == 0);
  make_twice_the_limit(&data);
  touch_much(1000);
  usleep(600000);
  struct stat status;
  CHECK(fstat(fd, &status) == 0 && status.st_size == 0);
  /* The number is weir's again. */
  close(fd);
  int again = weir_events_open(&filter);
  CHECK(again >= 0);
  for (int i = 0; i < 300 && !wait_readable(again, 0); ++i) touch_much(100);
  CHECK(wait_readable(again, 1000));
  CHECK(weir_events_close(again) == 0);
}

static void test_child(void) {
  struct weir_event_filter filter = filter_of(WEIR_EVENT_SOME);
  int fd = weir_events_open(&filter);
  CHECK(fd >= 0 && weir_on_event(&filter, hear, &data) == 0);
  make_twice_the_limit(&data);
  touch_much(500);
  pid_t child = fork();
  if (child == 0) {
    char text[256];
    CHECK(weir_events_read(fd) == -1 && errno == EBADF);
    atomic_store(&heard, 0);
    int own = weir_events_open(&filter);
    CHECK(own >= 0);
    for (int i = 0; i < 300 && !(wait_readable(own, 0) && atomic_load(&heard) != 0); ++i) touch_much(100);
    CHECK(wait_readable(own, 1000) && atomic_load(&heard) != 0);
    CHECK(weir_pressure(text, sizeof text) < sizeof text);
    _exit(0);
  }
  touch_much(500);
  CHECK(wait_readable(fd, 1000));
  expect_success(child);
  CHECK(weir_events_close(fd) == 0);
}

static uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void read_pressure(uint64_t total[2]) {
  char text[256], small[10];
  double a, b, c, d, e, f;
  unsigned long long some, full;
  size_t length = weir_pressure(text, sizeof text);
  CHECK(length == strlen(text) && length < sizeof text);
  CHECK(sscanf(text, "some avg10=%lf avg60=%lf avg300=%lf total=%llu\nfull avg10=%lf avg60=%lf avg300=%lf total=%llu\n",
               &a, &b, &c, &some, &d, &e, &f, &full) == 8);
  CHECK(a >= 0 && a <= 100 && b <= a + 100 && c <= 100 && d <= 100 && e <= 100 && f <= 100);
  CHECK(some >= full);
  CHECK(weir_pressure(small, sizeof small) >= strlen("some") && strlen(small) == sizeof small - 1);
  total[0] = some;
  total[1] = full;
}

static void test_pressure(void) {
  uint64_t before[2], after[2];
  read_pressure(before);
  CHECK(before[0] == 0 && before[1] == 0);
  uint64_t start = now_us();
  make_twice_the_limit(&data);
  touch_much(4000);
  uint64_t took = now_us() - start;
  read_pressure(after);
  if (after[0] > took || after[0] < took / 20)
    fprintf(stderr, "stalled %llu of %llu us\n", (unsigned long long)after[0], (unsigned long long)took);
  CHECK(after[0] <= took && after[0] >= took / 20);
  /* Nobody waits: nothing is added. */
  usleep(300000);
  read_pressure(before);
  usleep(300000);
  read_pressure(after);
  CHECK(after[0] == before[0] && after[1] == before[1]);
}

int main(int argc, char** argv) {
  contract_begin(110);
  CHECK(argc == 2);
  CHECK(weir_events_open != NULL);
  if (strcmp(argv[1], "descriptor") == 0) test_descriptor();
  if (strcmp(argv[1], "callback") == 0) test_callback();
  if (strcmp(argv[1], "closed") == 0) test_closed();
  if (strcmp(argv[1], "child") == 0) test_child();
  if (strcmp(argv[1], "pressure") == 0) test_pressure();
  check_data(&data);
  return 0;
}
