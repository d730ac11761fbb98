/* tenants.c: an example: a server with a heap for each tenant. One of them leaks; when memory runs out it loses its
 * heap, and nobody else notices.
 * Run it under a limit: WEIR_CONF=limit=32M,swap=none tenants */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/heap.h>

enum { kTenants = 4, kLeaking = 2, kRequests = 20000, kAnswers = 200 };

struct Tenant {
  char name[16];
  weir_heap_t heap;
  char* answers[kAnswers]; /* those given last */
  int restarts;
};

static struct Tenant tenants[kTenants];

/* Asked before a heap is emptied. This server never looks into a tenant's memory but while it serves it. */
static int may_go(weir_heap_t heap, size_t wanted, void* tenant) {
  (void)heap;
  (void)wanted;
  fprintf(stderr, "tenants: %s is about to lose its heap\n", ((struct Tenant*)tenant)->name);
  return WEIR_HEAP_MAY_GO;
}

static int start(struct Tenant* tenant) {
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.oom_policy = WEIR_HEAP_OOM_RELEASE;
  options.on_oom = may_go;
  options.oom_arg = tenant;
  memset(tenant->answers, 0, sizeof tenant->answers);
  tenant->heap = weir_heap_create(tenant->name, &options);
  return tenant->heap != NULL;
}

/* Its heap is gone: what is left of it goes back, and the tenant starts with an empty one. */
static int restart(struct Tenant* tenant) {
  weir_heap_destroy(tenant->heap);
  ++tenant->restarts;
  return start(tenant);
}

/* Answers are noise, which does not compress. */
static int serve(struct Tenant* tenant, unsigned request, int leaks) {
  static unsigned state = 1;
  size_t size = 1000 + request % 3000;
  char* answer = weir_heap_malloc(tenant->heap, size);
  if (answer == NULL) return errno;
  for (size_t i = 0; i < size; ++i) answer[i] = (char)((state = state * 1103515245u + 12345u) >> 16);
  answer[0] = (char)request;
  if (!leaks) weir_free(tenant->answers[request % kAnswers]);
  tenant->answers[request % kAnswers] = answer;
  return 0;
}

int main(void) {
  for (int t = 0; t < kTenants; ++t) {
    snprintf(tenants[t].name, sizeof tenants[t].name, "tenant %d", t);
    if (!start(&tenants[t])) return 1;
  }
  for (unsigned request = 0; request < kRequests; ++request) {
    for (int t = 0; t < kTenants; ++t) {
      int error = serve(&tenants[t], request, t == kLeaking);
      /* The handle is stale. */
      if (error == EINVAL && !restart(&tenants[t])) return 2;
      if (error == ENOMEM) return 3;
      /* What was answered last is there. */
      if (error == 0 && tenants[t].answers[request % kAnswers][0] != (char)request) return 4;
    }
  }
  for (int t = 0; t < kTenants; ++t) {
    weir_heap_info info;
    if (weir_heap_stats(tenants[t].heap, &info, sizeof info) != 0) return 5;
    printf("%s: %d restarts, %zu KiB\n", tenants[t].name, tenants[t].restarts, (size_t)(info.charged >> 10));
    if ((tenants[t].restarts != 0) != (t == kLeaking)) return 6;
  }
  return 0;
}
