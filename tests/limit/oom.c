/* oom.c: when nothing can be reclaimed: the allocation fails and one report is written, or the program is aborted with
 * one; nothing is said of what the limit has nothing to do with, or when it is not wished. */
// limit: cases=fails,aborts,quiet,not_ours,event conf=limit=32M,swap=none timeout=60 weir
#include <poll.h>

#include "limit.h"
#include "weir/events.h"

/* They come from the library that is preloaded. */
#pragma weak weir_sysctl
#pragma weak weir_events_open
#pragma weak weir_events_read

enum { kMost = 100000 };

static void set(const char* name, const char* value) {
  char report[256];
  if (weir_sysctl(name, NULL, 0, value, report, sizeof report) != 0) {
    fprintf(stderr, "%s\n", report);
    _exit(3);
  }
}

/* Noise until there is no more memory; leaves it all. */
static void exhaust(void) {
  static uint64_t* chunks[kMost];
  unsigned count = 0;
  for (; count < kMost && (chunks[count] = malloc(9000)) != NULL; ++count)
    for (size_t i = 0; i < 9000 / 8; ++i) chunks[count][i] = word_of(count, 1, kWordsPerPage + i % kWordsPerPage) + i;
  CHECK(count < kMost && errno == ENOMEM);
}

static void exhaust_child(void* policy) {
  if (policy != NULL) set("oom", policy);
  exhaust();
  /* And again and again: it has been told. */
  for (int i = 0; i < 20; ++i) CHECK(malloc(9000) == NULL && errno == ENOMEM);
}

static void quiet_child(void* nothing) {
  (void)nothing;
  set("vm.oom_dump_tasks", "0");
  exhaust();
}

static void not_ours_child(void* nothing) {
  (void)nothing;
  CHECK(malloc(opaque_size(PTRDIFF_MAX)) == NULL && errno == ENOMEM);
  CHECK(calloc(opaque_size(SIZE_MAX / 2), 3) == NULL && errno == ENOMEM);
  CHECK(malloc(opaque_size((size_t)1 << 46)) == NULL && errno == ENOMEM);
}

static unsigned occurrences(const char* text, const char* what) {
  unsigned count = 0;
  for (; (text = strstr(text, what)) != NULL; ++text) ++count;
  return count;
}

static void expect_report(const struct ChildResult* child, const char* what_happened) {
  char line[128];
  if (occurrences(child->text, "invoked oom-killer") != 1 || strstr(child->text, what_happened) == NULL)
    fprintf(stderr, "%s", child->text);
  CHECK(occurrences(child->text, "limit_oom invoked oom-killer: order=2, oom_score_adj=0\n") == 1);
  CHECK(occurrences(child->text, "limit 32768kB\n") == 1);
  CHECK(occurrences(child->text, "[  pid  ]   uid  tgid total_vm      rss swapents oom_score_adj name\n") == 1);
  snprintf(line, sizeof line, "Out of memory: %s process ", what_happened);
  CHECK(occurrences(child->text, line) == 1);
}

int main(int argc, char** argv) {
  contract_begin(55);
  CHECK(argc == 2 && weir_sysctl != NULL);
  if (strcmp(argv[1], "fails") == 0) {
    struct ChildResult child = run_child(exhaust_child, NULL);
    CHECK(exited_with(child.status, 0));
    expect_report(&child, "Failed an allocation of");
  }
  if (strcmp(argv[1], "aborts") == 0) {
    struct ChildResult child = run_child(exhaust_child, "abort");
    CHECK(killed_by(child.status, SIGABRT));
    expect_report(&child, "Aborted");
    child = run_child(exhaust_child, "fail");
    CHECK(exited_with(child.status, 0));
  }
  if (strcmp(argv[1], "quiet") == 0) {
    struct ChildResult child = run_child(quiet_child, NULL);
    CHECK(exited_with(child.status, 0) && child.length == 0);
  }
  if (strcmp(argv[1], "not_ours") == 0) {
    struct ChildResult child = run_child(not_ours_child, NULL);
    CHECK(exited_with(child.status, 0) && child.length == 0);
  }
  if (strcmp(argv[1], "event") == 0) {
    struct weir_event_filter filter = {.size = sizeof filter, .events = WEIR_EVENT_OOM | WEIR_EVENT_LIMIT};
    int fd = weir_events_open(&filter);
    CHECK(fd >= 0);
    set("oom_dump_tasks", "0");
    exhaust();
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int events = 0;
    for (int i = 0; i < 10 && events != (WEIR_EVENT_OOM | WEIR_EVENT_LIMIT); ++i) {
      CHECK(poll(&p, 1, 5000) == 1);
      events |= weir_events_read(fd);
    }
    CHECK(events == (WEIR_EVENT_OOM | WEIR_EVENT_LIMIT));
  }
  return 0;
}
