/* signals.c: signals at any moment, whose handlers use memory that is swapped out: in bursts, on an alternate stack in
 * the heap, from a profiling timer; the program's own SIGSEGV handler sees its own faults and no others. */
// limit: cases=bursts,alternate,profile,segv timeout=60
#include <pthread.h>
#include <setjmp.h>
#include <sys/time.h>

#include "limit.h"

enum { kThreads = 4 };
static struct Dataset data;
static volatile sig_atomic_t stop;
static volatile uint64_t handled;
static sigjmp_buf back;

/* Allocates nothing, reads a few places anywhere. */
static void touch_anywhere(int signo) {
  int saved = errno;
  uint64_t random = handled * 77 + (uint64_t)signo;
  __atomic_fetch_add(&handled, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < 4; ++i) {
    unsigned b = next_random(&random) % data.count;
    size_t at = next_random(&random) % data.blocks[b].count;
    CHECK(data.blocks[b].words[at] == word_of(b, 1, at));
  }
  errno = saved;
}

static void* use_memory(void* seed) {
  uint64_t random = (uintptr_t)seed;
  uint64_t* mine = malloc(20 * KIB);
  CHECK(mine != NULL);
  while (!stop) {
    check_block(&data, next_random(&random) % data.count);
    free(mine);
    size_t size = 64 + next_random(&random) % (100 * KIB);
    mine = malloc(size);
    CHECK(mine != NULL);
    memset(mine, 1, size);
  }
  free(mine);
  return NULL;
}

static void install(int signo, void (*handler)(int), int flags) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags | SA_RESTART};
  CHECK(sigaction(signo, &action, NULL) == 0);
}

static void burst(int flags) {
  pthread_t threads[kThreads];
  install(SIGUSR1, touch_anywhere, flags);
  install(SIGUSR2, touch_anywhere, flags | SA_NODEFER);
  for (uintptr_t i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, use_memory, (void*)(i + 1)) == 0);
  for (int round = 0; round < 300; ++round) {
    for (int i = 0; i < kThreads; ++i) {
      for (int n = 0; n < 5; ++n) CHECK(pthread_kill(threads[i], n % 2 != 0 ? SIGUSR1 : SIGUSR2) == 0);
    }
    CHECK(kill(getpid(), SIGUSR1) == 0);
    usleep(1000);
    if (round % 100 == 50) {
      pid_t child = fork();
      if (child == 0) {
        check_data(&data);
        _exit(0);
      }
      expect_success(child);
    }
  }
  stop = 1;
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  /* Most of them merge. */
  CHECK(handled > 100);
}

static void alternate(void) {
  stack_t stack = {.ss_sp = malloc(64 * KIB), .ss_size = 64 * KIB};
  CHECK(stack.ss_sp != NULL && sigaltstack(&stack, NULL) == 0);
  install(SIGUSR1, touch_anywhere, SA_ONSTACK);
  unsigned away = 0;
  for (int round = 0; round < 8; ++round) {
    check_data(&data);
    away += bytes_away(stack.ss_sp, stack.ss_size) != 0;
    CHECK(raise(SIGUSR1) == 0);
  }
  CHECK(handled == 8);
  if (memory_limit() != 0) CHECK(away > 0);
}

static void profile(void) {
  pthread_t threads[kThreads];
  struct itimerval timer = {{0, 1000}, {0, 1000}};
  install(SIGPROF, touch_anywhere, 0);
  CHECK(setitimer(ITIMER_PROF, &timer, NULL) == 0);
  for (uintptr_t i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, use_memory, (void*)(i + 1)) == 0);
  /* The timer counts processor time, of which a fast machine needs little for two rounds. */
  for (int round = 0; round < 2 || handled <= 50; ++round) {
    check_data(&data);
    pid_t child = fork();
    if (child == 0) {
      CHECK(setitimer(ITIMER_PROF, &timer, NULL) == 0);
      check_data(&data);
      _exit(0);
    }
    expect_success(child);
  }
  stop = 1;
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void* volatile fault_address;
static void on_fault(int signo, siginfo_t* info, void* context) {
  (void)signo;
  (void)context;
  fault_address = info->si_addr;
  touch_anywhere(1);
  siglongjmp(back, 1);
}

static void own_faults(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  char* page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(page != MAP_FAILED && sigaction(SIGSEGV, &action, NULL) == 0);
  volatile int caught = 0;
  for (volatile int round = 0; round < 200; ++round) {
    char* volatile wrong = round % 2 != 0 ? page + 7 : (char*)16;
    fault_address = NULL;
    if (sigsetjmp(back, 1) == 0) {
      *wrong = 1;
      CHECK(0);
    }
    CHECK(fault_address == wrong);
    ++caught;
    if (round % 50 == 0) check_data(&data);
  }
  CHECK(caught == 200 && handled == 200);
}

int main(int argc, char** argv) {
  contract_begin(55);
  CHECK(argc == 2);
  make_twice_the_limit(&data);
  if (strcmp(argv[1], "bursts") == 0) burst(0);
  if (strcmp(argv[1], "alternate") == 0) alternate();
  if (strcmp(argv[1], "profile") == 0) profile();
  if (strcmp(argv[1], "segv") == 0) own_faults();
  check_data(&data);
  return 0;
}
