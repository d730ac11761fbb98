/* movable.c: objects with handles keep their content wherever they are moved, and their place while they are pinned;
 * in the children of forks too, whatever was on its way; what the address space has no room for fits after moving; and
 * each mistake ends the program with one line. */
// contract: weir cases=basics,mistakes,settings,threadless,fork,tight,pinned,ahead,threads timeout=120
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "contract.h"
#include "weir/movable.h"
#include "weir/stats_page.h"

/* They come from the library that is preloaded. */
#pragma weak weir_movable_alloc
#pragma weak weir_movable_free
#pragma weak weir_movable_pin
#pragma weak weir_movable_unpin
#pragma weak weir_movable_size
#pragma weak weir_movable_compact
#pragma weak weir_debug_verify
#pragma weak weir_stats
#pragma weak weir_sysctl

enum { kPage = 4096, kObject = 5 * kPage, kMost = 60000 };

static weir_movable_t objects[kMost];
static unsigned count;

static void make(size_t size, unsigned tag) {
  CHECK(count < kMost);
  weir_movable_t object = weir_movable_alloc(size);
  CHECK(object != NULL);
  fill(weir_movable_pin(object), size, tag);
  weir_movable_unpin(object);
  objects[count++] = object;
}

static void check(unsigned i, unsigned tag) {
  const size_t size = weir_movable_size(objects[i]);
  CHECK(filled(weir_movable_pin(objects[i]), size, tag));
  weir_movable_unpin(objects[i]);
}

/* Of those that there are, every other one goes; the others keep their places, and their tags are twice these. */
static void free_every_other(void) {
  unsigned kept = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (i % 2 == 0)
      objects[kept++] = objects[i];
    else
      weir_movable_free(objects[i]);
  }
  count = kept;
}

/* Of all nodes. */
static uint64_t counter(const char* wanted) {
  const struct weir_stats_page* page = weir_stats();
  CHECK(page != NULL);
  const char* name = page->node_counter_names;
  for (unsigned i = 0; i < page->nr_node_counters; ++i, name += strlen(name) + 1) {
    if (strcmp(name, wanted) != 0) continue;
    uint64_t sum = 0;
    for (unsigned n = 0; n < page->nr_nodes; ++n) {
      const char* node = (const char*)page + page->node_offset + n * page->node_size;
      sum += __atomic_load_n(&((const struct weir_stats_node*)node)->counters[i], __ATOMIC_RELAXED);
    }
    return sum;
  }
  contract_fail(__FILE__, __LINE__, wanted);
}

static void basics(void) {
  static const size_t sizes[] = {0, 1, 4096, 4097, 100000, 5 * MIB + 1};
  for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    weir_movable_t object = weir_movable_alloc(sizes[i]);
    CHECK(object != NULL);
    CHECK(weir_movable_size(object) == (sizes[i] != 0 ? sizes[i] : 1));
    char* p = weir_movable_pin(object);
    CHECK((uintptr_t)p % kPage == 0 && all_zero(p, sizes[i]));
    memset(p, 1, sizes[i]);
    CHECK(weir_movable_pin(object) == p);
    weir_movable_unpin(object);
    CHECK(weir_movable_compact() == 0 && weir_movable_pin(object) == p);
    weir_movable_unpin(object);
    weir_movable_unpin(object);
    errno = 77;
    weir_movable_free(object);
    weir_movable_free(NULL);
    CHECK(errno == 77);
  }
  errno = 0;
  CHECK(weir_movable_alloc(PTRDIFF_MAX) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(weir_movable_alloc(SIZE_MAX) == NULL && errno == ENOMEM);
  CHECK(weir_debug_verify());
}

static void pin_what_is_gone(void* object) {
  weir_movable_pin(object);
}
static void unpin_what_is_not_pinned(void* object) {
  weir_movable_unpin(object);
}
static void free_twice(void* object) {
  weir_movable_free(object);
  weir_movable_free(object);
}
static void free_what_is_pinned(void* object) {
  weir_movable_pin(object);
  weir_movable_free(object);
}
static void free_the_pointer(void* object) {
  free(weir_movable_pin(object));
}
static void size_of_nothing(void* object) {
  (void)object;
  weir_movable_size((weir_movable_t)opaque((void*)4711));
}

static void expect_line(void (*mistake)(void*), void* argument, const char* text) {
  const struct ChildResult result = run_child(mistake, argument);
  CHECK(killed_by(result.status, SIGABRT));
  CHECK(strncmp(result.text, "weir: ", 6) == 0 && strstr(result.text, text) != NULL);
  CHECK(strchr(result.text, '\n') == result.text + result.length - 1);
}

