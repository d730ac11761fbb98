/* shrinkers.c: without a limit a shrinker is called by weir_trim and by nobody else, on the thread that calls it;
 * events can be asked for, and none happens; no thread is started for any of it. */
// contract: weir
#include <poll.h>
#include <pthread.h>

#include "contract.h"
#include "weir/events.h"
#include "weir/shrinker.h"

/* They come from the library that is preloaded. */
#pragma weak weir_register_shrinker
#pragma weak weir_unregister_shrinker
#pragma weak weir_trim
#pragma weak weir_events_open
#pragma weak weir_events_read
#pragma weak weir_events_close
#pragma weak weir_on_event
#pragma weak weir_off_event
#pragma weak weir_pressure

enum { kObjects = 10000, kSize = 2000 };

static void* objects[kObjects];
static size_t left;
static unsigned scans;
static pthread_t caller;
static struct weir_shrinker shrinker;

static size_t count_objects(void* arg) {
  CHECK(arg == &left && pthread_equal(pthread_self(), caller));
  return left;
}

static size_t scan_objects(void* arg, size_t wanted) {
  CHECK(arg == &left && wanted != 0);
  ++scans;
  /* It may ask for more of the same. */
  if (scans == 1) CHECK(weir_trim() != (size_t)-1);
  size_t freed = 0;
  for (; freed < wanted && left != 0; ++freed) free(objects[--left]);
  return freed;
}

static size_t scan_and_leave(void* arg, size_t wanted) {
  CHECK(weir_unregister_shrinker(&shrinker) == 0);
  return scan_objects(arg, wanted);
}

static void fill_objects(void) {
  for (; left < kObjects; ++left) {
    CHECK((objects[left] = malloc(kSize)) != NULL);
    memset(objects[left], 1, kSize);
  }
}

static void no_event(uint32_t events, void* arg) {
  (void)events, (void)arg;
  CHECK(0);
}

static void check_mistakes(void) {
  struct weir_shrinker bad = shrinker;
  CHECK(weir_register_shrinker(NULL) == -1 && errno == EINVAL);
  bad.size = 8;
  CHECK(weir_register_shrinker(&bad) == -1 && errno == EINVAL);
  bad = shrinker, bad.count = NULL;
  CHECK(weir_register_shrinker(&bad) == -1 && errno == EINVAL);
  bad = shrinker, bad.scan = NULL;
  CHECK(weir_register_shrinker(&bad) == -1 && errno == EINVAL);
  bad = shrinker, bad.flags = 0x80;
  CHECK(weir_register_shrinker(&bad) == -1 && errno == EINVAL);
  CHECK(weir_unregister_shrinker(&bad) == -1 && errno == ENOENT);
  CHECK(weir_unregister_shrinker(NULL) == -1 && errno == ENOENT);
}

static void check_events(void) {
  struct weir_event_filter filter = {.size = sizeof filter, .events = 31, .stall_us = 1};
  char text[256];
  int fd = weir_events_open(&filter);
  struct pollfd p = {.fd = fd, .events = POLLIN};
  CHECK(fd >= 0 && weir_on_event(&filter, no_event, NULL) == 0);
  fill_objects();
  CHECK(poll(&p, 1, 50) == 0 && weir_events_read(fd) == 0);
  CHECK(weir_events_close(fd) == 0 && weir_off_event(no_event, NULL) == 0);
  CHECK(weir_pressure(text, sizeof text) == strlen(text));
  CHECK(strcmp(text,
               "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n") ==
        0);
  CHECK(weir_pressure(NULL, 0) == strlen(text));
}

int main(void) {
  contract_begin(50);
  caller = pthread_self();
  shrinker = (struct weir_shrinker){
      .size = sizeof shrinker, .count = count_objects, .scan = scan_objects, .seeks = 2, .arg = &left};
  check_mistakes();
  CHECK(weir_register_shrinker(&shrinker) == 0);
  CHECK(weir_register_shrinker(&shrinker) == -1 && errno == EEXIST);
  fill_objects();
  CHECK(scans == 0 && nr_threads() == 1);
  /* What was freed has gone back to the system when it returns. */
  CHECK(weir_trim() >= (size_t)kObjects * kSize * 9 / 10);
  CHECK(left == 0 && scans > 1);
  unsigned before = scans;
  CHECK(weir_trim() < MIB && scans == before);
  CHECK(weir_unregister_shrinker(&shrinker) == 0);
  fill_objects();
  weir_trim();
  CHECK(scans == before);
  /* One that leaves is not called again. */
  shrinker.scan = scan_and_leave;
  CHECK(weir_register_shrinker(&shrinker) == 0);
  weir_trim();
  CHECK(scans == before + 1 && weir_unregister_shrinker(&shrinker) == -1);
  check_events();
  return 0;
}
