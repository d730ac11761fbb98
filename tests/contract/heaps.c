/* heaps.c: a C program with registered heaps works with the drop-in preloaded: its own malloc, free and realloc know
 * the objects of heaps, in every thread, after a fork, and what malloc_info and the others tell counts them. */
// contract: weir cases=objects,threads,children,sums,many
#include <malloc.h>
#include <pthread.h>

#include "contract.h"
#include "weir/weir.h"

#pragma weak weir_heap_aligned_alloc
#pragma weak weir_heap_calloc
#pragma weak weir_heap_create
#pragma weak weir_heap_destroy
#pragma weak weir_heap_find
#pragma weak weir_heap_malloc
#pragma weak weir_heap_next
#pragma weak weir_heap_of
#pragma weak weir_heap_realloc
#pragma weak weir_heap_set_limit
#pragma weak weir_heap_stats
#pragma weak weir_debug_verify

static uint64_t charged(weir_heap_t heap) {
  weir_heap_info info;
  CHECK(weir_heap_stats(heap, &info, sizeof info) == 0);
  return info.charged;
}

static uint64_t objects(weir_heap_t heap) {
  weir_heap_info info;
  CHECK(weir_heap_stats(heap, &info, sizeof info) == 0);
  return info.objects;
}

static void use_objects(void) {
  weir_heap_t heap = weir_heap_create("objects", NULL);
  CHECK(heap != NULL && charged(heap) == 0);
  for (size_t size = 1; size < 40 * MIB; size = size * 3 + 5) {
    char* p = weir_heap_malloc(heap, size);
    CHECK(p != NULL && weir_heap_of(p) == heap && malloc_usable_size(p) >= size);
    fill(p, size, 1);
    p = realloc(p, size * 2);
    CHECK(p != NULL && weir_heap_of(p) == heap && filled(p, size, 1));
    p = realloc(p, size);
    CHECK(p != NULL && weir_heap_of(p) == heap && filled(p, size, 1));
    free(p);
    char* zeroed = weir_heap_calloc(heap, 1, size);
    CHECK(zeroed != NULL && zeroed[0] == 0 && zeroed[size / 2] == 0 && zeroed[size - 1] == 0);
    free(zeroed);
    void* aligned = weir_heap_aligned_alloc(heap, 8192, size);
    CHECK(aligned != NULL && (uintptr_t)aligned % 8192 == 0);
    free(aligned);
    char* other = malloc(size);
    CHECK(weir_heap_of(other) == NULL);
    free(other);
  }
  /* With what the thread kept at hand. */
  CHECK(malloc_trim(0) == 1 && objects(heap) == 0 && charged(heap) == 0);
  CHECK(weir_heap_set_limit(heap, MIB) == 0);
  errno = 0;
  CHECK(weir_heap_malloc(heap, 2 * MIB) == NULL && errno == ENOMEM);
  CHECK(weir_heap_destroy(heap) == 0 && weir_heap_destroy(heap) == EINVAL);
  errno = 0;
  CHECK(weir_heap_malloc(heap, 1) == NULL && errno == EINVAL);
  CHECK(weir_debug_verify() == 1);
}

enum { kThreads = 4, kRounds = 300, kLive = 64 };

/* Its own heap, made and destroyed again and again, and objects that come from everywhere. */
static void* work(void* argument) {
  static char* shared[kLive];
  weir_heap_t common = argument;
  for (unsigned round = 0; round < kRounds; ++round) {
    weir_heap_t own = weir_heap_create(NULL, NULL);
    CHECK(own != NULL);
    for (unsigned i = 0; i < kLive; ++i) {
      size_t size = (size_t)round * 37 % 3000 + i;
      char* p = i % 3 == 0 ? malloc(size) : weir_heap_malloc(common, i % 3 == 1 ? size : size * 20);
      CHECK(p != NULL);
      fill(p, size < 16 ? size : 16, i);
      char* before = __atomic_exchange_n(&shared[i], p, __ATOMIC_ACQ_REL);
      if (before != NULL) {
        CHECK(weir_heap_of(before) == (i % 3 == 0 ? NULL : common));
        free(before);
      }
      CHECK(weir_heap_malloc(own, size * 3) != NULL);
    }
    CHECK(weir_heap_destroy(own) == 0);
  }
  return NULL;
}

