/* shrinker.c: a cache of noise under a limit and without a swap file. Without a shrinker it meets ENOMEM; with one it
 * goes on for ever, whole, and keeps a good part of what it may; whatever the shrinker does besides, nothing hangs. */
// limit: cases=without,sheds,keeps,direct,mapped,allocates,blocks,hangs,forks,threads,child,comes_and_goes,purge
// limit: conf=limit=32M,swap=none timeout=120 weir
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <time.h>

#include "limit.h"
#include "weir/shrinker.h"

/* They come from the library that is preloaded. */
#pragma weak weir_register_shrinker
#pragma weak weir_unregister_shrinker

enum { kSlots = 1 << 16 };

/* The oldest entries are at `first`. */
struct Cache {
  pthread_mutex_t lock;
  uint64_t* objects[kSlots];
  uint64_t seeds[kSlots];
  size_t first, count, size;
  atomic_uint scans, refused;
  atomic_size_t freed;
  int trylock;   /* the callbacks only try to lock */
  int allocates; /* in scan */
  int mapped;    /* the objects are from mmap, and belong to one thread */
  pthread_t owner;
  atomic_int hangs; /* on any other thread than the owner's */
};

static struct Cache cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void fill_noise(uint64_t* words, size_t bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes / 8; ++i) words[i] = word_of((uint32_t)seed, 1, kWordsPerPage + i % kWordsPerPage) + i;
}
static int is_noise(const uint64_t* words, size_t bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes / 8; ++i)
    if (words[i] != word_of((uint32_t)seed, 1, kWordsPerPage + i % kWordsPerPage) + i) return 0;
  return 1;
}

static int enter(struct Cache* c) {
  if (c->mapped && !pthread_equal(pthread_self(), c->owner)) return 0;
  return (c->trylock ? pthread_mutex_trylock(&c->lock) : pthread_mutex_lock(&c->lock)) == 0;
}

static size_t count_objects(void* arg) {
  struct Cache* c = arg;
  while (atomic_load(&c->hangs) && !pthread_equal(pthread_self(), c->owner)) usleep(1000);
  if (!enter(c)) return WEIR_SHRINK_STOP;
  size_t count = c->count;
  pthread_mutex_unlock(&c->lock);
  return count;
}

static uint64_t* new_object(const struct Cache* c, size_t size) {
  if (!c->mapped) return malloc(size);
  void* words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return words != MAP_FAILED ? words : NULL;
}

static void delete_object(const struct Cache* c, uint64_t* words) {
  if (c->mapped)
    CHECK(munmap(words, c->size) == 0);
  else
    free(words);
}

/* Memory is short, so there may be none; but there is no waiting. */
static void allocate_something(struct Cache* c) {
  void* some[8];
  for (int i = 0; i < 8; ++i) {
    some[i] = malloc(3000);
    if (some[i] == NULL) {
      CHECK(errno == ENOMEM);
      atomic_fetch_add(&c->refused, 1);
      continue;
    }
    memset(some[i], 7, 3000);
  }
  for (int i = 0; i < 8; ++i) free(some[i]);
}

static size_t scan_objects(void* arg, size_t wanted) {
  struct Cache* c = arg;
  size_t freed = 0;
  atomic_fetch_add(&c->scans, 1);
  if (c->allocates) allocate_something(c);
  if (!enter(c)) return WEIR_SHRINK_STOP;
  for (; freed < wanted && c->count != 0; ++freed) {
    size_t at = c->first;
    c->first = (c->first + 1) % kSlots;
    --c->count;
    uint64_t* words = c->objects[at];
    c->objects[at] = NULL;
    delete_object(c, words);
  }
  pthread_mutex_unlock(&c->lock);
  atomic_fetch_add(&c->freed, freed);
  return freed;
}

static struct weir_shrinker shrinker = {.size = sizeof(struct weir_shrinker),
                                        .name = "test",
                                        .count = count_objects,
                                        .scan = scan_objects,
                                        .seeks = WEIR_DEFAULT_SEEKS,
                                        .arg = &cache};

