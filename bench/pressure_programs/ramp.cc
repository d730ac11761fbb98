// Grows at a steady rate: allocates and fills page after page of malloc memory, never touching one again, up to a size.
// For bench/pressure --ramp: who makes room, the background or the thread that grows.
//
//   ramp [--memory 384M] [--rate 200M] [--compressibility 0..1]     rate in bytes per second
//
// One line of JSON: the rate that was reached, and how long filling a page took. What it stored is not read back, since
// that would bring pages in and mix with what is measured; the other workloads check content.
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "arguments.h"
#include "content.h"
#include "histogram.h"

namespace pressure {
namespace {

constexpr uint64_t kStepNs = 1'000'000;           // how often it is brought up to its rate
constexpr uint64_t kBlock = uint64_t{256} << 10;  // one malloc; many of them, as programs that grow do

void sleep_until(uint64_t ns) {
  const timespec at{static_cast<time_t>(ns / 1'000'000'000u), static_cast<long>(ns % 1'000'000'000u)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
}

uint64_t* new_block() {
  auto* block = static_cast<uint64_t*>(aligned_alloc(kPageSize, kBlock));
  if (block == nullptr) bench::fail("aligned_alloc returned null");
  return block;
}

int run(const Arguments& arguments) {
  const uint64_t pages = arguments.size("memory", uint64_t{384} << 20) / kPageSize;
  const auto rate = static_cast<double>(arguments.size("rate", uint64_t{200} << 20));
  const Content content(arguments.real("compressibility", 0.7, 0, 1));
  const double ticks_per_ns = measure_tick_rate();
  static Histogram histogram;
  uint64_t* block = nullptr;
  const uint64_t start = now_ns();
  for (uint64_t page = 0, step = 1; page < pages; ++step) {
    const double due = static_cast<double>(step * kStepNs) * 1e-9 * rate / kPageSize;
    for (; page < pages && static_cast<double>(page) < due; ++page) {
      const uint64_t before = ticks();
      if (page % (kBlock / kPageSize) == 0) block = new_block();
      content.fill(block + page % (kBlock / kPageSize) * kPageWords, page);
      histogram.record(ticks() - before);
    }
    sleep_until(start + step * kStepNs);
  }
  const double seconds = static_cast<double>(now_ns() - start) * 1e-9;
  printf("{\"mib_per_s\":%.1f,\"pages\":%llu", static_cast<double>(pages * kPageSize) / seconds / (1 << 20),
         static_cast<unsigned long long>(pages));
  histogram.print(stdout, ticks_per_ns);
  printf("}\n");
  return fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace pressure

int main(int argc, char** argv) {
  return pressure::run(pressure::Arguments(argc, argv, {"memory", "rate", "compressibility"}));
}
