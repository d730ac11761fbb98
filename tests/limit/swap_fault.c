/* swap_fault.c: a disk that fails. What cannot be written stays in memory or goes elsewhere; a page that cannot be read
 * back is lost alone: one line on standard error, SIGBUS on its touch, and every other page is unharmed. */
// limit: cases=write_enospc,write_eio,write_short,write_all,read_short,read_eio,read_corrupt,read_call,bad_plan,small
// limit: weir
#include <setjmp.h>

#include "limit.h"

static struct Dataset data;
static sigjmp_buf lost;
static volatile uintptr_t lost_at;

/* The case, the plan of faults, other options, and what is to be expected. */
struct Case {
  const char* name;
  const char* faults;
  const char* options;
  int loses;    /* reads fail: some pages are lost */
  int may_fail; /* malloc may say ENOMEM before all the data is made */
};
static const struct Case kCases[] = {
    {"write_enospc", "write:ENOSPC:after=50", "zswap=0", 0, 1},
    {"write_eio", "write:EIO:every=3", "zswap=0", 0, 0},
    {"write_short", "write:short:every=2", "zswap=0", 0, 0},
    {"write_all", "write:EIO", "zswap=1", 0, 1},
    {"read_short", "read:short:every=2", "zswap=0", 0, 0},
    {"read_eio", "read:EIO:after=20:times=3", "zswap=0", 1, 0},
    {"read_corrupt", "read:corrupt:after=20:times=3", "zswap=0", 1, 0},
    {"read_call", "read:EIO:after=20:times=2", "zswap=0", 1, 0},
    {"small", "", "zswap=0,swap_size=4M", 0, 1},
};

static void on_bus_error(int signo, siginfo_t* info, void* context) {
  (void)signo;
  (void)context;
  lost_at = (uintptr_t)info->si_addr;
  siglongjmp(lost, 1);
}

/* Counts the pages that are lost; every word of the others must be right. */
static unsigned count_lost_pages(void) {
  struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
  /* They change between sigsetjmp and siglongjmp. */
  volatile unsigned pages, b;
  volatile size_t i;
  volatile uintptr_t page = 0;
  CHECK(sigaction(lost_signal(), &action, NULL) == 0);
  pages = 0;
  for (b = 0; b < data.count; b = b + 1) {
    i = 0;
    if (sigsetjmp(lost, 1) != 0) {
      uintptr_t at = (uintptr_t)&data.blocks[b].words[i];
      CHECK((lost_at & ~(PAGE - 1)) == (at & ~(PAGE - 1)));
      /* Small blocks may share it. */
      if ((at & ~(PAGE - 1)) != page) pages = pages + 1;
      page = at & ~(PAGE - 1);
      i = i + (PAGE - (at & (PAGE - 1))) / 8;
    }
    for (; i < data.blocks[b].count; i = i + 1) {
      size_t at = i;
      uint64_t got = *(volatile uint64_t*)&data.blocks[b].words[at];
      if (got != word_of(b, 1, at)) wrong_word(&data, b, at, got);
    }
  }
  signal(lost_signal(), SIG_DFL);
  return pages;
}

/* As much as there is room for. */
static int make_some_data(size_t bytes) {
  uint64_t random = 12345;
  while (data.bytes < bytes && data.count < kMostBlocks) {
    unsigned b = data.count;
    size_t size = block_size(b, &random) & ~(size_t)7;
    if (size >= 4 * MIB) size = 3 * MIB;
    /* Whole pages, so that making the data never touches a page again, which might be lost by then. */
    size = (size + PAGE - 1) & ~(PAGE - 1);
    errno = 0;
    data.blocks[b].words = aligned_alloc(PAGE, size);
    if (data.blocks[b].words == NULL) {
      CHECK(errno == ENOMEM);
      return 0;
    }
    ++data.count;
    data.blocks[b].count = size / 8;
    data.bytes += size;
    write_block(&data, b, 1);
  }
  return 1;
}

