/* free_pages.c: free pages keep their memory for a while, and new ones are touched at gigabytes a second: what is in
 * memory stays within the limit all the same, also beside others that want the processors (kswapd, which gives the
 * memory of free pages back, then does not run at once). The kernel tells the highest that it ever was. */
// limit: cases=alone,busy conf=limit=64M,swap=none timeout=60 weir
#include <sys/prctl.h>

#include "limit.h"

enum { kParts = 10, kRounds = 5, kBusy = 6 };
#define PART (6 * MIB)
#define LARGE (20 * MIB)

/* weir's own tables and buffers, which the limit is not on, are below 2 MiB here; and a 64th, which is tolerated. */
#define ROOM (5 * MIB)

static pid_t busy[kBusy];

static void begin_busy(void) {
  for (unsigned i = 0; i < kBusy; ++i) {
    CHECK((busy[i] = fork()) >= 0);
    if (busy[i] != 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
    }
  }
}

static void end_busy(void) {
  for (unsigned i = 0; i < kBusy; ++i) {
    kill(busy[i], SIGKILL);
    status_of(busy[i]);
  }
}

/* Leaves gaps whose pages have memory and which are too short for what comes then. */
static void touch_beside_free_pages(void) {
  char *parts[kParts], *large[2];
  for (unsigned i = 0; i < kParts; ++i) {
    CHECK((parts[i] = malloc(PART)) != NULL);
    memset(parts[i], (int)i, PART);
  }
  for (unsigned i = 0; i < kParts; i += 2) free(parts[i]);
  for (unsigned i = 0; i < 2; ++i) {
    CHECK((large[i] = malloc(LARGE)) != NULL);
    memset(large[i], 7, LARGE);
  }
  for (unsigned i = 1; i < kParts; i += 2) free(parts[i]);
  for (unsigned i = 0; i < 2; ++i) free(large[i]);
}

int main(int argc, char** argv) {
  contract_begin(50);
  CHECK(argc == 2);
  const int is_busy = strcmp(argv[1], "busy") == 0;
  if (is_busy) begin_busy();
  for (unsigned i = 0; i < kRounds; ++i) touch_beside_free_pages();
  if (is_busy) end_busy();
  const size_t others = status_bytes("RssFile:") + status_bytes("RssShmem:"), highest = status_bytes("VmHWM:") - others;
  if (highest > memory_limit() + ROOM)
    fprintf(stderr, "highest: %zu KiB, limit %zu KiB\n", highest / KIB, memory_limit() / KIB);
  CHECK(highest <= memory_limit() + ROOM);
  return 0;
}
