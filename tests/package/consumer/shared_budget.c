/* shared_budget.c: an example: two processes share one budget. One keeps a cache in a heap that it can do without; when
 * the other needs the memory, the cache goes, and both learn who was chosen.
 * Run it under a limit: WEIR_CONF=limit=48M,swap=none shared_budget
 * "weir pool show shared-budget" shows both meanwhile, and "weir pool rm shared-budget" removes what is left. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir/events.h>
#include <weir/heap.h>
#include <weir/pool.h>

enum { kChunk = 64 << 10, kCacheChunks = 320, kWorkChunks = 640 };

/* Noise, which does not compress: what is held is held in memory. */
static void* filled(void* chunk) {
  static uint32_t state = 1;
  for (size_t i = 0; chunk != NULL && i < kChunk / sizeof(uint32_t); ++i)
    ((uint32_t*)chunk)[i] = state = state * 1664525u + 1013904223u;
  return chunk;
}

static void tell_victims(const char* who) {
  weir_victim all[4];
  int count = weir_victims(0, all, 4, sizeof all[0]);
  for (int i = 0; i < count; ++i)
    printf("%s: %s of process %u had to go, with %lld points\n", who, all[i].name, all[i].pid,
           (long long)all[i].points);
}

/* Its cache is gone when the handle is stale. */
static int keep_cache(int ready, int done) {
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.oom_score_adj = 500;
  options.oom_policy = WEIR_HEAP_OOM_RELEASE;
  weir_heap_t cache = weir_heap_create("cache", &options);
  for (int i = 0; i < kCacheChunks; ++i)
    if (filled(weir_heap_malloc(cache, kChunk)) == NULL) return 1;
  char byte = 0;
  if (write(ready, &byte, 1) != 1 || read(done, &byte, 1) != 1) return 2;
  tell_victims("the cache");
  weir_heap_info info;
  return weir_heap_stats(cache, &info, sizeof info) == 0 ? 3 : 0;
}

int main(void) {
  int ready[2], done[2];
  char byte = 0;
  /* From here on children are members, too. */
  if (weir_pool_join("shared-budget") != 0) return perror("weir_pool_join"), 4;
  if (pipe(ready) != 0 || pipe(done) != 0) return 5;
  setvbuf(stdout, NULL, _IOLBF, 0);
  pid_t other = fork();
  if (other == 0) _exit(keep_cache(ready[1], done[0]));
  if (other < 0 || read(ready[0], &byte, 1) != 1) return 6;
  /* 40 MiB of 48, of which the cache has 20. */
  for (int i = 0; i < kWorkChunks; ++i)
    if (filled(malloc(kChunk)) == NULL) return 7;
  tell_victims("the worker");
  int status = 0;
  if (write(done[1], &byte, 1) != 1 || waitpid(other, &status, 0) != other) return 8;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 9;
}
