/* misuse.c: a wrong free ends the program: SIGABRT, and exactly one line on stderr that starts with `weir: ` and holds
 * the pointer in hex. What is outside the arenas goes on to the C library, which ends the program with its own words.
 */
// contract: weir cases=twice,later,large,other_thread,realloc,inside_small,inside_large,misaligned,never_given,stack
#include <pthread.h>
#include <sys/mman.h>

#include "contract.h"

/* Written by the child, read by the parent: the pointer that was misused and how much work followed unnoticed. */
struct Shared {
  void* pointer;
  unsigned long operations;
};

static struct Shared* shared;

/* Work in other size classes only, so that the misused object itself is not handed out again. */
static void work_elsewhere(int rounds) {
  void* objects[100];
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < 100; ++i) objects[i] = malloc(1000 + i * 20);
    for (size_t i = 0; i < 100; ++i) {
      free(objects[i]);
      ++shared->operations;
    }
  }
}

static void free_twice(size_t size, int rounds_between) {
  void* neighbours[20];
  for (int i = 0; i < 20; ++i) neighbours[i] = malloc(size);
  char* ptr = opaque(malloc(size));
  memset(ptr, 1, size);
  shared->pointer = ptr;
  free(ptr);
  work_elsewhere(rounds_between);
  for (int i = 0; i < 10; ++i) free(neighbours[i]);
  shared->operations = 0;
  free(opaque(ptr));
}

static void* free_twice_in_thread(void* unused) {
  free_twice(48, 1);
  work_elsewhere(100);
  return unused;
}

/* What a cache still hides is found at the latest when it is flushed: by the thread's end or by malloc_trim. */
static void flush(void) {
  int (*trim)(size_t) = NULL;
  work_elsewhere(100);
  *(void**)&trim = dlsym(RTLD_DEFAULT, "malloc_trim");
  trim(0);
}

static void double_free(void) {
  free_twice(48, 0);
  flush();
}

static void double_free_others_between(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, free_twice_in_thread, NULL) == 0);
  pthread_join(thread, NULL);
  flush();
}

static void double_free_large(void) {
  free_twice(3 * MIB, 1);
  flush();
}

static void* free_shared(void* unused) {
  free(opaque(shared->pointer));
  return unused;
}

static void double_free_other_thread(void) {
  pthread_t thread;
  shared->pointer = malloc(80);
  for (int i = 0; i < 2; ++i) {
    CHECK(pthread_create(&thread, NULL, free_shared, NULL) == 0);
    pthread_join(thread, NULL);
  }
  flush();
}

static void realloc_freed(void) {
  shared->pointer = opaque(malloc(200));
  free(shared->pointer);
  malloc(5000);
  void* moved = opaque(realloc(opaque(shared->pointer), 9000));
  free(moved);
  flush();
}

static void inside_small(void) {
  char* ptr = malloc(64);
  shared->pointer = opaque(ptr + 16);
  free(shared->pointer);
  flush();
}

static void inside_large(void) {
  char* ptr = malloc(5 * MIB);
  memset(ptr, 1, 5 * MIB);
  shared->pointer = opaque(ptr + MIB);
  free(shared->pointer);
  flush();
}

static void misaligned(void) {
  char* ptr = malloc(64);
  shared->pointer = opaque(ptr + 1);
  free(shared->pointer);
  flush();
}

/* An arena is far larger than what this program used of it: some way on nothing was ever given out. */
static void never_given(void) {
  char* ptr = malloc(100);
  shared->pointer = opaque((void*)((uintptr_t)ptr / 4096 * 4096 + 256 * MIB));
  free(shared->pointer);
  flush();
}

static void stack(void) {
  /* Zeros before the pointer: a chunk size of 0, which the C library refuses. */
  char area[256] __attribute__((aligned(64)));
  memset(area, 0, sizeof area);
  shared->pointer = opaque(area + 64);
  free(shared->pointer);
}

static const struct {
  const char* name;
  void (*body)(void);
} kCases[] = {{"twice", double_free},         {"later", double_free_others_between},
              {"large", double_free_large},   {"other_thread", double_free_other_thread},
              {"realloc", realloc_freed},     {"inside_small", inside_small},
              {"inside_large", inside_large}, {"misaligned", misaligned},
              {"never_given", never_given},   {"stack", stack}};

static void run_case(void* name) {
  for (size_t i = 0; i < sizeof kCases / sizeof kCases[0]; ++i) {
    if (strcmp(kCases[i].name, name) == 0) kCases[i].body();
  }
}

static unsigned count_lines(const char* text) {
  unsigned lines = 0;
  for (; *text != '\0'; ++text) lines += *text == '\n';
  return lines;
}

int main(int argc, char** argv) {
  char hex[32];
  contract_begin(60);
  CHECK(argc == 2);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  struct ChildResult result = run_child(run_case, argv[1]);
  snprintf(hex, sizeof hex, "%lx", (unsigned long)(uintptr_t)shared->pointer);
  fprintf(stderr, "%s", result.text);
  CHECK(killed_by(result.status, SIGABRT));
  CHECK(shared->pointer != NULL);
  if (strcmp(argv[1], "stack") == 0) {
    CHECK(strncmp(result.text, "weir: ", 6) != 0);
    return 0;
  }
  CHECK(strncmp(result.text, "weir: ", 6) == 0);
  CHECK(count_lines(result.text) == 1);
  CHECK(strstr(result.text, hex) != NULL);
  printf("%s: reported after %lu further frees\n", argv[1], shared->operations);
  return 0;
}
