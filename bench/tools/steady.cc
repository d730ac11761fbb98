// Works at a steady pace and says how far it has come, ten times a second, for bench/observed:
// steady objects|pages SECONDS [MIB].
//
// objects: mallocs and frees of small objects, of which MIB are held (4). pages: reads and writes of single pages,
// anywhere in MIB (96) of text-like content; under a limit below that, pages are swapped all the time. Each line is the
// clock (CLOCK_MONOTONIC) and the processor's time of the whole process in nanoseconds, and the operations so far. The
// first line comes when everything is filled. Usage errors end with 64.
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../programs/common.h"

namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kReport = kSecond / 10;
constexpr size_t kMib = 1 << 20, kPage = 4096;
// Between two looks at the clock: some microseconds of malloc and free, and of faults some hundred.
constexpr unsigned kObjectsAtATime = 1000, kPagesAtATime = 16;

uint64_t now(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}

// Calls `work`, which returns the operations that it did, until the time is over.
template <class Work>
void run(uint64_t seconds, Work work) {
  uint64_t operations = 0, next = now(CLOCK_MONOTONIC);
  const uint64_t end = next + seconds * kSecond;
  for (uint64_t time = next; time < end; time = now(CLOCK_MONOTONIC)) {
    if (time >= next) {
      printf("%llu %llu %llu\n", static_cast<unsigned long long>(time),
             static_cast<unsigned long long>(now(CLOCK_PROCESS_CPUTIME_ID)),
             static_cast<unsigned long long>(operations));
      next += kReport;
    }
    operations += work();
  }
}

void work_on_objects(uint64_t seconds, size_t bytes) {
  constexpr size_t kLeast = 16, kMost = 1024;
  bench::Rng rng(1);
  std::vector<void*> held(bytes / (kMost / 2), nullptr);
  run(seconds, [&] {
    for (unsigned i = 0; i < kObjectsAtATime; ++i) {
      void*& slot = held[rng.below(static_cast<uint32_t>(held.size()))];
      free(slot);
      slot = malloc(rng.between(kLeast, kMost));
      if (slot == nullptr) bench::fail("no memory");
    }
    return kObjectsAtATime;
  });
}

void work_on_pages(uint64_t seconds, size_t bytes) {
  bench::Rng rng(1);
  const size_t pages = bytes / kPage;
  auto* memory = static_cast<uint64_t*>(malloc(bytes));
  if (memory == nullptr) bench::fail("no memory");
  constexpr size_t kWords = kPage / sizeof(uint64_t);
  // A third of each page is random, the rest one word: LZ4 makes a third of it.
  for (size_t i = 0; i < pages * kWords; ++i) memory[i] = i % 3 == 0 ? rng.next() : i / kWords;
  run(seconds, [&] {
    for (unsigned i = 0; i < kPagesAtATime; ++i) memory[rng.below(static_cast<uint32_t>(pages)) * kWords] += 1;
    return kPagesAtATime;
  });
  free(memory);
}

}  // namespace

int main(int argc, char** argv) {
  const bool objects = argc >= 3 && strcmp(argv[1], "objects") == 0;
  const bool pages = argc >= 3 && strcmp(argv[1], "pages") == 0;
  const long seconds = argc >= 3 ? atol(argv[2]) : 0, mib = argc == 4 ? atol(argv[3]) : objects ? 4 : 96;
  if ((!objects && !pages) || argc > 4 || seconds < 1 || seconds > 3600 || mib < 1 || mib > 65536) {
    fputs("usage: steady objects|pages SECONDS [MIB], seconds 1 to 3600, MIB 1 to 65536\n", stderr);
    return 64;
  }
  setvbuf(stdout, nullptr, _IOLBF, 0);
  if (objects)
    work_on_objects(static_cast<uint64_t>(seconds), static_cast<size_t>(mib) * kMib);
  else
    work_on_pages(static_cast<uint64_t>(seconds), static_cast<size_t>(mib) * kMib);
  return 0;
}
