/* pool_tenant.c: a process with heaps that does what it is told by lines on its standard input, and answers each with
 * one line: what test_pool_oom.py makes its situations of. What it holds is noise, which does not compress.
 * - join POOL: becomes a member; "ok", or "error ERRNO"
 * - heap NAME ADJ POLICY: makes a heap; POLICY: fail, release, abort, stays (release, but its owner does not agree)
 * - fill NAME KIB: puts so much in it ("-": in no heap); "ok", or "error ERRNO" when less fits
 * - lose NAME: gives it all back
 * - once KIB: allocates so much at once and gives it back; "ok", or "error ERRNO"
 * - grow NAME KIB: as fill, but stops when somebody was chosen; "ok", "chosen" or "error ERRNO"
 * - check NAME: whether it holds what was put there; "ok", "gone", or "wrong"
 * - hold: "PAGES" in no heap, then "NAME:PAGES" of each heap
 * - victims: "FATE:IS_HEAP:NAME:PID:POINTS" of each that it was told of since the last time
 * - heard: whether the callback and the descriptor of WEIR_EVENT_OOM were told; "yes yes"
 * - verify: every count of weir's agrees; "ok"
 * - setting NAME: what the page of statistics says of a setting that is a text
 * - last: what is left to do when SIGTERM comes: nothing; without this it ends at once
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weir/events.h"
#include "weir/heap.h"
#include "weir/pool.h"
#include "weir/stats_page.h"

#pragma weak weir_heap_create
#pragma weak weir_heap_malloc
#pragma weak weir_heap_stats
#pragma weak weir_on_event
#pragma weak weir_events_open
#pragma weak weir_events_read
#pragma weak weir_victims
#pragma weak weir_pool_join
#pragma weak weir_stats
#pragma weak weir_debug_verify

enum { kChunk = 16 << 10, kMostChunks = 8192, kMostHeaps = 40, kMostSeconds = 900, kMostVictims = 16 };

struct Tenant {
  char name[WEIR_HEAP_NAME];
  weir_heap_t heap;
  uint64_t* chunks[kMostChunks];
  unsigned count;
  int agrees;
};

static struct Tenant tenants[kMostHeaps]; /* the first one stands for no heap */
static int nr_tenants = 1;
static uint64_t told;
static atomic_int called;
static int events = -1;

static void hear(uint32_t what, void* arg) {
  (void)arg;
  if (what == WEIR_EVENT_OOM) atomic_store(&called, 1);
}

static int ask(weir_heap_t heap, size_t wanted, void* arg) {
  (void)heap, (void)wanted;
  return ((struct Tenant*)arg)->agrees ? WEIR_HEAP_MAY_GO : WEIR_HEAP_STAYS;
}

static uint64_t noise(uint64_t seed) {
  seed = (seed ^ seed >> 31) * 0x9e3779b97f4a7c15u;
  seed = (seed ^ seed >> 27) * 0xbf58476d1ce4e5b9u;
  return seed ^ seed >> 30;
}

static uint64_t word_of(const struct Tenant* t, unsigned chunk, size_t i) {
  return noise((uint64_t)(t - tenants) << 48 ^ (uint64_t)chunk << 24 ^ i);
}

static struct Tenant* find(const char* name) {
  for (int i = 0; i < nr_tenants; ++i)
    if (strcmp(tenants[i].name, name) == 0) return &tenants[i];
  fprintf(stderr, "pool_tenant: no heap '%s'\n", name);
  exit(64);
}

static int add(struct Tenant* t) {
  if (t->count == kMostChunks) exit(65);
  uint64_t* p = t == tenants ? malloc(kChunk) : weir_heap_malloc(t->heap, kChunk);
  if (p == NULL) return errno;
  for (size_t i = 0; i < kChunk / 8; ++i) p[i] = word_of(t, t->count, i);
  t->chunks[t->count++] = p;
  return 0;
}

static int was_chosen(void) {
  weir_victim victim;
  return weir_victims(told, &victim, 1, sizeof victim) > 0;
}

static void say_error(int error) {
  if (error == 0)
    printf("ok\n");
  else
    printf("error %d\n", error);
}

static void make_heap(const char* name, int adj, const char* policy) {
  struct Tenant* t = &tenants[nr_tenants++];
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.oom_score_adj = adj;
  options.oom_policy = strcmp(policy, "fail") == 0    ? WEIR_HEAP_OOM_FAIL
                       : strcmp(policy, "abort") == 0 ? WEIR_HEAP_OOM_ABORT
                                                      : WEIR_HEAP_OOM_RELEASE;
  options.on_oom = ask;
  options.oom_arg = t;
  t->agrees = strcmp(policy, "stays") != 0;
  snprintf(t->name, sizeof t->name, "%s", name);
  t->heap = weir_heap_create(name, &options);
  say_error(t->heap == NULL ? errno : 0);
}

static void fill(struct Tenant* t, unsigned kib, int until_chosen) {
  for (unsigned i = 0; i < kib / (kChunk >> 10); ++i) {
    const int error = add(t);
    if (until_chosen && was_chosen()) {
      printf("chosen\n");
      return;
    }
    if (error != 0) return say_error(error);
  }
  printf("ok\n");
}

