/* coroutines.c: stacks that lie in memory of the program's own leave like all other; a coroutine that goes on then
 * frees and allocates at every depth of its stack, so that pages of it are missed wherever weir is at that moment. */
// limit: cases=malloc,mmap,threads,forks timeout=120
#include <alloca.h>
#include <pthread.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "limit.h"

enum { kMost = 600, kObjects = 4, kRounds = 12, kThreads = 3, kDeep = 20, kTurnsPerFork = 60 };
#define STACK (64 * KIB)
#define OBJECT ((size_t)20000)

struct Group;
struct Coroutine {
  struct Group* group;
  ucontext_t context;
  uint64_t* objects[kObjects];
  uint64_t random;
};
struct Group {
  ucontext_t caller;
  struct Coroutine coroutines[kMost];
  unsigned count;
  int mapped;
};
static struct Group groups[kThreads];
static int forks;

/* Every page of the stack has content. */
static __attribute__((noinline)) void go_deep(int depth, int value) {
  volatile char frame[2000];
  memset((void*)frame, value, sizeof frame);
  if (depth != 0) go_deep(depth - 1, value);
  CHECK(frame[7] == (char)value);
}

static void check_objects(const struct Coroutine* coroutine) {
  for (unsigned i = 0; i < kObjects; ++i)
    for (size_t w = 0; w < OBJECT / 8; w += 64) CHECK(coroutine->objects[i][w] == (w ^ i));
}

static void free_objects(struct Coroutine* coroutine) {
  for (unsigned i = 0; i < kObjects; ++i) free(coroutine->objects[i]);
  coroutine->objects[0] = NULL;
}

/* On the stack that it was forked on, a child frees what all coroutines have. */
static void fork_once(struct Coroutine* self) {
  const pid_t child = fork();
  if (child != 0) {
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    return;
  }
  for (unsigned i = 0; i < self->group->count; ++i) {
    struct Coroutine* each = &self->group->coroutines[i];
    if (each->objects[0] == NULL) continue;
    check_objects(each);
    free_objects(each);
  }
  _exit(0);
}

static __attribute__((noinline)) void free_at_depth(struct Coroutine* self, size_t depth) {
  volatile char* frame = alloca(depth);
  frame[0] = frame[depth - 1] = 1;
  if (forks && next_random(&self->random) % kTurnsPerFork == 0) fork_once(self);
  check_objects(self);
  free_objects(self);
  CHECK(frame[0] == 1);
}

static void run(unsigned high, unsigned low) {
  struct Coroutine* self = (struct Coroutine*)((uintptr_t)high << 32 | low);
  for (;;) {
    go_deep(kDeep, (int)self->random);
    for (unsigned i = 0; i < kObjects; ++i) {
      CHECK((self->objects[i] = malloc(OBJECT)) != NULL);
      for (size_t w = 0; w < OBJECT / 8; ++w) self->objects[i][w] = w ^ i;
    }
    swapcontext(&self->context, &self->group->caller);
    free_at_depth(self, 64 + next_random(&self->random) % 500 * 16);
    swapcontext(&self->context, &self->group->caller);
  }
}

static void start(struct Group* group, unsigned i) {
  struct Coroutine* self = &group->coroutines[i];
  char* stack =
      group->mapped ? mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : malloc(STACK);
  CHECK(stack != NULL && stack != MAP_FAILED && getcontext(&self->context) == 0);
  self->group = group;
  self->random = i + 1;
  self->context.uc_stack.ss_sp = stack;
  self->context.uc_stack.ss_size = STACK;
  uintptr_t number = (uintptr_t)self;
  makecontext(&self->context, (void (*)(void))(uintptr_t)run, 2, (unsigned)(number >> 32), (unsigned)number);
}

static void* take_turns(void* argument) {
  struct Group* group = argument;
  for (unsigned i = 0; i < group->count; ++i) start(group, i);
  for (unsigned round = 0; round < 2 * kRounds; ++round)
    for (unsigned i = 0; i < group->count; ++i) CHECK(swapcontext(&group->caller, &group->coroutines[i].context) == 0);
  return NULL;
}

int main(int argc, char** argv) {
  contract_begin(110);
  CHECK(argc == 2);
  forks = strcmp(argv[1], "forks") == 0;
  const unsigned count = strcmp(argv[1], "threads") == 0 ? kThreads : 1;
  pthread_t threads[kThreads];
  for (unsigned i = 0; i < count; ++i) {
    groups[i].count = kMost / count;
    groups[i].mapped = strcmp(argv[1], "mmap") == 0 || i % 2 == 1;
    CHECK(pthread_create(&threads[i], NULL, take_turns, &groups[i]) == 0);
  }
  for (unsigned i = 0; i < count; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  expect_within_limit(0);
  return 0;
}