/* write(2) from a lost page fails like one from a page of a file that cannot be read: EFAULT, and no signal. */
static unsigned count_lost_by_write(void) {
  int null = open("/dev/null", O_WRONLY), zero = memfd_create("copy", 0);
  unsigned pages = 0;
  CHECK(null >= 0 && zero >= 0);
  for (unsigned b = 0; b < data.count; ++b) {
    for (size_t i = 0; i < data.blocks[b].count; i += kWordsPerPage) {
      errno = 0;
      ssize_t got = pwrite(zero, &data.blocks[b].words[i], 8, 0);
      CHECK(got == 8 || (got < 0 && errno == EFAULT));
      pages += got < 0;
    }
  }
  return pages;
}

static void run_case(void* argument) {
  const struct Case* test = argument;
  char conf[256];
  snprintf(conf, sizeof conf, "limit=24M,swap=%s,%s%s%s", getenv("LIMIT_SWAP"), test->options,
           test->faults[0] != '\0' ? ",swap_fault=" : "", test->faults);
  exec_self(test->name, conf);
}

/* In the child: stdout says what happened. */
static void inside(const struct Case* test) {
  int complete = make_some_data(48 * MIB);
  CHECK(complete || test->may_fail);
  CHECK(data.bytes >= 12 * MIB);
  unsigned lost_pages = strcmp(test->name, "read_call") == 0 ? count_lost_by_write() : 0;
  unsigned again = count_lost_pages();
  if (strcmp(test->name, "read_call") != 0) lost_pages = again;
  CHECK(test->loses ? again > 0 && again <= 200 && lost_pages > 0 : again == 0);
  /* A lost page stays lost, and no other becomes so. */
  CHECK(count_lost_pages() == again);
  expect_within_limit(0);
  pid_t child = fork();
  if (child == 0) {
    /* What is lost to the parent is lost to the child; its own reads may fail too, for the plan begins anew. */
    unsigned in_child = count_lost_pages();
    CHECK(in_child >= again);
    fprintf(stderr, "lost_in_child=%u\n", in_child);
    _exit(0);
  }
  expect_success(child);
  /* Freed and taken again they are as good as new. */
  free_data(&data);
  CHECK(make_some_data(12 * MIB));
  CHECK(test->loses || count_lost_pages() == 0);
  fprintf(stderr, "lost=%u\n", again);
}

static unsigned lines_with(const char* text, const char* what) {
  unsigned count = 0;
  for (const char* at = text; (at = strstr(at, what)) != NULL; ++at) ++count;
  return count;
}

int main(int argc, char** argv) {
  contract_begin(55);
  CHECK(argc == 2);
  for (size_t i = 0; i < sizeof kCases / sizeof kCases[0]; ++i) {
    if (strcmp(kCases[i].name, argv[1]) != 0) continue;
    const char* conf = getenv("WEIR_CONF");
    if (conf != NULL && strstr(conf, kCases[i].options) != NULL) {
      inside(&kCases[i]);
      return 0;
    }
    struct ChildResult result = run_child(run_case, (void*)&kCases[i]);
    unsigned complaints = lines_with(result.text, "weir: ");
    const char* report = strstr(result.text, "lost=");
    if (!exited_with(result.status, 0) || report == NULL) {
      for (char* at = result.text; (at = strstr(at, "weir: ")) != NULL; ++at) *at = '>';
      fprintf(stderr, "status 0x%x, said: %s\n", (unsigned)result.status, result.text);
      return 1;
    }
    printf("%s: %s", argv[1], report);
    if (kCases[i].loses) {
      /* One line for each page, whoever lost it. */
      const char* in_child = strstr(result.text, "lost_in_child=");
      CHECK(in_child != NULL && complaints == (unsigned)atoi(in_child + 14));
      char line[64];
      snprintf(line, sizeof line, "it is lost, and touching it raises %s", lost_signal_name());
      CHECK(lines_with(result.text, line) == complaints);
    }
    return 0;
  }
  /* A plan that is no plan: said once, and nothing is written to the file. */
  static const struct Case kBad = {"write_all", "write:maybe", "zswap=1", 0, 1};
  struct ChildResult result = run_child(run_case, (void*)&kBad);
  CHECK(lines_with(result.text, "weir: ") == 1);
  CHECK(exited_with(result.status, 0) || exited_with(result.status, 64));
  return 0;
}
