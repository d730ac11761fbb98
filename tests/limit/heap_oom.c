/* heap_oom.c: memory runs out in a program with heaps: who is chosen, what becomes of it, and what the report says. */
// limit: weir cases=leaking,score,allocating,capped,exempt,asked,aborts,touched,freed,forked,reserve
// limit: conf=limit=32M,swap=none timeout=120
#include "limit.h"
#include "weir/weir.h"

#pragma weak weir_heap_create
#pragma weak weir_heap_destroy
#pragma weak weir_heap_malloc
#pragma weak weir_heap_of
#pragma weak weir_heap_find
#pragma weak weir_heap_stats
#pragma weak weir_debug_verify
#pragma weak weir_sysctl

enum { kMostChunks = 8000, kChunk = 9000 };

/* Chunks of noise, which does not compress. */
struct Tenant {
  weir_heap_t heap;
  uint64_t* chunks[kMostChunks];
  unsigned count;
  unsigned seed;
};

static struct Tenant a, b, c;

static weir_heap_t make(const char* name, uint32_t policy, int adj) {
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.oom_policy = policy;
  options.oom_score_adj = adj;
  weir_heap_t heap = weir_heap_create(name, &options);
  CHECK(heap != NULL);
  return heap;
}

static uint64_t noise(const struct Tenant* t, unsigned chunk, size_t i) {
  return word_of(t->seed * kMostChunks + chunk, 1, kWordsPerPage + i % kWordsPerPage) + i;
}

/* 0, or the error. */
static int add(struct Tenant* t) {
  CHECK(t->count < kMostChunks);
  uint64_t* p = weir_heap_malloc(t->heap, kChunk);
  if (p == NULL) return errno;
  for (size_t i = 0; i < kChunk / 8; ++i) p[i] = noise(t, t->count, i);
  t->chunks[t->count++] = p;
  return 0;
}

static void put_in(struct Tenant* t, size_t bytes) {
  for (size_t i = 0; i < bytes / kChunk; ++i) CHECK(add(t) == 0);
}

static int leak(struct Tenant* t) {
  int error;
  while ((error = add(t)) == 0) continue;
  return error;
}

static void check(const struct Tenant* t) {
  for (unsigned n = 0; n < t->count; ++n)
    for (size_t i = 0; i < kChunk / 8; i += 100) CHECK(t->chunks[n][i] == noise(t, n, i));
}

static void verified(void) {
  CHECK(weir_debug_verify() == 1);
}

static weir_heap_info info_of(weir_heap_t heap) {
  weir_heap_info info;
  CHECK(weir_heap_stats(heap, &info, sizeof info) == 0);
  return info;
}

static int is_alive(weir_heap_t heap) {
  weir_heap_info info;
  return weir_heap_stats(heap, &info, sizeof info) == 0;
}

static void make_tenants(int adj_of_b) {
  a = (struct Tenant){.heap = make("a", WEIR_HEAP_OOM_RELEASE, 0), .seed = 1};
  b = (struct Tenant){.heap = make("b", WEIR_HEAP_OOM_RELEASE, adj_of_b), .seed = 2};
  c = (struct Tenant){.heap = make("c", WEIR_HEAP_OOM_RELEASE, 0), .seed = 3};
  put_in(&a, 3 * MIB);
  put_in(&b, 4 * MIB);
}

static void set(const char* name, const char* value) {
  char report[256];
  CHECK(weir_sysctl(name, NULL, 0, value, report, sizeof report) == 0);
}

static int has(const struct ChildResult* child, const char* text) {
  if (strstr(child->text, text) != NULL) return 1;
  fprintf(stderr, "no '%s' in:\n%s", text, child->text);
  return 0;
}

static unsigned reports(const struct ChildResult* child) {
  unsigned count = 0;
  for (const char* at = child->text; (at = strstr(at, "invoked oom-killer")) != NULL; ++at) ++count;
  return count;
}

/* The one that leaks has most points; it is gone, the others live on, and there is room again. */
static void leaking_child(void* nothing) {
  (void)nothing;
  make_tenants(0);
  CHECK(leak(&c) == EINVAL);
  CHECK(!is_alive(c.heap) && weir_heap_find("c") == NULL && weir_heap_of(c.chunks[0]) == NULL);
  verified();
  put_in(&a, 3 * MIB);
  check(&a);
  check(&b);
  /* Its addresses are its own until it is destroyed. */
  CHECK(weir_heap_destroy(c.heap) == 0 && weir_heap_destroy(c.heap) == EINVAL);
  verified();
  c = (struct Tenant){.heap = make("c", WEIR_HEAP_OOM_RELEASE, 0), .seed = 3};
  put_in(&c, 8 * MIB);
  check(&c);
  check(&a);
  check(&b);
  verified();
}

static void leaking(void) {
  struct ChildResult child = run_child(leaking_child, NULL);
  CHECK(exited_with(child.status, 0));
  CHECK(reports(&child) == 1);
  CHECK(has(&child, "c invoked oom-killer: order=2, oom_score_adj=0\n"));
  CHECK(has(&child, ",task=c,pid=3,uid="));
  CHECK(has(&child, "Out of memory: Emptied heap 3 (c) total-vm:"));
  CHECK(has(&child, ": most points\n") && has(&child, " 0 a\n") && has(&child, " 0 b\n"));
}

