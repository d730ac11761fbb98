/* dlopen_weir.c: a running program may load libweir-malloc with dlopen, again and again, and close it: its functions
 * work in every thread, also in those that were there before, and pointers of the program's own malloc are passed on.
 * The library's path is the argument. */
// contract: unloaded
#include <pthread.h>

#include "contract.h"

static void* (*their_malloc)(size_t);
static void* (*their_realloc)(void*, size_t);
static void (*their_free)(void*);
static pthread_barrier_t loaded;

static void* lookup(void* library, const char* name) {
  void* address = dlsym(library, name);
  Dl_info info;
  CHECK(address != NULL && dladdr(address, &info) != 0 && strstr(info.dli_fname, "libweir-malloc") != NULL);
  return address;
}

static void churn(void) {
  void* objects[200];
  for (size_t i = 0; i < 200; ++i) {
    objects[i] = their_malloc(i * i);
    CHECK(objects[i] != NULL);
    fill(objects[i], i * i, (unsigned)i);
  }
  for (size_t i = 0; i < 200; ++i) {
    objects[i] = their_realloc(objects[i], i * i + 50);
    CHECK(objects[i] != NULL && filled(objects[i], i * i, (unsigned)i));
    their_free(objects[i]);
  }
  /* The C library's pointers go on to the C library. */
  char* own = malloc(300);
  CHECK(own != NULL);
  fill(own, 300, 1);
  own = their_realloc(own, 600);
  CHECK(own != NULL && filled(own, 300, 1));
  their_free(own);
}

static void* old_thread(void* unused) {
  pthread_barrier_wait(&loaded);
  churn();
  return unused;
}

static void* new_thread(void* unused) {
  churn();
  return unused;
}

int main(int argc, char** argv) {
  const int flags[] = {RTLD_NOW | RTLD_LOCAL, RTLD_LAZY | RTLD_LOCAL, RTLD_NOW | RTLD_GLOBAL};
  pthread_t before;
  pthread_t after;
  contract_begin(60);
  CHECK(argc == 2);
  CHECK(pthread_barrier_init(&loaded, NULL, 2) == 0);
  CHECK(pthread_create(&before, NULL, old_thread, NULL) == 0);
  for (int i = 0; i < 6; ++i) {
    void* library = dlopen(argv[1], flags[i % 3]);
    if (library == NULL) contract_fail(__FILE__, __LINE__, dlerror());
    *(void**)&their_malloc = lookup(library, "malloc");
    *(void**)&their_realloc = lookup(library, "realloc");
    *(void**)&their_free = lookup(library, "free");
    churn();
    void* outlives = their_malloc(5000);
    CHECK(outlives != NULL);
    fill(outlives, 5000, 3);
    if (i == 0) pthread_barrier_wait(&loaded);
    CHECK(pthread_create(&after, NULL, new_thread, NULL) == 0);
    CHECK(pthread_join(after, NULL) == 0);
    CHECK(dlclose(library) == 0);
    CHECK(filled(outlives, 5000, 3));
    their_free(outlives);
  }
  CHECK(pthread_join(before, NULL) == 0);
  pid_t child = fork();
  if (child == 0) {
    churn();
    exit(0);
  }
  expect_success(child);
  return 0;
}
