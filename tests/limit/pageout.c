/* pageout.c: a limit where the kernel lets nobody see faults, but swaps by itself: it is asked to swap cold pages out,
 * and brings them back. Twice the limit as a data set (swapped); the same by threads that fault, change and free all
 * the time (threads), and in children of forks (forked); memory that is charged by what is touched of it, though
 * touches are not seen (sparse); what moves or drops content, and system calls on memory that is away (calls); objects
 * with handles (objects); a heap at a limit of its own, also in a child (heaps); a tenth of the data as limit (tight).
 * Needs swap of the system's (vm.pageout). */
// limit: cases=swapped,threads,forked,sparse,calls,objects,heaps,tight weir timeout=120
#include <pthread.h>
#include <stdatomic.h>
#include <sys/sysinfo.h>

#include "limit.h"
#include "weak_movable.h"

enum { kThreads = 3, kSeconds = 4, kObjects = 3000 };

#pragma weak weir_heap_create
#pragma weak weir_heap_destroy
#pragma weak weir_heap_malloc
#pragma weak weir_heap_stats

static struct Dataset data, own[kThreads];
static atomic_int stop;

static size_t swapped_bytes(void) {
  return status_bytes("VmSwap:");
}

static void verify(void) {
  CHECK(weir_debug_verify() == 1);
}

/* What comes back unseen may be above the limit until it was looked for. */
static void expect_within_limit_soon(size_t others) {
  for (int i = 0; i < 500 && anonymous_bytes() > memory_limit() + others + 14 * MIB; ++i) usleep(10000);
  expect_within_limit(others);
}

/* Nothing that was freed may stay in the system's swap. */
static void expect_swap_empty(void) {
  if (swapped_bytes() > 2 * MIB) fprintf(stderr, "left in swap: %zu KiB\n", swapped_bytes() / KIB);
  CHECK(swapped_bytes() <= 2 * MIB);
}

static void swapped(void) {
  make_data(&data, 2 * memory_limit());
  CHECK(swapped_bytes() >= data.bytes / 4);
  expect_within_limit_soon(0);
  for (int round = 2; round < 5; ++round) {
    check_data(&data);
    rewrite_data(&data, (uint32_t)round);
    expect_within_limit_soon(0);
  }
  verify();
  check_data(&data);
  free_data(&data);
  expect_swap_empty();
  char* zeros = calloc(1, 3 * memory_limit() / 4);
  CHECK(zeros != NULL);
  for (size_t i = 0; i < 3 * memory_limit() / 4; ++i) CHECK(zeros[i] == 0);
  free(zeros);
}

static void* fault(void* argument) {
  const unsigned t = *(unsigned*)argument;
  uint64_t random = t + 1;
  for (uint32_t generation = 2; !atomic_load(&stop); ++generation) {
    fault_and_write(&data, &own[t], &random, generation % 1000);
    if (generation % 64 != 0) continue;
    char* more = calloc(1, 64 * KIB);
    if (more == NULL) continue;
    for (size_t i = 0; i < 64 * KIB; i += 64) CHECK(more[i] == 0);
    memset(more, 1, 64 * KIB);
    free(more);
  }
  return NULL;
}

static void with_threads(void (*meanwhile)(void)) {
  pthread_t threads[kThreads];
  unsigned numbers[kThreads];
  make_data(&data, memory_limit());
  for (unsigned t = 0; t < kThreads; ++t) make_data(&own[t], memory_limit() / 3);
  for (unsigned t = 0; t < kThreads; ++t) {
    numbers[t] = t;
    CHECK(pthread_create(&threads[t], NULL, fault, &numbers[t]) == 0);
  }
  for (int i = 0; i < 20 * kSeconds; ++i) {
    if (meanwhile != NULL) meanwhile();
    usleep(50000);
  }
  atomic_store(&stop, 1);
  for (unsigned t = 0; t < kThreads; ++t) CHECK(pthread_join(threads[t], NULL) == 0);
  check_data(&data);
  for (unsigned t = 0; t < kThreads; ++t) check_data(&own[t]);
  expect_within_limit_soon(0);
  verify();
}

/* The children's data is what it was when they were made, and what they write is theirs. */
static void fork_some(void) {
  static int forks;
  if (++forks % 8 != 0) return;
  pid_t child = fork();
  if (child == 0) {
    check_data(&data);
    rewrite_data(&data, 7);
    check_data(&data);
    verify();
    expect_within_limit_soon(0);
    pid_t grandchild = fork();
    if (grandchild == 0) {
      check_data(&data);
      _exit(0);
    }
    expect_success(grandchild);
    _exit(0);
  }
  expect_success(child);
}

