/* heap_shrinkers.c: a heap at its limit has its shrinkers asked before an allocation fails, without a limit of the
 * process; those of other heaps are left alone; one that works within the allocation and one on a thread of its own. */
// contract: weir cases=direct,thread,others,stuck
#include <pthread.h>

#include "contract.h"
#include "weir/heap.h"
#include "weir/shrinker.h"

/* They come from the library that is preloaded. */
#pragma weak weir_register_shrinker
#pragma weak weir_unregister_shrinker
#pragma weak weir_heap_create
#pragma weak weir_heap_destroy
#pragma weak weir_heap_malloc
#pragma weak weir_heap_stats
#pragma weak weir_debug_verify

enum { kLimit = 4 << 20, kSize = 2000, kMost = 20000 };

static pthread_t caller;

/* A ring of what can be done without. */
struct Cache {
  weir_heap_t heap;
  pthread_mutex_t mutex;
  void* objects[kMost];
  unsigned first, end;
  unsigned scans;
  unsigned scans_within; /* an allocation */
};

static struct Cache cache = {.mutex = PTHREAD_MUTEX_INITIALIZER}, other = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static size_t count(void* arg) {
  struct Cache* c = arg;
  return c->end - c->first;
}

static size_t scan(void* arg, size_t wanted) {
  struct Cache* c = arg;
  if (pthread_mutex_trylock(&c->mutex) != 0) return WEIR_SHRINK_STOP;
  size_t freed = 0;
  for (; freed < wanted && c->first < c->end; ++freed) free(c->objects[c->first++]);
  ++c->scans;
  c->scans_within += pthread_equal(caller, pthread_self()) != 0;
  pthread_mutex_unlock(&c->mutex);
  return freed;
}

static void make(struct Cache* c, const char* name) {
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.limit = kLimit;
  c->heap = weir_heap_create(name, &options);
  CHECK(c->heap != NULL);
}

static struct weir_shrinker shrinker_of(struct Cache* c, unsigned flags) {
  return (struct weir_shrinker){.size = sizeof(struct weir_shrinker),
                                .name = "ring",
                                .count = count,
                                .scan = scan,
                                .seeks = WEIR_DEFAULT_SEEKS,
                                .arg = c,
                                .flags = flags,
                                .heap = c->heap};
}

/* 0, or the error. */
static int add(struct Cache* c) {
  void* p = weir_heap_malloc(c->heap, kSize);
  if (p == NULL) return errno;
  memset(p, 1, kSize);
  pthread_mutex_lock(&c->mutex);
  CHECK(c->end < kMost);
  c->objects[c->end++] = p;
  pthread_mutex_unlock(&c->mutex);
  return 0;
}

static void expect_shed(unsigned flags) {
  make(&cache, "cache");
  struct weir_shrinker shrinker = shrinker_of(&cache, flags);
  CHECK(weir_register_shrinker(&shrinker) == 0);
  for (unsigned i = 0; i < 5 * kLimit / kSize; ++i) CHECK(add(&cache) == 0);
  /* Some of it went, most of it is there. */
  CHECK(cache.first > 0 && (cache.end - cache.first) * kSize > kLimit / 4);
  CHECK((cache.scans_within != 0) == (flags != 0));
  weir_heap_info info;
  CHECK(weir_heap_stats(cache.heap, &info, sizeof info) == 0);
  CHECK(info.charged <= kLimit && info.limit_failures == 0 && info.limit_hits > 0);
  CHECK(weir_debug_verify() == 1);
  CHECK(weir_unregister_shrinker(&shrinker) == 0);
  int error;
  while ((error = add(&cache)) == 0) continue;
  CHECK(error == ENOMEM);
  CHECK(weir_heap_destroy(cache.heap) == 0);
}

/* The limit of one heap is not the others' business. */
static void others(void) {
  make(&cache, "cache");
  make(&other, "other");
  struct weir_shrinker mine = shrinker_of(&cache, WEIR_SHRINKER_DIRECT);
  struct weir_shrinker theirs = shrinker_of(&other, WEIR_SHRINKER_DIRECT);
  struct weir_shrinker nobodys = theirs;
  nobodys.heap = NULL;
  CHECK(weir_register_shrinker(&mine) == 0 && weir_register_shrinker(&theirs) == 0);
  CHECK(weir_register_shrinker(&nobodys) == 0);
  for (unsigned i = 0; i < 1000; ++i) CHECK(add(&other) == 0);
  for (unsigned i = 0; i < 5 * kLimit / kSize; ++i) CHECK(add(&cache) == 0);
  CHECK(other.scans == 0 && cache.scans > 0);
  /* A structure of the first version has no heap. */
  struct weir_shrinker old = mine;
  old.size = offsetof(struct weir_shrinker, heap);
  CHECK(weir_unregister_shrinker(&mine) == 0 && weir_register_shrinker(&old) == 0);
  int error;
  unsigned scans = cache.scans;
  while ((error = add(&cache)) == 0) continue;
  CHECK(error == ENOMEM && cache.scans == scans);
  old.size -= 1;
  CHECK(weir_register_shrinker(&old) == -1 && errno == EINVAL);
}

/* A callback that waits for a lock of the thread that allocates is not waited for. */
static size_t scan_stuck(void* arg, size_t wanted) {
  struct Cache* c = arg;
  (void)wanted;
  pthread_mutex_lock(&c->mutex);
  pthread_mutex_unlock(&c->mutex);
  return WEIR_SHRINK_STOP;
}

static void stuck(void) {
  make(&cache, "cache");
  struct weir_shrinker shrinker = shrinker_of(&cache, 0);
  shrinker.scan = scan_stuck;
  CHECK(weir_register_shrinker(&shrinker) == 0);
  while (add(&cache) == 0 && cache.end < 1000) continue;
  pthread_mutex_lock(&cache.mutex);
  while (weir_heap_malloc(cache.heap, kSize) != NULL) continue;
  CHECK(errno == ENOMEM);
  pthread_mutex_unlock(&cache.mutex);
  CHECK(weir_unregister_shrinker(&shrinker) == 0);
}

int main(int argc, char** argv) {
  contract_begin(50);
  caller = pthread_self();
  CHECK(argc == 2 && weir_heap_create != NULL);
  if (strcmp(argv[1], "direct") == 0) expect_shed(WEIR_SHRINKER_DIRECT);
  if (strcmp(argv[1], "thread") == 0) expect_shed(0);
  if (strcmp(argv[1], "others") == 0) others();
  if (strcmp(argv[1], "stuck") == 0) stuck();
  return 0;
}