static int once(size_t kib) {
  char* p = malloc(kib << 10);
  if (p == NULL) return errno;
  memset(p, 1, kib << 10);
  free(p);
  return 0;
}

static const char* check(const struct Tenant* t) {
  weir_heap_info info;
  if (t != tenants && weir_heap_stats(t->heap, &info, sizeof info) != 0) return "gone";
  for (unsigned n = 0; n < t->count; ++n)
    for (size_t i = 0; i < kChunk / 8; i += 64)
      if (t->chunks[n][i] != word_of(t, n, i)) return "wrong";
  return "ok";
}

static void hold(void) {
  const struct weir_stats_page* page = weir_stats();
  const struct weir_stats_node* node = weir_stats_node_at(page, 0);
  uint64_t rest = node->charged;
  weir_heap_info info;
  for (int i = 1; i < nr_tenants; ++i)
    if (weir_heap_stats(tenants[i].heap, &info, sizeof info) == 0) rest -= info.charged / 4096;
  printf("%llu", (unsigned long long)rest);
  for (int i = 1; i < nr_tenants; ++i)
    if (weir_heap_stats(tenants[i].heap, &info, sizeof info) == 0)
      printf(" %s:%llu", tenants[i].name, (unsigned long long)info.charged / 4096);
  printf("\n");
}

static void tell_victims(void) {
  weir_victim all[kMostVictims];
  const int count = weir_victims(told, all, kMostVictims, sizeof(weir_victim));
  for (int i = 0; i < count; ++i) {
    printf("%s%u:%u:%s:%u:%lld", i == 0 ? "" : " ", all[i].fate, all[i].is_heap, all[i].name, all[i].pid,
           (long long)all[i].points);
    told = all[i].number;
  }
  printf("\n");
}

static void tell_heard(void) {
  struct pollfd poll_for = {.fd = events, .events = POLLIN};
  for (int i = 0; i < 100 && !atomic_load(&called); ++i) usleep(20000);
  const int readable = poll(&poll_for, 1, 2000) == 1 && weir_events_read(events) == WEIR_EVENT_OOM;
  printf("%s %s\n", atomic_load(&called) ? "yes" : "no", readable ? "yes" : "no");
}

/* What the page of statistics says of a setting that is a text. */
static const char* text_of(const char* name) {
  const struct weir_stats_page* page = weir_stats();
  for (const char* at = (const char*)page + page->text_offset; *at != '\0';) {
    const char* value = at + strlen(at) + 1;
    if (strcmp(at, name) == 0) return value;
    at = value + strlen(value) + 1;
  }
  return "";
}

static void listen_to_events(void) {
  const struct weir_event_filter filter = {sizeof filter, WEIR_EVENT_OOM, 0, 500000};
  events = weir_events_open(&filter);
  if (events < 0 || weir_on_event(&filter, hear, NULL) != 0) exit(66);
}

static void obey(char* line) {
  char* word[4] = {strtok(line, " \n"), NULL, NULL, NULL};
  for (int i = 1; i < 4; ++i) word[i] = word[i - 1] != NULL ? strtok(NULL, " \n") : NULL;
  if (word[0] == NULL) exit(64);
  if (strcmp(word[0], "join") == 0) say_error(weir_pool_join(word[1]) == 0 ? 0 : errno);
  if (strcmp(word[0], "heap") == 0) make_heap(word[1], atoi(word[2]), word[3]);
  if (strcmp(word[0], "fill") == 0) fill(find(word[1]), (unsigned)atoi(word[2]), 0);
  if (strcmp(word[0], "grow") == 0) fill(find(word[1]), (unsigned)atoi(word[2]), 1);
  if (strcmp(word[0], "once") == 0) say_error(once((size_t)atoi(word[1])));
  if (strcmp(word[0], "check") == 0) printf("%s\n", check(find(word[1])));
  if (strcmp(word[0], "hold") == 0) hold();
  if (strcmp(word[0], "victims") == 0) tell_victims();
  if (strcmp(word[0], "heard") == 0) tell_heard();
  if (strcmp(word[0], "verify") == 0) printf("%s\n", weir_debug_verify() ? "ok" : "wrong");
  if (strcmp(word[0], "setting") == 0) printf("%s\n", text_of(word[1]));
  if (strcmp(word[0], "last") == 0) {
    signal(SIGTERM, SIG_IGN);
    printf("ok\n");
  }
  if (strcmp(word[0], "lose") == 0) {
    struct Tenant* t = find(word[1]);
    for (unsigned n = 0; n < t->count; ++n) free(t->chunks[n]);
    t->count = 0;
    printf("ok\n");
  }
  fflush(stdout);
}

int main(void) {
  char line[256];
  if (weir_heap_create == NULL) return 64;
  alarm(kMostSeconds);
  snprintf(tenants[0].name, sizeof tenants[0].name, "-");
  listen_to_events();
  printf("ready\n");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) != NULL) obey(line);
  return 0;
}