/* Takes an object and puts it into the cache; 0: there is no memory. Nothing is locked while memory is allocated. */
static int insert(struct Cache* c, size_t size, uint64_t seed) {
  uint64_t* words = new_object(c, size);
  if (words == NULL) {
    CHECK(errno == ENOMEM);
    return 0;
  }
  fill_noise(words, size, seed);
  pthread_mutex_lock(&c->lock);
  CHECK(c->count < kSlots);
  size_t at = (c->first + c->count++) % kSlots;
  c->objects[at] = words;
  c->seeds[at] = seed;
  c->size = size;
  pthread_mutex_unlock(&c->lock);
  return 1;
}

/* Whatever is left is what was put there. */
static void check_all(struct Cache* c) {
  pthread_mutex_lock(&c->lock);
  for (size_t i = 0; i < c->count; ++i) {
    size_t at = (c->first + i) % kSlots;
    CHECK(is_noise(c->objects[at], c->size, c->seeds[at]));
  }
  pthread_mutex_unlock(&c->lock);
}

static size_t held(struct Cache* c) {
  pthread_mutex_lock(&c->lock);
  size_t bytes = c->count * c->size;
  pthread_mutex_unlock(&c->lock);
  return bytes;
}

static void insert_much(struct Cache* c, size_t size, size_t bytes) {
  for (size_t done = 0; done < bytes; done += size) CHECK(insert(c, size, done / size));
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Of the name that weir's own has. */
static unsigned nr_shrinker_threads(void) {
  unsigned count = 0;
  DIR* list = opendir("/proc/self/task");
  CHECK(list != NULL);
  for (struct dirent* entry; (entry = readdir(list)) != NULL;) {
    char path[300], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    if (read(fd, name, sizeof name - 1) > 0 && strcmp(name, "weir-shrinker\n") == 0) ++count;
    close(fd);
  }
  closedir(list);
  return count;
}

static void test_without(void) {
  size_t bytes = 0;
  while (bytes < 2 * memory_limit() && insert(&cache, 4000, bytes / 4000)) bytes += 4000;
  CHECK(bytes < memory_limit());
  check_all(&cache);
}

static void test_sheds(void) {
  static const size_t kSizes[] = {500, 4000, 40 * KIB, 300 * KIB};
  for (int i = 0; i < 4; ++i) {
    insert_much(&cache, kSizes[i], 4 * memory_limit());
    check_all(&cache);
    expect_within_limit(0);
    CHECK(atomic_load(&cache.freed) * kSizes[i] >= 3 * memory_limit() - memory_limit() / 8);
    CHECK(weir_unregister_shrinker(&shrinker) == 0);
    CHECK(weir_unregister_shrinker(&shrinker) == -1 && errno == ENOENT);
    scan_objects(&cache, kSlots);
    CHECK(cache.count == 0);
    atomic_store(&cache.freed, 0);
    CHECK(weir_register_shrinker(&shrinker) == 0);
    CHECK(weir_register_shrinker(&shrinker) == -1 && errno == EEXIST);
  }
}

/* It is asked for a part at a time: while it takes in four times the limit, it holds half of that nearly always. */
static void test_keeps(void) {
  unsigned below = 0, steps = 0;
  insert_much(&cache, 4000, memory_limit());
  for (size_t i = 0; i < 3 * memory_limit() / 4000; ++i) {
    CHECK(insert(&cache, 4000, i));
    if (i % 16 != 0) continue;
    ++steps;
    if (held(&cache) < memory_limit() / 2) ++below;
  }
  if (below > steps / 20) fprintf(stderr, "below a half in %u of %u looks\n", below, steps);
  CHECK(below <= steps / 20);
  check_all(&cache);
}

/* Weir's thread never returns from it, and so nobody else can run it: whoever is refused memory is so after a second
 * once, and not each time. */
static void test_hangs(void) {
  enum { kRefusals = 60 };
  static uint64_t* own[kSlots];
  size_t count = 0;
  double start = 0;
  atomic_store(&cache.hangs, 1);
  for (int refused = 0; refused < kRefusals;) {
    CHECK(count < kSlots);
    own[count] = malloc(4000);
    if (own[count] != NULL) {
      fill_noise(own[count], 4000, count);
      ++count;
    } else {
      CHECK(errno == ENOMEM);
      if (refused++ == 0) start = seconds();
    }
  }
  double took = seconds() - start;
  if (took >= kRefusals / 2) fprintf(stderr, "%d refusals in %.1f s\n", kRefusals, took);
  CHECK(took < kRefusals / 2);
  atomic_store(&cache.hangs, 0);
  for (size_t i = 0; i < count; ++i) {
    CHECK(is_noise(own[i], 4000, i));
    free(own[i]);
  }
}

static void test_blocks(void) {
  /* The thread that allocates has the lock that scan takes: it is refused memory, after a second. */
  while (held(&cache) < memory_limit() / 2) CHECK(insert(&cache, 4000, cache.count));
  pthread_mutex_lock(&cache.lock);
  static uint64_t* own[kSlots];
  size_t count = 0;
  double start = seconds();
  while (count < kSlots && (own[count] = malloc(4000)) != NULL) fill_noise(own[count], 4000, count), ++count;
  double took = seconds() - start;
  CHECK(count < kSlots);
  if (took < 0.5 || took > 20) fprintf(stderr, "refused after %.1f s\n", took);
  CHECK(took >= 0.5 && took < 20);
  pthread_mutex_unlock(&cache.lock);
  for (size_t i = 0; i < count; ++i) CHECK(is_noise(own[i], 4000, i));
  /* And now it is given, as soon as it is freed. */
  while (count < kSlots && count * 4000 < memory_limit() * 3 / 4) {
    for (int tries = 0; (own[count] = malloc(4000)) == NULL; ++tries) {
      CHECK(errno == ENOMEM && tries < 2000);
      usleep(1000);
    }
    fill_noise(own[count], 4000, count);
    ++count;
  }
  for (size_t i = 0; i < count; ++i) {
    CHECK(is_noise(own[i], 4000, i));
    free(own[i]);
  }
  CHECK(atomic_load(&cache.freed) != 0);
}

static volatile sig_atomic_t forked = -1;

static void fork_now(int number) {
  (void)number;
  forked = (sig_atomic_t)fork();
}

/* A handler forks while its thread waits for memory, and returns in the child as well: both go on waiting. */
static void test_forks(void) {
  static uint64_t* own[kSlots];
  size_t count = 0;
  signal(SIGALRM, fork_now);
  while (held(&cache) < memory_limit() / 2) CHECK(insert(&cache, 4000, cache.count));
  pthread_mutex_lock(&cache.lock);
  setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {.tv_usec = 500000}}, NULL);
  while (count < kSlots && (own[count] = malloc(4000)) != NULL) fill_noise(own[count], 4000, count), ++count;
  CHECK(count < kSlots && errno == ENOMEM && forked >= 0);
  pthread_mutex_unlock(&cache.lock);
  for (size_t i = 0; i < count; ++i) {
    CHECK(is_noise(own[i], 4000, i));
    free(own[i]);
  }
  check_all(&cache);
  insert_much(&cache, 4000, 2 * memory_limit());
  if (forked == 0) _exit(0);
  expect_success((pid_t)forked);
}

