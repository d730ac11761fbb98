#include "control/summary.h"

#include <cstring>
#include <string_view>

#include "base/port.h"
#include "base/print.h"

namespace weir {
namespace {

// A pipe takes this much in one piece (PIPE_BUF). The text has some 45 lines of at most 75 characters.
constexpr size_t kCapacity = 4096;

// The lines so far.
class Report {
 public:
  void add(Line& line) {
    const std::string_view text = line.text("\n").view();
    if (text.size() <= kCapacity - size_) {
      memcpy(buffer_ + size_, text.data(), text.size());
      size_ += text.size();
    }
    line.clear();
  }
  void number(std::string_view label, uint64_t n) {
    Line line;
    add(line.text("\t").text(label).text(": ").dec(n));
  }
  void fixed(std::string_view label, uint64_t thousandths) {
    Line line;
    add(line.text("\t").text(label).text(": ").fixed(thousandths));
  }
  void word(std::string_view label, std::string_view word) {
    Line line;
    add(line.text("\t").text(label).text(": ").text(word));
  }
  void mib(std::string_view label, Pages pages) { fixed(label, mib_thousandths(bytes_of(pages))); }
  // "-" where there is nothing to divide by.
  void ratio(std::string_view label, uint64_t part, uint64_t whole, uint64_t scale) {
    if (whole == 0) return word(label, "-");
    fixed(label, static_cast<uint64_t>(static_cast<unsigned __int128>(part) * scale * 1000 / whole));
  }
  void write_to(int fd) const { port::write_all(fd, buffer_, size_); }

 private:
  static uint64_t mib_thousandths(uint64_t bytes) { return (bytes >> 20) * 1000 + ((bytes & 0xfffff) * 1000 >> 20); }

  size_t size_ = 0;
  char buffer_[kCapacity];
};

constexpr uint64_t kPercent = 100;

void add_memory(Report& report, const ReclaimStats& s, uint64_t elapsed_ns) {
  report.word("Mode", s.mode);
  if (s.limit.v == 0)
    report.word("Memory limit (MiB)", "none");
  else
    report.mib("Memory limit (MiB)", s.limit);
  report.mib("Peak resident (MiB)", s.resident_peak);
  report.ratio("Peak resident (% of limit)", s.resident_peak.v, s.limit.v, kPercent);
  report.mib("Resident at exit (MiB)", s.resident);
  report.fixed("Elapsed (s)", elapsed_ns / 1000000);
}

void add_swap(Report& report, const ReclaimStats& s) {
  report.number("Swapped out to compressed memory (pages)", s.zswpout);
  report.mib("Swapped out to compressed memory (MiB)", Pages(s.zswpout));
  report.number("Swapped in from compressed memory (pages)", s.zswpin);
  report.mib("Swapped in from compressed memory (MiB)", Pages(s.zswpin));
  // Whose swap it is, the mode says.
  const bool systems = std::string_view(s.mode) == "pageout";
  report.number(systems ? "Swapped out to the system's swap (pages)" : "Swapped out to file (pages)", s.pswpout);
  report.mib(systems ? "Swapped out to the system's swap (MiB)" : "Swapped out to file (MiB)", Pages(s.pswpout));
  report.number(systems ? "Swapped in from the system's swap (pages)" : "Swapped in from file (pages)", s.pswpin);
  report.mib(systems ? "Swapped in from the system's swap (MiB)" : "Swapped in from file (MiB)", Pages(s.pswpin));
  report.number("Written back from compressed memory to file (pages)", s.zswpwb);
  report.number("Same-filled pages (pages)", s.zswap_same_filled);
  report.number("Pages that did not compress (pages)", s.zswap_reject_compress);
  report.ratio("Compression ratio at exit", bytes_of(s.zswap_stored), s.zswap_bytes, 1);
  report.mib("Compressed memory at exit (MiB)", s.zswap_pool);
  report.mib("Swap file used at exit (MiB)", s.swap_used);
  report.number("Read ahead (pages)", s.swap_ra);
  report.ratio("Read ahead that was used (%)", s.swap_ra_hit, s.swap_ra, kPercent);
  report.number("Swap errors, writing", s.swap_write_error);
  report.number("Swap errors, reading", s.swap_read_error);
}

void add_reclaim(Report& report, const ReclaimStats& s) {
  report.number("Scanned by kswapd (pages)", s.pgscan_kswapd);
  report.number("Reclaimed by kswapd (pages)", s.pgsteal_kswapd);
  report.ratio("Efficiency of kswapd (%)", s.pgsteal_kswapd, s.pgscan_kswapd, kPercent);
  report.number("Scanned directly (pages)", s.pgscan_direct);
  report.number("Reclaimed directly (pages)", s.pgsteal_direct);
  report.ratio("Efficiency of direct reclaim (%)", s.pgsteal_direct, s.pgscan_direct, kPercent);
  report.ratio("Reclaimed by kswapd (% of all)", s.pgsteal_kswapd, s.pgsteal_kswapd + s.pgsteal_direct, kPercent);
  report.mib("Mapped files dropped (MiB)", Pages(s.pgunmap_file));
  report.mib("Mapped files that came back (MiB)", Pages(s.workingset_refault_file));
  report.number("Stalls", s.allocstall);
  report.fixed("Stalls, total (s)", s.stall_us / 1000);
  report.fixed("Stalls, longest (ms)", s.stall_longest_us);
}

void add_faults(Report& report, const ReclaimStats& s) {
  report.number("Faults, all (pages)", s.pgfault);
  report.number("Faults, first touch (pages)", s.pgfault_zero);
  report.number("Faults, unmapped in memory (pages)", s.pgfault_standby);
  report.number("Faults, swapped (pages)", s.pgmajfault);
  report.number("Refaults (pages)", s.workingset_refault_anon);
  report.number("Refaults made active at once (pages)", s.workingset_activate_anon);
}

}  // namespace

void print_summary(int fd, const ReclaimStats& stats, uint64_t elapsed_ns, uint64_t pid) {
  Report report;
  Line line;
  report.add(line.text("weir: summary of process ").dec(pid));
  add_memory(report, stats, elapsed_ns);
  add_swap(report, stats);
  add_reclaim(report, stats);
  add_faults(report, stats);
  report.write_to(fd);
}

}  // namespace weir