/* 1000 pages and some, and 900 thousandths of the limit. */
static void score_child(void* allocating) {
  if (allocating != NULL) set("vm.oom_kill_allocating_task", "1");
  make_tenants(900);
  while (is_alive(b.heap) && add(&c) == 0) continue;
  CHECK(is_alive(a.heap));
  CHECK(is_alive(b.heap) == (allocating != NULL) && is_alive(c.heap) == (allocating == NULL));
  check(&a);
  if (allocating != NULL) check(&b);
  if (allocating == NULL) check(&c);
  verified();
}

static void score(void) {
  struct ChildResult child = run_child(score_child, NULL);
  CHECK(exited_with(child.status, 0) && reports(&child) == 1);
  CHECK(has(&child, "c invoked oom-killer") && has(&child, "Emptied heap 2 (b)") &&
        has(&child, "adj:900: most points"));
}

static void allocating(void) {
  struct ChildResult child = run_child(score_child, "yes");
  CHECK(exited_with(child.status, 0) && reports(&child) == 1);
  CHECK(has(&child, "Emptied heap 3 (c)") && has(&child, "it asked, and oom_kill_allocating_task is set"));
}

/* Its allocations fail, and nobody else's, until it has given something back. */
static void capped_child(void* nothing) {
  (void)nothing;
  c = (struct Tenant){.heap = make("c", WEIR_HEAP_OOM_FAIL, 0), .seed = 3};
  a = (struct Tenant){.heap = make("a", WEIR_HEAP_OOM_FAIL, 0), .seed = 1};
  put_in(&a, 3 * MIB);
  CHECK(leak(&c) == ENOMEM);
  CHECK(info_of(c.heap).capped == 1 && info_of(a.heap).capped == 0);
  for (int i = 0; i < 10; ++i) CHECK(add(&c) == ENOMEM);
  for (unsigned n = c.count / 4 * 3; n < c.count; ++n) free(c.chunks[n]);
  c.count = c.count / 4 * 3;
  CHECK(info_of(c.heap).capped == 1 || info_of(c.heap).capped == 0);
  put_in(&a, 1 * MIB);
  put_in(&c, 1 * MIB);
  CHECK(info_of(c.heap).capped == 0);
  check(&a);
  check(&c);
  verified();
}

static void capped(void) {
  struct ChildResult child = run_child(capped_child, NULL);
  CHECK(exited_with(child.status, 0) && reports(&child) == 1);
  CHECK(has(&child, "Out of memory: Fails allocations of heap 1 (c)"));
}

/* It takes one of the others, and no more. */
static void exempt_child(void* nothing) {
  (void)nothing;
  make_tenants(0);
  c.heap = make("log", WEIR_HEAP_OOM_FAIL, -1000);
  CHECK(leak(&c) == ENOMEM);
  CHECK(is_alive(a.heap) && !is_alive(b.heap));
  for (int i = 0; i < 10; ++i) CHECK(add(&c) == ENOMEM);
  CHECK(info_of(c.heap).capped == 1);
  check(&a);
  check(&c);
  verified();
}

static void exempt(void) {
  struct ChildResult child = run_child(exempt_child, NULL);
  CHECK(exited_with(child.status, 0) && reports(&child) == 2);
  CHECK(has(&child, "log invoked oom-killer: order=2, oom_score_adj=-1000\n") && has(&child, "Emptied heap 2 (b)"));
  CHECK(has(&child, "the allocation of log fails: it is exempt and has grown most since the last kill\n"));
}

/* Owners that free something, or refuse. */
static unsigned nr_asked;

static int free_some(weir_heap_t heap, size_t wanted, void* arg) {
  struct Tenant* t = arg;
  CHECK(heap == t->heap && wanted >= kChunk);
  /* Memory is scarce, but not for who frees some. */
  void* note = malloc(100);
  CHECK(note != NULL);
  free(note);
  ++nr_asked;
  for (unsigned n = t->count / 2; n < t->count; ++n) free(t->chunks[n]);
  t->count /= 2;
  return WEIR_HEAP_MAY_GO;
}

static int refuse(weir_heap_t heap, size_t wanted, void* arg) {
  (void)heap, (void)wanted, (void)arg;
  ++nr_asked;
  return WEIR_HEAP_STAYS;
}

static struct Tenant make_asked(const char* name, int (*ask)(weir_heap_t, size_t, void*), struct Tenant* arg) {
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.oom_policy = WEIR_HEAP_OOM_RELEASE;
  options.oom_score_adj = 900;
  options.on_oom = ask;
  options.oom_arg = arg;
  struct Tenant t = {.heap = weir_heap_create(name, &options), .seed = 7};
  CHECK(t.heap != NULL);
  return t;
}

