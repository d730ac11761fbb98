/* options.c: WEIR_CONF is read at start: what is wrong in it is named in one line and ignored, or ends the program with
 * 64 where abort_conf=1 asks for that; zero_on_free and guard do what they say. */
// contract: weir cases=unknown,bad_value,abort_conf,good,zero_on_free,guard
#include <malloc.h>

#include "contract.h"

static const char* conf;
static const char* inner;

static void start_with_conf(void* unused) {
  (void)unused;
  exec_self(inner, conf);
}

static struct ChildResult run_with(const char* wanted_conf, const char* wanted_inner) {
  conf = wanted_conf;
  inner = wanted_inner;
  struct ChildResult result = run_child(start_with_conf, NULL);
  fprintf(stderr, "%s", result.text);
  return result;
}

static unsigned count_lines(const char* text) {
  unsigned lines = 0;
  for (; *text != '\0'; ++text) lines += *text == '\n';
  return lines;
}

/* One line that names the input; then the program runs. */
static void expect_complaint(const char* wanted_conf, const char* named) {
  struct ChildResult result = run_with(wanted_conf, "inner_nothing");
  CHECK(exited_with(result.status, 0));
  CHECK(count_lines(result.text) == 1 && strncmp(result.text, "weir: ", 6) == 0);
  CHECK(strstr(result.text, named) != NULL);
}

static void expect_refusal(const char* wanted_conf) {
  struct ChildResult result = run_with(wanted_conf, "inner_nothing");
  CHECK(exited_with(result.status, 64));
  CHECK(count_lines(result.text) == 1 && strncmp(result.text, "weir: ", 6) == 0);
}

static void expect_silence(const char* wanted_conf, const char* wanted_inner) {
  struct ChildResult result = run_with(wanted_conf, wanted_inner);
  CHECK(exited_with(result.status, 0) && result.length == 0);
}

static void inner_zero_on_free(void) {
  const size_t sizes[] = {16, 48, 200, 1000, 5000, 40000, 300000, 3 * MIB};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    void* neighbours[4];
    for (int j = 0; j < 4; ++j) neighbours[j] = malloc(sizes[i]);
    volatile unsigned char* stale = opaque(malloc(sizes[i]));
    memset((void*)stale, 0xee, sizes[i]);
    free((void*)stale);
    for (size_t at = 0; at < sizes[i]; ++at) CHECK(stale[at] == 0);
    for (int j = 0; j < 4; ++j) free(neighbours[j]);
  }
}

static volatile char* guarded;
static ptrdiff_t guarded_offset;

static void write_outside(void* unused) {
  (void)unused;
  guarded[guarded_offset] = 1;
}

static void inner_guard(void) {
  const size_t sizes[] = {MIB, 5 * MIB, 2 * MIB + 100};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    char* ptr = malloc(sizes[i]);
    CHECK(ptr != NULL);
    size_t usable = malloc_usable_size(ptr);
    memset(ptr, 1, usable);
    guarded = ptr;
    guarded_offset = (ptrdiff_t)usable;
    CHECK(killed_by(run_child(write_outside, NULL).status, SIGSEGV));
    guarded_offset = -1;
    CHECK(killed_by(run_child(write_outside, NULL).status, SIGSEGV));
    guarded_offset = (ptrdiff_t)usable - 1;
    CHECK(exited_with(run_child(write_outside, NULL).status, 0));
    free(ptr);
  }
  for (int i = 0; i < 200; ++i) {
    char* again = malloc(MIB + (size_t)i * 4096);
    CHECK(again != NULL);
    memset(again, 1, MIB + (size_t)i * 4096);
    again = realloc(again, 2 * MIB);
    CHECK(again != NULL);
    memset(again, 1, 2 * MIB);
    free(again);
  }
}

int main(int argc, char** argv) {
  contract_begin(60);
  CHECK(argc == 2);
  const char* name = argv[1];
  if (strcmp(name, "unknown") == 0) {
    expect_complaint("nonsense=1", "nonsense");
    expect_complaint("zero_on_free=0,nonsense=1", "nonsense");
  } else if (strcmp(name, "bad_value") == 0) {
    expect_complaint("zero_on_free=perhaps", "perhaps");
    expect_complaint("zero_on_free", "zero_on_free");
  } else if (strcmp(name, "abort_conf") == 0) {
    expect_refusal("nonsense=1,abort_conf=1");
    expect_refusal("abort_conf=1,zero_on_free=perhaps");
    expect_silence("abort_conf=1", "inner_nothing");
  } else if (strcmp(name, "good") == 0) {
    expect_silence("", "inner_nothing");
    expect_silence("zero_on_free=1,guard=1", "inner_nothing");
  } else if (strcmp(name, "zero_on_free") == 0) {
    expect_silence("zero_on_free=1", "inner_zero_on_free");
  } else if (strcmp(name, "guard") == 0) {
    expect_silence("guard=1", "inner_guard");
  } else if (strcmp(name, "inner_zero_on_free") == 0) {
    inner_zero_on_free();
  } else if (strcmp(name, "inner_guard") == 0) {
    inner_guard();
  } else {
    free(malloc(100));
  }
  return 0;
}