static void* insert_from_thread(void* seed) {
  for (size_t i = 0; i < 2 * memory_limit() / 4000; ++i) CHECK(insert(&cache, 4000, (uintptr_t)seed * 1000003 + i));
  return NULL;
}

static void run_threads(void* (*run)(void*)) {
  pthread_t threads[4];
  for (uintptr_t i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, run, (void*)(i + 1)) == 0);
  for (int i = 0; i < 4; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
}

/* Small caches of their own that are registered only now and then. */
static void* come_and_go(void* seed) {
  uint64_t random = (uintptr_t)seed;
  struct Cache* mine = calloc(1, sizeof(struct Cache));
  CHECK(mine != NULL);
  pthread_mutex_init(&mine->lock, NULL);
  struct weir_shrinker own = shrinker;
  own.arg = mine;
  own.flags = next_random(&random) % 2 == 0 ? WEIR_SHRINKER_DIRECT : 0;
  mine->trylock = own.flags != 0;
  for (int round = 0; round < 60; ++round) {
    CHECK(weir_register_shrinker(&own) == 0);
    for (int i = 0; i < 300; ++i) {
      if (!insert(mine, 4000, (uint64_t)i)) break;
    }
    CHECK(weir_unregister_shrinker(&own) == 0);
    /* Nobody comes any more: no lock is needed. */
    for (; mine->count != 0; --mine->count, mine->first = (mine->first + 1) % kSlots) {
      CHECK(is_noise(mine->objects[mine->first], 4000, mine->seeds[mine->first]));
      free(mine->objects[mine->first]);
    }
  }
  free(mine);
  return NULL;
}