static void asked_child(void* nothing) {
  (void)nothing;
  a = make_asked("frees", free_some, &a);
  put_in(&a, 8 * MIB);
  c = (struct Tenant){.heap = make("c", WEIR_HEAP_OOM_RELEASE, 0), .seed = 3};
  while (nr_asked == 0) CHECK(add(&c) == 0);
  CHECK(is_alive(a.heap) && nr_asked == 1 && a.count < 8 * MIB / kChunk);
  check(&a);
  CHECK(weir_heap_destroy(a.heap) == 0);
  b = make_asked("refuses", refuse, NULL);
  put_in(&b, 4 * MIB);
  CHECK(leak(&c) == EINVAL);
  CHECK(is_alive(b.heap) && nr_asked == 2);
  check(&b);
  verified();
}

static void asked(void) {
  struct ChildResult child = run_child(asked_child, NULL);
  CHECK(exited_with(child.status, 0) && reports(&child) == 1);
  CHECK(has(&child, "(c)"));
}

static void aborts_child(void* nothing) {
  (void)nothing;
  make_tenants(0);
  c.heap = make("vital", WEIR_HEAP_OOM_ABORT, 0);
  leak(&c);
}

static void aborts(void) {
  struct ChildResult child = run_child(aborts_child, NULL);
  CHECK(killed_by(child.status, SIGABRT) && reports(&child) == 1);
  CHECK(has(&child, "Out of memory: Aborted for heap 4 (vital)"));
}

static void lose_c(void) {
  make_tenants(0);
  set("vm.oom_dump_tasks", "0");
  CHECK(leak(&c) == EINVAL);
}

static void touched_child(void* how) {
  lose_c();
  uint64_t* p = c.chunks[c.count / 2];
  if (how != NULL)
    p[10] = 1;
  else
    _exit((int)(*(volatile uint64_t*)&p[10] & 1));
}

static void touched(void) {
  for (int i = 0; i < 2; ++i) {
    struct ChildResult child = run_child(touched_child, i == 0 ? NULL : "write");
    char line[128];
    snprintf(line, sizeof line, " belonged to heap c, which was emptied when memory ran out; touching it raises %s\n",
             lost_signal_name());
    CHECK(killed_by(child.status, lost_signal()));
    CHECK(has(&child, line));
  }
}

/* Whoever has pointers into it may go on freeing, and gets the addresses back. */
static void freed_child(void* nothing) {
  (void)nothing;
  lose_c();
  for (unsigned n = 0; n < c.count; ++n) free(c.chunks[n]);
  verified();
  put_in(&a, 12 * MIB);
  check(&a);
  CHECK(weir_heap_destroy(c.heap) == 0);
  verified();
  put_in(&a, 2 * MIB);
  check(&a);
  check(&b);
  verified();
}

static void forked_child(void* nothing) {
  (void)nothing;
  lose_c();
  pid_t child = fork();
  if (child == 0) {
    check(&a);
    verified();
    CHECK(weir_heap_destroy(c.heap) == 0);
    put_in(&b, 12 * MIB);
    check(&b);
    verified();
    _exit(0);
  }
  CHECK(status_of(child) == 0);
  child = fork();
  if (child == 0) _exit((int)(*(volatile uint64_t*)c.chunks[0] & 1));
  int status = status_of(child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == lost_signal());
  check(&a);
  verified();
}

/* What a program does that has run out of memory: it says so. */
static void reserve_child(void* nothing) {
  (void)nothing;
  static char* all[100000];
  unsigned count = 0;
  while (count < 100000 && (all[count] = malloc(kChunk)) != NULL) {
    for (size_t i = 0; i < kChunk / 8; ++i) ((uint64_t*)all[count])[i] = word_of(count, 1, kWordsPerPage + i % 500) + i;
    ++count;
  }
  CHECK(errno == ENOMEM);
  void* small[12];
  for (unsigned i = 0; i < 12; ++i) CHECK((small[i] = malloc(16 + 80 * i)) != NULL);
  for (unsigned i = 0; i < 12; ++i) free(small[i]);
  CHECK(malloc(kChunk) == NULL);
}

static void expect_fine(void (*body)(void*)) {
  struct ChildResult child = run_child(body, NULL);
  if (!exited_with(child.status, 0)) fprintf(stderr, "%s", child.text);
  CHECK(exited_with(child.status, 0));
}

int main(int argc, char** argv) {
  contract_begin(110);
  CHECK(argc == 2 && weir_heap_create != NULL);
  if (strcmp(argv[1], "leaking") == 0) leaking();
  if (strcmp(argv[1], "score") == 0) score();
  if (strcmp(argv[1], "allocating") == 0) allocating();
  if (strcmp(argv[1], "capped") == 0) capped();
  if (strcmp(argv[1], "exempt") == 0) exempt();
  if (strcmp(argv[1], "asked") == 0) asked();
  if (strcmp(argv[1], "aborts") == 0) aborts();
  if (strcmp(argv[1], "touched") == 0) touched();
  if (strcmp(argv[1], "freed") == 0) expect_fine(freed_child);
  if (strcmp(argv[1], "forked") == 0) expect_fine(forked_child);
  if (strcmp(argv[1], "reserve") == 0) expect_fine(reserve_child);
  return 0;
}
