/* limits.c: under a small RLIMIT_AS or RLIMIT_DATA, set before the program starts or while it runs, memory is handed
 * out up to near the limit, then null with ENOMEM, and works again after frees; threads still get theirs. */
// contract: cases=as_256,as_64,data_256,data_64,as_later,data_later
#include <pthread.h>
#include <sys/resource.h>

#include "contract.h"

enum { kChunks = 8192 };
static char* chunks[kChunks];

static void set_limit(int resource, size_t bytes) {
  struct rlimit limit = {bytes, bytes};
  CHECK(setrlimit((__rlimit_resource_t)resource, &limit) == 0);
}

/* Takes objects until there are no more and gives all of them back; returns the bytes that were had. */
static size_t exhaust(size_t size) {
  size_t count = 0;
  errno = 0;
  while (count < kChunks && (chunks[count] = malloc(size)) != NULL) memset(chunks[count++], 0x11, size);
  CHECK(count == kChunks || errno == ENOMEM);
  if (count < kChunks) {
    errno = 0;
    CHECK(calloc(1, size) == NULL || errno == 0);
  }
  for (size_t i = 0; i < count; ++i) free(chunks[i]);
  return count * size;
}

static void* use_in_thread(void* unused) {
  for (size_t i = 1; i < 2000; ++i) {
    char* ptr = malloc(i);
    CHECK(ptr != NULL);
    memset(ptr, 1, i);
    free(ptr);
  }
  return unused;
}

/* Half of the limit must be had: the rest is for the program's own code, libraries and stacks, and for bookkeeping. */
static void live_under(size_t limit) {
  pthread_t thread;
  pthread_attr_t attributes;
  CHECK(exhaust(64 * KIB) >= limit / 2);
  CHECK(exhaust(64 * KIB) >= limit / 2);
  CHECK(exhaust(MIB) >= limit / 2);
  CHECK(exhaust(2000) >= (limit / 2 < kChunks * 2000 ? limit / 2 : kChunks * 2000));
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstacksize(&attributes, 256 * KIB) == 0);
  for (int i = 0; i < 8; ++i) {
    CHECK(pthread_create(&thread, &attributes, use_in_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  pid_t child = fork();
  if (child == 0) {
    CHECK(exhaust(64 * KIB) >= limit / 2);
    exit(0);
  }
  expect_success(child);
}

/* A limit below what is mapped already: what happens is malloc's choice, but it neither crashes nor corrupts, and what
 * was given back before can be had again. */
static void live_under_later(int resource) {
  char* before = malloc(4 * MIB);
  CHECK(before != NULL);
  fill(before, 4 * MIB, 3);
  void* small[1000];
  for (int i = 0; i < 1000; ++i) small[i] = malloc(500);
  set_limit(resource, 64 * MIB);
  for (int i = 0; i < 1000; ++i) free(small[i]);
  for (int i = 0; i < 1000; ++i) CHECK((small[i] = malloc(500)) != NULL);
  exhaust(64 * KIB);
  exhaust(MIB);
  CHECK(filled(before, 4 * MIB, 3));
  free(before);
  for (int i = 0; i < 1000; ++i) free(small[i]);
  CHECK((before = malloc(2000)) != NULL);
  free(before);
}

static int is_case(const char* name, const char* wanted) {
  return strcmp(name, wanted) == 0;
}

int main(int argc, char** argv) {
  char again[64];
  contract_begin(60);
  CHECK(argc == 2);
  const char* name = argv[1];
  int resource = strstr(name, "data") != NULL ? RLIMIT_DATA : RLIMIT_AS;
  size_t limit = strstr(name, "64") != NULL ? 64 * MIB : 256 * MIB;
  if (is_case(name, "as_later") || is_case(name, "data_later")) {
    live_under_later(resource);
  } else if (strncmp(name, "run_", 4) == 0) {
    live_under(limit);
  } else {
    set_limit(resource, limit);
    snprintf(again, sizeof again, "run_%s", name);
    exec_self(again, NULL);
  }
  return 0;
}