/* Many limits, hardly touched; then touched faster than anybody looks. */
static void sparse(void) {
  const size_t size = 64 * memory_limit(), part = 2 * memory_limit();
  uint64_t* memory = malloc(size);
  CHECK(memory != NULL);
  for (size_t at = 0; at < size; at += MIB) memory[at / 8] = at + 1;
  for (size_t at = 0; at < size; at += MIB) CHECK(memory[at / 8] == at + 1 && memory[at / 8 + 1] == 0);
  for (size_t at = 0; at < part; at += 8) memory[at / 8] = at + 1;
  expect_within_limit_soon(0);
  CHECK(swapped_bytes() >= part / 4);
  for (size_t at = 0; at < part; at += 8) CHECK(memory[at / 8] == at + 1);
  /* Its content goes along, also what was touched a moment ago. */
  memory[part / 8] = 5;
  memory = realloc(memory, part + PAGE);
  CHECK(memory != NULL && memory[part / 8] == 5);
  for (size_t at = 0; at < part; at += 8) CHECK(memory[at / 8] == at + 1);
  free(memory);
  expect_swap_empty();
  memory = calloc(1, part);
  CHECK(memory != NULL);
  for (size_t at = 0; at < part; at += 8) CHECK(memory[at / 8] == 0);
  free(memory);
  /* Freed as soon as it was touched, and given out again. */
  for (int round = 0; round < 20; ++round) {
    memory = calloc(1, memory_limit());
    CHECK(memory != NULL);
    for (size_t at = 0; at < memory_limit(); at += PAGE) {
      CHECK(memory[at / 8] == 0);
      memory[at / 8] = 1;
    }
    free(memory);
  }
  verify();
}

static void write_words(char* p, size_t bytes, unsigned seed) {
  for (size_t i = 0; i < bytes; i += 8) *(uint64_t*)(p + i) = word_of(seed, 1, i / 8);
}

static void check_words(const char* p, size_t bytes, unsigned seed) {
  for (size_t i = 0; i < bytes; i += 8) CHECK(*(const uint64_t*)(p + i) == word_of(seed, 1, i / 8));
}

static void calls(void) {
  const size_t size = memory_limit() / 2;
  char* mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(mapped != MAP_FAILED);
  write_words(mapped, size, 1);
  make_data(&data, 2 * memory_limit());
  /* To and from memory that is away. */
  int ends[2];
  CHECK(pipe(ends) == 0);
  char page[4096];
  for (size_t at = 0; at < size; at += PAGE) {
    CHECK(write(ends[1], mapped + at, PAGE) == (ssize_t)PAGE && read(ends[0], page, PAGE) == (ssize_t)PAGE);
    check_words(page, 0, 1);
    for (size_t i = 0; i < PAGE; i += 8) CHECK(*(uint64_t*)(page + i) == word_of(1, 1, (at + i) / 8));
  }
  check_data(&data);
  for (size_t at = 0; at < size; at += PAGE) {
    memset(page, (int)(at / PAGE), PAGE);
    CHECK(write(ends[1], page, PAGE) == (ssize_t)PAGE && read(ends[0], mapped + at, PAGE) == (ssize_t)PAGE);
  }
  rewrite_data(&data, 2);
  for (size_t at = 0; at < size; ++at) CHECK(mapped[at] == (char)(at / PAGE));
  check_data(&data);
  /* Given up, moved, protected, cut, locked. */
  write_words(mapped, size, 2);
  check_data(&data);
  CHECK(madvise(mapped, size / 4, MADV_DONTNEED) == 0);
  for (size_t at = 0; at < size / 4; ++at) CHECK(mapped[at] == 0);
  write_words(mapped, size / 4, 2);
  mapped = mremap(mapped, size, 2 * size, MREMAP_MAYMOVE);
  CHECK(mapped != MAP_FAILED);
  check_words(mapped, size, 2);
  for (size_t at = size; at < 2 * size; at += 64) CHECK(mapped[at] == 0);
  CHECK(mprotect(mapped, size, PROT_READ) == 0);
  check_data(&data);
  check_words(mapped, size, 2);
  CHECK(mprotect(mapped, size, PROT_READ | PROT_WRITE) == 0);
  CHECK(munmap(mapped + size / 2, size / 2) == 0);
  check_words(mapped, size / 2, 2);
  if (mlock(mapped, 8 * PAGE) == 0) {
    check_data(&data);
    CHECK(bytes_away(mapped, 8 * PAGE) == 0);
    CHECK(munlock(mapped, 8 * PAGE) == 0);
  }
  CHECK(munmap(mapped, size / 2) == 0 && munmap(mapped + size, size) == 0);
  verify();
  check_data(&data);
  free_data(&data);
  expect_swap_empty();
}

