/* movable.c: objects with handles within a limit: two and a half times as much as it, read and changed by threads while
 * all of it is swapped and moved, and by children that are forked meanwhile. */
// limit: weir timeout=120
#include <pthread.h>
#include <stdatomic.h>

#include "limit.h"
#include "weir/movable.h"

/* They come from the library that is preloaded. */
#pragma weak weir_movable_alloc
#pragma weak weir_movable_free
#pragma weak weir_movable_pin
#pragma weak weir_movable_unpin
#pragma weak weir_movable_compact
#pragma weak weir_debug_verify

enum { kThreads = 3, kObjects = 1200, kForks = 8, kRounds = 12 };

static struct Object {
  weir_movable_t handle;
  size_t pages;
  unsigned generation;
} objects[kThreads][kObjects];
static atomic_int stop;

static uint64_t word(unsigned thread, unsigned i, size_t at) {
  return word_of(thread * kObjects + i, objects[thread][i].generation, at);
}

static void write_object(unsigned thread, unsigned i) {
  struct Object* o = &objects[thread][i];
  uint64_t* p = weir_movable_pin(o->handle);
  for (size_t at = 0; at < o->pages * kWordsPerPage; at += 61) p[at] = word(thread, i, at);
  weir_movable_unpin(o->handle);
}

static void check_object(unsigned thread, unsigned i) {
  struct Object* o = &objects[thread][i];
  const uint64_t* p = weir_movable_pin(o->handle);
  for (size_t at = 0; at < o->pages * kWordsPerPage; at += 61) CHECK(p[at] == word(thread, i, at));
  weir_movable_unpin(o->handle);
}

static void make_object(unsigned thread, unsigned i) {
  struct Object* o = &objects[thread][i];
  o->pages = 1 + (i * 5 + o->generation * 3 + thread) % 8;
  o->handle = weir_movable_alloc(o->pages * PAGE);
  CHECK(o->handle != NULL);
  write_object(thread, i);
}

/* Only the own objects change. */
static void* use(void* argument) {
  const unsigned thread = *(unsigned*)argument;
  for (unsigned round = 0; round < kRounds; ++round) {
    for (unsigned i = round % 3; i < kObjects; i += 3) {
      struct Object* o = &objects[thread][i];
      check_object(thread, i);
      if ((i + round) % 4 != 0) continue;
      ++o->generation;
      if (i % 2 == 0) {
        write_object(thread, i);
      } else {
        weir_movable_free(o->handle);
        make_object(thread, i);
      }
    }
  }
  return NULL;
}

static void* compact(void* unused) {
  while (!stop) weir_movable_compact();
  return unused;
}

/* Of the others' objects some may be between two states. */
static void fork_once(void) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    end_if_hung(60);
    for (unsigned i = 0; i < kObjects; ++i) check_object(0, i);
    weir_movable_compact();
    for (unsigned i = 0; i < kObjects; ++i) {
      if (i % 3 == 0) ++objects[0][i].generation, write_object(0, i);
      check_object(0, i);
    }
    for (unsigned i = 0; i < kObjects; ++i) weir_movable_free(objects[0][i].handle);
    _exit(0);
  }
  expect_success(child);
}

int main(void) {
  pthread_t users[kThreads], mover;
  unsigned numbers[kThreads];
  contract_begin(120);
  for (unsigned t = 0; t < kThreads; ++t)
    for (unsigned i = 0; i < kObjects; ++i) make_object(t, i);
  CHECK(pthread_create(&mover, NULL, compact, NULL) == 0);
  for (unsigned t = 1; t < kThreads; ++t) {
    numbers[t] = t;
    CHECK(pthread_create(&users[t], NULL, use, &numbers[t]) == 0);
  }
  for (unsigned f = 0; f < kForks; ++f) {
    fork_once();
    for (unsigned i = f; i < kObjects; i += kForks) check_object(0, i);
  }
  for (unsigned t = 1; t < kThreads; ++t) CHECK(pthread_join(users[t], NULL) == 0);
  stop = 1;
  CHECK(pthread_join(mover, NULL) == 0);
  for (unsigned t = 0; t < kThreads; ++t)
    for (unsigned i = 0; i < kObjects; ++i) check_object(t, i), weir_movable_free(objects[t][i].handle);
  CHECK(weir_debug_verify());
  return 0;
}