static void use_threads(void) {
  weir_heap_t heap = weir_heap_create("common", NULL);
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, work, heap) == 0);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(weir_heap_next(NULL) == heap && weir_heap_next(heap) == NULL);
  CHECK(weir_debug_verify() == 1);
  CHECK(weir_heap_destroy(heap) == 0);
  CHECK(weir_debug_verify() == 1);
}

static void use_children(void) {
  weir_heap_t heap = weir_heap_create("family", NULL);
  char* small = weir_heap_malloc(heap, 100);
  char* large = weir_heap_malloc(heap, MIB);
  fill(small, 100, 1);
  fill(large, MIB, 2);
  for (int i = 0; i < 20; ++i) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      CHECK(filled(small, 100, 1) && filled(large, MIB, 2) && weir_heap_find("family") == heap);
      free(small);
      large = realloc(large, 2 * MIB);
      CHECK(large != NULL && filled(large, MIB, 2) && weir_heap_of(large) == heap);
      CHECK(weir_heap_create("the child's", NULL) != NULL);
      CHECK(weir_heap_destroy(heap) == 0 && weir_debug_verify() == 1);
      _exit(0);
    }
    expect_success(child);
  }
  CHECK(filled(small, 100, 1) && filled(large, MIB, 2) && objects(heap) == 2);
}

/* What is free within the slabs of heaps is free in glibc's numbers, too. */
static void use_sums(void) {
  weir_heap_t heap = weir_heap_create("sums", NULL);
  enum { kObjects = 3000, kSize = 1000 };
  static char* all[kObjects];
  struct mallinfo2 before = mallinfo2();
  CHECK(before.arena == before.uordblks + before.fordblks);
  for (int i = 0; i < kObjects; ++i) all[i] = weir_heap_malloc(heap, kSize);
  struct mallinfo2 full = mallinfo2();
  CHECK(full.uordblks >= before.uordblks + (size_t)kObjects * kSize);
  for (int i = 0; i < kObjects; i += 2) free(all[i]);
  struct mallinfo2 half = mallinfo2();
  CHECK(half.arena == half.uordblks + half.fordblks);
  CHECK(full.uordblks - half.uordblks >= (size_t)kObjects / 2 * kSize);
  /* A thread keeps up to 32 at hand. */
  CHECK(half.ordblks + 32 >= full.ordblks + kObjects / 2);
  CHECK(weir_heap_destroy(heap) == 0);
  CHECK(mallinfo2().uordblks <= before.uordblks + 64 * KIB);
}

static void use_many(void) {
  enum { kHeaps = 10000 };
  static weir_heap_t heaps[kHeaps];
  for (int i = 0; i < kHeaps; ++i) {
    heaps[i] = weir_heap_create(NULL, NULL);
    CHECK(heaps[i] != NULL);
    if (i % 10 == 0) CHECK(weir_heap_malloc(heaps[i], 100) != NULL);
  }
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK(weir_debug_verify() == 1);
    for (int i = 0; i < kHeaps; ++i) CHECK(weir_heap_destroy(heaps[i]) == 0);
    _exit(0);
  }
  expect_success(child);
  for (int i = 0; i < kHeaps; ++i) CHECK(weir_heap_destroy(heaps[i]) == 0);
  CHECK(weir_heap_next(NULL) == NULL && weir_debug_verify() == 1);
}

int main(int argc, char** argv) {
  contract_begin(55);
  CHECK(argc == 2 && weir_heap_create != NULL);
  if (strcmp(argv[1], "objects") == 0) use_objects();
  if (strcmp(argv[1], "threads") == 0) use_threads();
  if (strcmp(argv[1], "children") == 0) use_children();
  if (strcmp(argv[1], "sums") == 0) use_sums();
  if (strcmp(argv[1], "many") == 0) use_many();
  return 0;
}