static void objects(void) {
  static weir_movable_t handles[kObjects];
  const size_t bytes = 5 * PAGE;
  for (unsigned i = 0; i < kObjects; ++i) {
    handles[i] = weir_movable_alloc(bytes);
    CHECK(handles[i] != NULL);
    write_words(weir_movable_pin(handles[i]), bytes, i);
    weir_movable_unpin(handles[i]);
  }
  for (unsigned i = 0; i < kObjects; i += 2) {
    weir_movable_free(handles[i]);
    handles[i] = NULL;
  }
  weir_movable_compact();
  for (unsigned i = 1; i < kObjects; i += 2) {
    check_words(weir_movable_pin(handles[i]), bytes, i);
    weir_movable_unpin(handles[i]);
    weir_movable_free(handles[i]);
  }
  verify();
  expect_swap_empty();
}

static size_t in_memory(weir_heap_t heap) {
  weir_heap_info info;
  CHECK(weir_heap_stats(heap, &info, sizeof info) == 0 && info.swapped <= info.charged);
  return info.charged - info.swapped;
}

static void add_to_heap(weir_heap_t heap) {
  struct Block* block = &data.blocks[data.count];
  const size_t size = (16 + 8 * (data.count % 24)) * KIB;
  block->words = weir_heap_malloc(heap, size);
  CHECK(block->words != NULL);
  block->count = size / 8;
  data.bytes += size;
  write_block(&data, data.count++, 1);
}

static void heaps(void) {
  const size_t limit = memory_limit() / 4;
  weir_heap_options options = WEIR_HEAP_OPTIONS_INIT;
  options.limit = limit;
  weir_heap_t heap = weir_heap_create("small", &options);
  CHECK(heap != NULL);
  while (data.bytes < 3 * limit) {
    add_to_heap(heap);
    CHECK(in_memory(heap) <= limit);
  }
  verify();
  pid_t child = fork();
  if (child == 0) {
    CHECK(in_memory(heap) <= limit);
    check_data(&data);
    verify();
    /* Once it was seen that all of it came back, the next allocation takes as much away. */
    while (data.bytes < 5 * limit || in_memory(heap) > limit) add_to_heap(heap);
    check_data(&data);
    verify();
    CHECK(weir_heap_malloc(heap, limit + PAGE) == NULL);
    CHECK(weir_heap_destroy(heap) == 0);
    expect_swap_empty();
    _exit(0);
  }
  expect_success(child);
  CHECK(weir_heap_malloc(heap, limit + PAGE) == NULL);
  check_data(&data);
  CHECK(weir_heap_destroy(heap) == 0);
  verify();
  expect_swap_empty();
}

static void tight(void) {
  make_data(&data, 10 * memory_limit());
  for (int round = 2; round < 4; ++round) {
    check_data(&data);
    rewrite_data(&data, (uint32_t)round);
  }
  expect_within_limit_soon(0);
  check_data(&data);
  verify();
  free_data(&data);
  expect_swap_empty();
}

static void inside(const char* name) {
  if (strcmp(name, "inside_swapped") == 0) swapped();
  if (strcmp(name, "inside_threads") == 0) with_threads(NULL);
  if (strcmp(name, "inside_forked") == 0) with_threads(fork_some);
  if (strcmp(name, "inside_sparse") == 0) sparse();
  if (strcmp(name, "inside_calls") == 0) calls();
  if (strcmp(name, "inside_objects") == 0) objects();
  if (strcmp(name, "inside_heaps") == 0) heaps();
  if (strcmp(name, "inside_tight") == 0) tight();
  fprintf(stderr, "lived\n");
}

static void start_inside(void* name) {
  char argument[64];
  snprintf(argument, sizeof argument, "inside_%s", (const char*)name);
  become_nobody_else();
  exec_self(argument, strcmp(name, "tight") == 0 ? "limit=4M" : "limit=24M");
}

int main(int argc, char** argv) {
  contract_begin(110);
  CHECK(argc == 2);
  if (strncmp(argv[1], "inside_", 7) == 0) {
    inside(argv[1]);
    return 0;
  }
  struct sysinfo info;
  CHECK(sysinfo(&info) == 0);
  if (info.freeswap * info.mem_unit < 256 * MIB || getuid() != 0) {
    printf("skipped: it takes 256 MiB of the system's swap, and root to become somebody without rights\n");
    return kSkip;
  }
  if (user_may_have_userfaultfd()) {
    printf("skipped: every user may have a userfaultfd here\n");
    return kSkip;
  }
  struct ChildResult result = run_child(start_inside, argv[1]);
  fprintf(stderr, "status 0x%x, said: ", (unsigned)result.status);
  /* Announced. */
  for (char* at = result.text; (at = strstr(at, "weir: ")) != NULL; ++at) *at = '>';
  fprintf(stderr, "%s\n", result.text);
  CHECK(exited_with(result.status, 0) && strstr(result.text, "lived\n") != NULL);
  CHECK(strstr(result.text, "cold ones go to the system's swap") != NULL);
  return 0;
}
