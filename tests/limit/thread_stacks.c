/* thread_stacks.c: threads on stacks that the program allocated. The stacks leave like all other memory; what the C
 * library and the kernel keep at their tops of a thread stays as long as the stack is allocated, and no longer. */
// limit: cases=malloc,mmap timeout=120
#include <pthread.h>

#include "limit.h"

enum { kThreads = 300, kObjects = 4, kRounds = 10, kDeep = 20 };
#define STACK (64 * KIB)
#define OBJECT ((size_t)20000)

static struct Dataset data;
static struct Thread {
  pthread_t thread;
  char* stack;
  const char* own; /* the C library's part of the stack */
} threads[kThreads];
static pthread_barrier_t begin, end;

static __attribute__((noinline)) void go_deep(int depth, int value) {
  volatile char frame[2000];
  memset((void*)frame, value, sizeof frame);
  if (depth != 0) go_deep(depth - 1, value);
  CHECK(frame[7] == (char)value);
}

/* All at once, between rounds in which all of them are away. */
static void* run(void* argument) {
  struct Thread* self = argument;
  self->own = (const char*)pthread_self();
  uint64_t* objects[kObjects];
  for (unsigned round = 0; round < kRounds; ++round) {
    go_deep(kDeep, (int)round);
    for (unsigned i = 0; i < kObjects; ++i) {
      CHECK((objects[i] = malloc(OBJECT)) != NULL);
      for (size_t w = 0; w < OBJECT / 8; ++w) objects[i][w] = w ^ i;
    }
    pthread_barrier_wait(&end);
    pthread_barrier_wait(&begin);
    for (unsigned i = 0; i < kObjects; ++i) {
      for (size_t w = 0; w < OBJECT / 8; w += 64) CHECK(objects[i][w] == (w ^ i));
      free(objects[i]);
    }
  }
  return NULL;
}

static unsigned resident_pages(const char* from, size_t bytes) {
  unsigned char pages[STACK / PAGE];
  const char* first = (const char*)((uintptr_t)from / PAGE * PAGE);
  CHECK(bytes <= STACK && mincore((void*)first, bytes, pages) == 0);
  unsigned count = 0;
  for (size_t i = 0; i < bytes / PAGE; ++i) count += pages[i] & 1;
  return count;
}

/* Everything else is pushed out. */
static void push_out(void) {
  if (data.count == 0) make_data(&data, memory_limit() != 0 ? memory_limit() * 3 / 2 : 36 * MIB);
  check_data(&data);
}

static void expect_own_parts_present(void) {
  unsigned present = 0, pages = 0;
  for (unsigned i = 0; i < kThreads; ++i) {
    present += resident_pages(threads[i].own, PAGE);
    pages += resident_pages(threads[i].stack, STACK);
  }
  CHECK(present == kThreads);
  if (memory_limit() != 0) CHECK(pages < kThreads * (STACK / PAGE) / 2);
}

int main(int argc, char** argv) {
  contract_begin(110);
  CHECK(argc == 2);
  const int mapped = strcmp(argv[1], "mmap") == 0;
  CHECK(pthread_barrier_init(&begin, NULL, kThreads + 1) == 0 && pthread_barrier_init(&end, NULL, kThreads + 1) == 0);
  for (unsigned i = 0; i < kThreads; ++i) {
    struct Thread* each = &threads[i];
    pthread_attr_t attributes;
    each->stack = mapped ? mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                         : aligned_alloc(PAGE, STACK);
    CHECK(each->stack != NULL && each->stack != MAP_FAILED && pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstack(&attributes, each->stack, STACK) == 0);
    CHECK(pthread_create(&each->thread, &attributes, run, each) == 0);
  }
  for (unsigned round = 0; round < kRounds; ++round) {
    pthread_barrier_wait(&end);
    push_out();
    expect_own_parts_present();
    pthread_barrier_wait(&begin);
  }
  for (unsigned i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i].thread, NULL) == 0);
  for (unsigned i = 0; i < kThreads; ++i) {
    if (mapped)
      CHECK(munmap(threads[i].stack, STACK) == 0);
    else
      free(threads[i].stack);
  }
  /* What weir has of a thread: its cache. */
  expect_within_limit(kThreads * 48 * KIB);
  return 0;
}