static void test_child(void) {
  insert_much(&cache, 4000, 2 * memory_limit());
  CHECK(nr_shrinker_threads() == 1);
  /* As a program with threads must, so that the child finds the lock free. */
  pthread_mutex_lock(&cache.lock);
  pid_t child = fork();
  pthread_mutex_unlock(&cache.lock);
  if (child == 0) {
    size_t mine = atomic_load(&cache.freed);
    check_all(&cache);
    insert_much(&cache, 4000, 3 * memory_limit());
    check_all(&cache);
    CHECK(atomic_load(&cache.freed) > mine);
    CHECK(nr_shrinker_threads() == 1);
    CHECK(weir_unregister_shrinker(&shrinker) == 0);
    _exit(0);
  }
  insert_much(&cache, 4000, memory_limit());
  check_all(&cache);
  expect_success(child);
}

/* As somebody who may not have a userfaultfd, by default: caches are all there is then. */
static void run_as_nobody(void* name) {
  char conf[4096];
  snprintf(conf, sizeof conf, "%s,system_swap=0", getenv("WEIR_CONF"));
  CHECK(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
  exec_self(name, conf);
}

static void test_purge(void) {
  static char* const kCases[] = {"sheds", "direct", "threads", "child", "comes_and_goes"};
  if (geteuid() != 0) {
    puts("skipped: only root can become somebody with fewer rights");
    exit(kSkip);
  }
  for (size_t i = 0; i < sizeof kCases / sizeof *kCases; ++i) {
    struct ChildResult child = run_child(run_as_nobody, kCases[i]);
    if (!exited_with(child.status, 0)) fprintf(stderr, "%s as nobody: %s", kCases[i], child.text);
    CHECK(exited_with(child.status, 0));
  }
}

int main(int argc, char** argv) {
  contract_begin(110);
  CHECK(argc == 2);
  CHECK(weir_register_shrinker != NULL);
  if (strcmp(argv[1], "purge") == 0) {
    test_purge();
    return 0;
  }
  if (strcmp(argv[1], "without") == 0) {
    test_without();
    return 0;
  }
  cache.mapped = strcmp(argv[1], "mapped") == 0;
  cache.owner = pthread_self();
  const int hangs = strcmp(argv[1], "hangs") == 0;
  if (strcmp(argv[1], "direct") == 0 || cache.mapped || hangs) shrinker.flags = WEIR_SHRINKER_DIRECT, cache.trylock = 1;
  if (strcmp(argv[1], "allocates") == 0) cache.allocates = 1;
  CHECK(weir_register_shrinker(&shrinker) == 0);
  if (strcmp(argv[1], "sheds") == 0) test_sheds();
  if (strcmp(argv[1], "keeps") == 0) test_keeps();
  if (strcmp(argv[1], "direct") == 0 || cache.mapped || strcmp(argv[1], "allocates") == 0) {
    insert_much(&cache, cache.mapped ? 256 * KIB : 4000, 4 * memory_limit());
    check_all(&cache);
    CHECK(atomic_load(&cache.scans) != 0);
  }
  if (strcmp(argv[1], "blocks") == 0) test_blocks();
  if (strcmp(argv[1], "hangs") == 0) test_hangs();
  if (strcmp(argv[1], "forks") == 0) test_forks();
  if (strcmp(argv[1], "threads") == 0) run_threads(insert_from_thread);
  if (strcmp(argv[1], "comes_and_goes") == 0) run_threads(come_and_go);
  if (strcmp(argv[1], "child") == 0) test_child();
  check_all(&cache);
  expect_within_limit(0);
  CHECK(weir_unregister_shrinker(&shrinker) == 0);
  return 0;
}