static void mistakes(void) {
  /* Before there was any. */
  expect_line(size_of_nothing, NULL, "weir_movable_size: 0x1267 is no handle");
  weir_movable_t gone = weir_movable_alloc(1), object = weir_movable_alloc(kObject);
  weir_movable_free(gone);
  weir_movable_t next = weir_movable_alloc(1);
  CHECK(next != gone);
  expect_line(size_of_nothing, NULL, "weir_movable_size: 0x1267 is no handle");
  expect_line(pin_what_is_gone, gone, "weir_movable_pin: 0x");
  expect_line(pin_what_is_gone, gone, " is no handle, or its object was freed before");
  expect_line(pin_what_is_gone, NULL, " is no handle");
  expect_line(unpin_what_is_not_pinned, object, " is not pinned");
  expect_line(free_twice, object, "weir_movable_free: 0x");
  expect_line(free_what_is_pinned, object, " is still pinned");
  expect_line(free_the_pointer, object, " was never given out, or was freed before");
}

static void settings(void) {
  char text[200];
  CHECK(weir_sysctl("vm.compact_memory", NULL, 0, "1", text, sizeof text) == ENXIO);
  CHECK(strstr(text, "nothing can be moved") != NULL);
  CHECK(weir_sysctl("compact_memory", NULL, 0, "1", text, sizeof text) == ENXIO);
  CHECK(weir_sysctl("vm.compaction_proactiveness", NULL, 0, "0", text, sizeof text) == 0);
  for (unsigned i = 0; i < 400; ++i) make(kObject, i);
  free_every_other();
  CHECK(counter("pgmigrate_success") == 0);
  CHECK(weir_sysctl("vm.compact_memory", NULL, 0, "2", text, sizeof text) == EINVAL);
  CHECK(weir_sysctl("vm.compact_memory", text, sizeof text, NULL, NULL, 0) == EPERM);
  CHECK(weir_sysctl("vm.compact_memory", NULL, 0, "1", text, sizeof text) == 0);
  while (counter("pgmigrate_success") == 0) usleep(1000);
  CHECK(counter("compact_daemon_wake") == 0);
  for (unsigned i = 0; i < count; ++i) check(i, 2 * i);
}

/* Nobody is there to carry an order out, which is said at once, and by the next one, too. */
static void threadless(void) {
  if (getenv("WEIR_CONF") == NULL) {
    CHECK(setenv("WEIR_CONF", "background_thread=0", 1) == 0);
    execl("/proc/self/exe", "contract_movable", "threadless", (char*)NULL);
    CHECK(0);
  }
  char text[200];
  make(kObject, 1);
  for (unsigned i = 0; i < 2; ++i) {
    CHECK(weir_sysctl("vm.compact_memory", NULL, 0, "1", text, sizeof text) == ENXIO);
    CHECK(strstr(text, "no thread") != NULL && strstr(text, "background_thread=0") != NULL);
  }
  check(0, 1);
}

static atomic_int stop;

/* Makes and frees objects of its own, so that there is always something to move. */
static void* stir(void* unused) {
  enum { kOwn = 40 };
  weir_movable_t own[kOwn] = {NULL};
  for (unsigned i = 0; !stop; ++i) {
    weir_movable_t* object = &own[i * 7 % kOwn];
    weir_movable_free(*object);
    *object = weir_movable_alloc((1 + i % 13) * kPage);
    CHECK(*object != NULL);
  }
  for (unsigned i = 0; i < kOwn; ++i) weir_movable_free(own[i]);
  return unused;
}

static void* compact(void* unused) {
  while (!stop) weir_movable_compact();
  return unused;
}

