/* movable.c: objects with handles within a limit: two and a half times as much as it, read and changed by threads while
 * all of it is swapped and moved, and by children that are forked meanwhile. Where the kernel lets nobody see faults
 * (closed, pinned, refused), they leave memory all the same, but for those that are pinned. */
// limit: cases=swapped,closed,pinned,refused weir timeout=120
#include <pthread.h>
#include <stdatomic.h>

#include "limit.h"
#include "weak_movable.h"

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

static void swapped(void) {
  pthread_t users[kThreads], mover;
  unsigned numbers[kThreads];
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
  expect_within_limit(MIB);
  for (unsigned t = 0; t < kThreads; ++t)
    for (unsigned i = 0; i < kObjects; ++i) check_object(t, i), weir_movable_free(objects[t][i].handle);
  CHECK(weir_debug_verify());
}

/* What is pinned stays, at its address, and can be read by system calls. */
static void pinned(void) {
  char* held[kObjects];
  make_object(0, 0);
  for (unsigned i = 0; i < kObjects; ++i) {
    make_object(1, i);
    held[i] = i % 16 == 0 ? weir_movable_pin(objects[1][i].handle) : NULL;
    make_object(2, i);
  }
  expect_within_limit(MIB);
  int sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
  for (unsigned i = 0; i < kObjects; i += 16) {
    const size_t bytes = objects[1][i].pages * PAGE;
    CHECK(bytes_away(held[i], bytes) == 0);
    CHECK(write(sink, held[i], bytes) == (ssize_t)bytes);
    CHECK(weir_movable_pin(objects[1][i].handle) == held[i]);
    weir_movable_unpin(objects[1][i].handle);
    weir_movable_unpin(objects[1][i].handle);
  }
  close(sink);
  /* What is away goes without coming back. */
  for (unsigned i = 0; i < kObjects; ++i) {
    weir_movable_free(objects[2][i].handle);
    check_object(1, i);
  }
  CHECK(weir_debug_verify());
}

/* What does not compress cannot leave: memory is refused, and what there is stays what it is. */
static void refused(void) {
  enum { kPages = 16 };
  weir_movable_t all[4 * kObjects];
  unsigned n = 0;
  for (uint64_t x = 88172645463325252u; n < 4 * kObjects; ++n) {
    all[n] = weir_movable_alloc(kPages * PAGE);
    if (all[n] == NULL) break;
    uint64_t* p = weir_movable_pin(all[n]);
    for (size_t i = 0; i < kPages * kWordsPerPage; ++i) x ^= x << 13, x ^= x >> 7, x ^= x << 17, p[i] = x;
    weir_movable_unpin(all[n]);
  }
  CHECK(errno == ENOMEM && n * kPages * PAGE > memory_limit() / 2);
  expect_within_limit(MIB);
  uint64_t x = 88172645463325252u;
  for (unsigned k = 0; k < n; ++k) {
    const uint64_t* p = weir_movable_pin(all[k]);
    for (size_t i = 0; i < kPages * kWordsPerPage; ++i) x ^= x << 13, x ^= x >> 7, x ^= x << 17, CHECK(p[i] == x);
    weir_movable_unpin(all[k]);
    weir_movable_free(all[k]);
  }
  CHECK(weir_debug_verify());
}

static void start_without_userfaultfd(void* name) {
  char self[4096], inside[64];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  CHECK(length > 0);
  self[length] = '\0';
  snprintf(inside, sizeof inside, "inside_%s", (const char*)name);
  char conf[4096];
  snprintf(conf, sizeof conf, "%s,system_swap=0", getenv("WEIR_CONF"));
  CHECK(setenv("WEIR_CONF", conf, 1) == 0);
  become_nobody_else();
  execl(self, self, inside, (char*)NULL);
  _exit(1);
}

static void without_userfaultfd(char* name) {
  struct ChildResult result = run_child(start_without_userfaultfd, name);
  char* said = strstr(result.text, "weir: ");
  CHECK(said != NULL && strstr(said, "userfaultfd") != NULL && strstr(said + 1, "weir: ") == NULL);
  *said = '>';
  fprintf(stderr, "status 0x%x, said: %s\n", (unsigned)result.status, result.text);
  CHECK(exited_with(result.status, 0));
}

int main(int argc, char** argv) {
  contract_begin(120);
  CHECK(argc == 2);
  const char* name = strncmp(argv[1], "inside_", 7) == 0 ? argv[1] + 7 : NULL;
  if (name == NULL && strcmp(argv[1], "swapped") != 0) {
    if (getuid() != 0 || user_may_have_userfaultfd()) {
      printf("skipped: only root can become somebody without a userfaultfd, and not where everybody may have one\n");
      return kSkip;
    }
    without_userfaultfd(argv[1]);
  } else if (name != NULL && strcmp(name, "pinned") == 0) {
    pinned();
  } else if (name != NULL && strcmp(name, "refused") == 0) {
    refused();
  } else {
    swapped();
  }
  return 0;
}
