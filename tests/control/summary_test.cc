// summary_test.cc: every number of the summary, what stands where there is nothing to divide by, and its size.
#include "control/summary.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <sstream>
#include <string>

namespace weir {
namespace {

std::string text_of(const ReclaimStats& stats, uint64_t elapsed_ns = 0, uint64_t pid = 1) {
  int ends[2];
  if (pipe(ends) != 0) abort();
  print_summary(ends[1], stats, elapsed_ns, pid);
  close(ends[1]);
  // One read: it must have come in one piece.
  char text[65536];
  const ssize_t size = read(ends[0], text, sizeof(text));
  close(ends[0]);
  return std::string(text, size < 0 ? 0 : static_cast<size_t>(size));
}

std::map<std::string, std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::string line;
  std::getline(stream, line);
  EXPECT_EQ(line.rfind("weir: summary of process ", 0), 0u);
  std::map<std::string, std::string> lines;
  while (std::getline(stream, line)) {
    const size_t colon = line.rfind(": ");
    EXPECT_EQ(line[0], '\t') << line;
    EXPECT_NE(colon, std::string::npos) << line;
    EXPECT_TRUE(lines.emplace(line.substr(1, colon - 1), line.substr(colon + 2)).second) << "twice: " << line;
  }
  return lines;
}

ReclaimStats some_stats() {
  ReclaimStats s;
  s.active = true;
  s.mode = "swap";
  s.limit = Pages(131072);
  s.resident_peak = Pages(131000);
  s.resident = Pages(256);
  s.zswpout = 3000, s.zswpin = 2000, s.zswpwb = 100;
  s.pswpout = 512, s.pswpin = 256;
  s.zswap_same_filled = 7, s.zswap_reject_compress = 8;
  s.zswap_stored = Pages(1000), s.zswap_bytes = 1024000, s.zswap_pool = Pages(300), s.swap_used = Pages(25600);
  s.swap_ra = 400, s.swap_ra_hit = 100, s.swap_write_error = 5, s.swap_read_error = 6;
  s.pgscan_kswapd = 4000, s.pgsteal_kswapd = 3000, s.pgscan_direct = 500, s.pgsteal_direct = 100;
  s.allocstall = 12, s.stall_us = 2500999, s.stall_longest_us = 1234;
  s.pgfault = 9000, s.pgfault_zero = 5000, s.pgfault_standby = 1800, s.pgmajfault = 2200;
  s.workingset_refault_anon = 2100, s.workingset_activate_anon = 900;
  s.pgunmap_file = 5120, s.workingset_refault_file = 1280;
  return s;
}

TEST(Summary, EveryNumber) {
  const std::string text = text_of(some_stats(), 12345678901, 4711);
  EXPECT_EQ(text.rfind("weir: summary of process 4711\n", 0), 0u);
  const std::map<std::string, std::string> wanted = {
      {"Mode", "swap"},
      {"Memory limit (MiB)", "512.000"},
      {"Peak resident (MiB)", "511.718"},
      {"Peak resident (% of limit)", "99.945"},
      {"Resident at exit (MiB)", "1.000"},
      {"Elapsed (s)", "12.345"},
      {"Swapped out to compressed memory (pages)", "3000"},
      {"Swapped out to compressed memory (MiB)", "11.718"},
      {"Swapped in from compressed memory (pages)", "2000"},
      {"Swapped in from compressed memory (MiB)", "7.812"},
      {"Swapped out to file (pages)", "512"},
      {"Swapped out to file (MiB)", "2.000"},
      {"Swapped in from file (pages)", "256"},
      {"Swapped in from file (MiB)", "1.000"},
      {"Written back from compressed memory to file (pages)", "100"},
      {"Same-filled pages (pages)", "7"},
      {"Pages that did not compress (pages)", "8"},
      {"Compression ratio at exit", "4.000"},
      {"Compressed memory at exit (MiB)", "1.171"},
      {"Swap file used at exit (MiB)", "100.000"},
      {"Read ahead (pages)", "400"},
      {"Read ahead that was used (%)", "25.000"},
      {"Swap errors, writing", "5"},
      {"Swap errors, reading", "6"},
      {"Scanned by kswapd (pages)", "4000"},
      {"Reclaimed by kswapd (pages)", "3000"},
      {"Efficiency of kswapd (%)", "75.000"},
      {"Scanned directly (pages)", "500"},
      {"Reclaimed directly (pages)", "100"},
      {"Efficiency of direct reclaim (%)", "20.000"},
      {"Reclaimed by kswapd (% of all)", "96.774"},
      {"Mapped files dropped (MiB)", "20.000"},
      {"Mapped files that came back (MiB)", "5.000"},
      {"Stalls", "12"},
      {"Stalls, total (s)", "2.500"},
      {"Stalls, longest (ms)", "1.234"},
      {"Faults, all (pages)", "9000"},
      {"Faults, first touch (pages)", "5000"},
      {"Faults, unmapped in memory (pages)", "1800"},
      {"Faults, swapped (pages)", "2200"},
      {"Refaults (pages)", "2100"},
      {"Refaults made active at once (pages)", "900"},
  };
  EXPECT_EQ(lines_of(text), wanted);
}

TEST(Summary, NothingHappened) {
  const auto lines = lines_of(text_of(ReclaimStats()));
  EXPECT_EQ(lines.size(), lines_of(text_of(some_stats())).size()) << "the same lines in every mode";
  EXPECT_EQ(lines.at("Mode"), "off");
  EXPECT_EQ(lines.at("Memory limit (MiB)"), "none");
  for (const char* label :
       {"Peak resident (% of limit)", "Compression ratio at exit", "Read ahead that was used (%)",
        "Efficiency of kswapd (%)", "Efficiency of direct reclaim (%)", "Reclaimed by kswapd (% of all)"})
    EXPECT_EQ(lines.at(label), "-") << label;
  EXPECT_EQ(lines.at("Stalls"), "0");
}

TEST(Summary, LargestNumbersFit) {
  ReclaimStats s;
  const char* mode = s.mode;
  memset(static_cast<void*>(&s), 0xff, sizeof(s));
  s.active = true;
  s.mode = mode;
  const std::string text = text_of(s, UINT64_MAX, UINT64_MAX);
  EXPECT_LT(text.size(), 4096u) << "what a pipe takes in one piece";
  EXPECT_EQ(lines_of(text).size(), lines_of(text_of(some_stats())).size());
  EXPECT_EQ(text.back(), '\n');
}

TEST(Summary, ClosedDescriptorIsNoTrouble) {
  print_summary(-1, some_stats(), 1, 1);
}

}  // namespace
}  // namespace weir