/* The child finds every object, also those on their way, can use all of them, and has lost no pages. */
static void fork_while_they_move(void) {
  enum { kForks = 300 };
  pthread_t threads[3];
  for (unsigned i = 0; i < 300; ++i) make((1 + i % 9) * kPage - i, i);
  CHECK(pthread_create(&threads[0], NULL, stir, NULL) == 0);
  for (unsigned i = 1; i < 3; ++i) CHECK(pthread_create(&threads[i], NULL, compact, NULL) == 0);
  for (unsigned f = 0; f < kForks; ++f) {
    pid_t child = fork();
    if (child == 0) {
      end_if_hung(60);
      for (unsigned i = 0; i < count; ++i) check(i, i);
      weir_movable_compact();
      for (unsigned i = 0; i < count; ++i) check(i, i);
      for (unsigned i = 0; i < count; ++i) weir_movable_free(objects[i]);
      CHECK(weir_debug_verify());
      _exit(0);
    }
    expect_success(child);
    for (unsigned i = f % 7; i < count; i += 7) check(i, i);
  }
  CHECK(counter("pgmigrate_success") > 0);
  stop = 1;
  for (unsigned i = 0; i < 3; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(weir_debug_verify());
}

enum { kSpace = 512 };

/* Fills the address space; every other object goes. Returns the bytes of those that are left. */
static size_t fill_address_space(void) {
  const struct rlimit limit = {kSpace * MIB, kSpace * MIB};
  if (getenv("WEIR_TEST_TIGHT") == NULL) {
    setenv("WEIR_TEST_TIGHT", "1", 1);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    exec_self(getenv("WEIR_TEST_CASE"), NULL);
  }
  weir_movable_t object;
  while ((object = weir_movable_alloc(kObject)) != NULL) {
    CHECK(count < kMost);
    fill(weir_movable_pin(object), kObject, count);
    weir_movable_unpin(object);
    objects[count++] = object;
  }
  CHECK(errno == ENOMEM && count * (size_t)kObject > kSpace * MIB / 4);
  free_every_other();
  return count * (size_t)kObject;
}

static void tight(void) {
  const size_t half = fill_address_space(), large = half / 2;
  char* p = malloc(large);
  CHECK(p != NULL);
  memset(p, 1, large);
  CHECK(counter("compact_success") > 0 && counter("pgmigrate_success") > 0);
  for (unsigned i = 0; i < count; ++i) check(i, 2 * i);
  CHECK(weir_debug_verify());
}

static void pinned(void) {
  const size_t half = fill_address_space(), large = half / 2;
  void** where = calloc(count, sizeof *where);
  CHECK(where != NULL);
  for (unsigned i = 0; i < count; ++i) where[i] = weir_movable_pin(objects[i]);
  errno = 0;
  CHECK(malloc(large) == NULL && errno == ENOMEM);
  for (unsigned i = 0; i < count; ++i) {
    CHECK(weir_movable_pin(objects[i]) == where[i]);
    weir_movable_unpin(objects[i]);
    weir_movable_unpin(objects[i]);
    check(i, 2 * i);
  }
  CHECK(weir_debug_verify());
}

/* kcompactd comes by itself. */
static void ahead(void) {
  CHECK(weir_sysctl("compaction_proactiveness", NULL, 0, "100", NULL, 0) == 0);
  for (unsigned i = 0; i < 4000; ++i) make(kObject, i);
  free_every_other();
  while (counter("compact_daemon_wake") == 0 || counter("pgmigrate_success") == 0) usleep(10000);
  for (unsigned i = 0; i < count; ++i) check(i, 2 * i);
  for (unsigned i = 0; i < count; ++i) weir_movable_free(objects[i]);
  CHECK(weir_debug_verify());
}

static void* use(void* argument) {
  const unsigned first = *(unsigned*)argument;
  for (unsigned round = 0; round < 40; ++round)
    for (unsigned i = first; i < count; i += 4) check(i, i);
  return NULL;
}

static void threads(void) {
  pthread_t users[4], movers[2];
  unsigned firsts[4] = {0, 1, 2, 3};
  for (unsigned i = 0; i < 400; ++i) make((1 + i % 20) * kPage, i);
  CHECK(pthread_create(&movers[0], NULL, stir, NULL) == 0 && pthread_create(&movers[1], NULL, compact, NULL) == 0);
  for (unsigned i = 0; i < 4; ++i) CHECK(pthread_create(&users[i], NULL, use, &firsts[i]) == 0);
  for (unsigned i = 0; i < 4; ++i) CHECK(pthread_join(users[i], NULL) == 0);
  stop = 1;
  for (unsigned i = 0; i < 2; ++i) CHECK(pthread_join(movers[i], NULL) == 0);
  CHECK(counter("pgmigrate_success") > 0 && weir_debug_verify());
}

int main(int argc, char** argv) {
  static const struct {
    const char* name;
    void (*run)(void);
  } cases[] = {{"basics", basics},
               {"mistakes", mistakes},
               {"settings", settings},
               {"threadless", threadless},
               {"fork", fork_while_they_move},
               {"tight", tight},
               {"pinned", pinned},
               {"ahead", ahead},
               {"threads", threads}};
  contract_begin(120);
  CHECK(argc == 2);
  setenv("WEIR_TEST_CASE", argv[1], 1);
  for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    if (strcmp(cases[i].name, argv[1]) != 0) continue;
    cases[i].run();
    return 0;
  }
  return 64;
}
