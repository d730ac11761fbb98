#include "rates.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

#include "failure.h"
#include "json.h"
#include "moment.h"
#include "page_reader.h"
#include "procfs.h"

namespace weir::tool {
namespace {

constexpr double kKbPerPage = 4;
// A number that is no process on weir is taken for an interval; beyond an hour it was meant to be a process.
constexpr double kLongestInterval = 3600;
constexpr double kShortestInterval = 0.01;
// vmstat writes its heading again after as many lines as a terminal has.
constexpr unsigned kLinesPerHeading = 22;

volatile sig_atomic_t interrupted = 0;

// Everything at one moment.
struct Sample : Moment {
  explicit Sample(PageReader& reader) : Moment(reader), usage(usage_of(reader.pid())) {}
  ProcessUsage usage;
};

struct Plan {
  pid_t pid = 0;
  std::optional<double> interval;
  std::optional<uint64_t> count;
};

template <class T>
T parse(const std::string& text, const char* what, T least, T most) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= least && value <= most))
    throw Failure(kUsage, fmt::format("'{}': expected {} ({} to {})", text, what, least, most));
  return value;
}

bool is_process_on_weir(const std::string& text) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  return error == std::errc() && end == text.data() + text.size() && pid > 0 &&
         read_page(pid).status == PageStatus::kRead;
}

// Which of the numbers is what: three are all, and the first of one or two is a process if there
// is one on weir; where there is no interval, it can be nothing else.
Plan plan_of(const RateSettings& settings) {
  std::vector<std::string> rest = settings.numbers;
  Plan plan;
  if (settings.counters && rest.size() > (settings.pid != 0 ? 0 : 1))
    throw Failure(kUsage, "too many numbers: --counters shows them once, of [PID]");
  if (settings.pid != 0) {
    plan.pid = settings.pid;
  } else if (rest.size() == 3 || (!rest.empty() && (settings.counters || is_process_on_weir(rest[0])))) {
    plan.pid = parse<pid_t>(rest[0], "the number of a process", 1, kMostPid);
    rest.erase(rest.begin());
  }
  if (rest.size() > 2) throw Failure(kUsage, "too many numbers: expected [PID] [INTERVAL [COUNT]]");
  if (!rest.empty() && plan.pid == 0 && strtod(rest[0].c_str(), nullptr) > kLongestInterval)
    throw Failure(kNoStats, fmt::format("process {}: not there, not on weir, or not yours", rest[0]));
  if (!rest.empty()) plan.interval = parse(rest[0], "an interval in seconds", kShortestInterval, kLongestInterval);
  if (rest.size() == 2) plan.count = parse<uint64_t>(rest[1], "a number of lines", 1, UINT32_MAX);
  plan.pid = choose_process(plan.pid);
  return plan;
}

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  sigaction(SIGINT, &action, nullptr);
}

// False when the user wants no more.
bool sleep_for(double seconds) {
  fflush(stdout);
  const double whole = std::floor(seconds);
  const struct timespec duration = {static_cast<time_t>(whole), static_cast<long>((seconds - whole) * 1e9)};
  nanosleep(&duration, nullptr);
  return interrupted == 0;
}

// The process as it is now; nothing when it has ended, or has become another program.
std::optional<Sample> next_sample(PageReader& reader, const Sample& before) {
  try {
    Sample sample(reader);
    if (is_same_program(before.snapshot, sample.snapshot)) return sample;
  } catch (const Failure&) {
    // It ended just now, or became a program that is not on weir.
  }
  return std::nullopt;
}

// Changes between two samples, by name and second.
class Change : public CounterChange {
 public:
  Change(const Sample* before, const Sample& after) : CounterChange(before, after), before_(before), after_(after) {}
  using CounterChange::rate;
  [[nodiscard]] double rate(uint64_t ProcessUsage::*field) const {
    return per_second(after_.usage.*field, before_ != nullptr ? before_->usage.*field : 0);
  }
  // Of all processors.
  [[nodiscard]] double percent(uint64_t ProcessUsage::*ticks) const {
    static const auto processors =
        static_cast<double>(std::max(sysconf(_SC_NPROCESSORS_ONLN), 1L));  // read from a file
    const double share = rate(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK)) / processors * 100;
    return std::min(share, 100.0);
  }

 private:
  const Sample* before_;
  const Sample& after_;
};

// -- vmstat ----------------------------------------------------------------------------------------------------------

struct VmstatLine {
  uint64_t r, b, swpd, free, buff, cache, si, so, bi, bo, in, cs, us, sy, id, wa, st;
};

VmstatLine vmstat_line(const Sample* before, const Sample& after) {
  const Change change(before, after);
  const auto whole = [](double x) { return static_cast<uint64_t>(std::llround(x)); };
  const auto kb = [](uint64_t pages) { return pages * static_cast<uint64_t>(kKbPerPage); };
  const Snapshot& s = after.snapshot;
  const uint64_t us = whole(change.percent(&ProcessUsage::user_ticks));
  const uint64_t sy = std::min(whole(change.percent(&ProcessUsage::system_ticks)), 100 - us);
  return {.r = after.usage.running,
          .b = after.usage.blocked,
          .swpd = kb(s.sum(&weir_stats_node::swapped)),
          .free = kb(s.free()),
          .buff = 0,
          .cache = kb(s.sum(&weir_stats_node::standby) + s.page().files),
          .si = whole(change.rate("pswpin") * kKbPerPage),
          .so = whole(change.rate("pswpout") * kKbPerPage),
          .bi = whole(change.rate(&ProcessUsage::read_bytes) / 1024),
          .bo = whole(change.rate(&ProcessUsage::written_bytes) / 1024),
          .in = 0,
          .cs = whole(change.rate(&ProcessUsage::context_switches)),
          .us = us,
          .sy = sy,
          .id = 100 - us - sy,
          .wa = 0,
          .st = 0};
}

void write_vmstat_heading() {
  fmt::print(
      "procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu-----\n"
      " r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st\n");
}

void write_vmstat(const VmstatLine& l) {
  fmt::print("{:>2} {:>2} {:>6} {:>6} {:>6} {:>6} {:>4} {:>4} {:>5} {:>5} {:>4} {:>4} ", l.r, l.b, l.swpd, l.free,
             l.buff, l.cache, l.si, l.so, l.bi, l.bo, l.in, l.cs);
  fmt::print("{:>2} {:>2} {:>2} {:>2} {:>2}\n", l.us, l.sy, l.id, l.wa, l.st);
}

void write_vmstat_json(const Snapshot& s, const VmstatLine& l) {
  JsonObject o;
  o.add("pid", static_cast<uint64_t>(s.pid())).add("r", l.r).add("b", l.b).add("swpd", l.swpd).add("free", l.free);
  o.add("buff", l.buff).add("cache", l.cache).add("si", l.si).add("so", l.so).add("bi", l.bi).add("bo", l.bo);
  o.add("in", l.in).add("cs", l.cs).add("us", l.us).add("sy", l.sy).add("id", l.id).add("wa", l.wa).add("st", l.st);
  JsonObject counters;
  for (const auto& each : s.counters()) counters.add(each.name, each.value);
  fmt::print("{}\n", o.raw("counters", counters.text()).text());
}

// As /proc/vmstat. pgpgin and pgpgout are KiB, as there: what is read and written is the swap file.
void write_counters(const Snapshot& s, bool json) {
  std::vector<Snapshot::Counter> all = s.counters();
  constexpr auto kKb = static_cast<uint64_t>(kKbPerPage);
  all.push_back({"pgpgin", s.counter("pswpin") * kKb});
  all.push_back({"pgpgout", s.counter("pswpout") * kKb});
  JsonObject object;
  for (const auto& each : all) {
    object.add(each.name, each.value);
    if (!json) fmt::print("{} {}\n", each.name, each.value);
  }
  if (json) fmt::print("{}\n", object.text());
}

// -- sar -B ----------------------------------------------------------------------------------------------------------

struct PagingLine {
  double pgpgin, pgpgout, fault, majflt, pgfree, pgscank, pgscand, pgsteal, vmeff;
};

PagingLine paging_line(const Sample* before, const Sample& after) {
  const Change change(before, after);
  PagingLine l = {};
  l.pgpgin = change.rate("pswpin") * kKbPerPage;
  l.pgpgout = change.rate("pswpout") * kKbPerPage;
  l.fault = change.rate("pgfault");
  l.majflt = change.rate("pgmajfault");
  l.pgfree = change.rate("pgfree");
  l.pgscank = change.rate("pgscan_kswapd");
  l.pgscand = change.rate("pgscan_direct");
  l.pgsteal = change.rate("pgsteal_kswapd") + change.rate("pgsteal_direct");
  const double scanned = l.pgscank + l.pgscand;
  l.vmeff = scanned > 0 ? l.pgsteal * 100 / scanned : 0;
  return l;
}

std::string clock_text(const char* format) {
  const time_t now = time(nullptr);
  struct tm local = {};
  localtime_r(&now, &local);
  char text[32];
  return {text, strftime(text, sizeof(text), format, &local)};
}

void write_sar_heading(const std::string& when) {
  struct utsname system = {};
  uname(&system);
  fmt::print("{} {} ({}) \t{} \t_{}_\t({} CPU)\n", system.sysname, system.release, system.nodename,
             clock_text("%m/%d/%y"), system.machine, sysconf(_SC_NPROCESSORS_ONLN));
  fmt::print("\n{:<11}  pgpgin/s pgpgout/s   fault/s  majflt/s  pgfree/s pgscank/s pgscand/s pgsteal/s    %vmeff\n",
             when);
}

void write_paging(const std::string& when, const PagingLine& l) {
  fmt::print("{:<11}", when);
  for (const double each : {l.pgpgin, l.pgpgout, l.fault, l.majflt, l.pgfree, l.pgscank, l.pgscand, l.pgsteal, l.vmeff})
    fmt::print(" {:>9.2f}", each);
  fmt::print("\n");
}

void write_paging_json(const Snapshot& s, const std::string& when, const PagingLine& l) {
  JsonObject o;
  o.add("pid", static_cast<uint64_t>(s.pid())).add("time", when).add("pgpgin/s", l.pgpgin);
  o.add("pgpgout/s", l.pgpgout).add("fault/s", l.fault).add("majflt/s", l.majflt).add("pgfree/s", l.pgfree);
  o.add("pgscank/s", l.pgscank).add("pgscand/s", l.pgscand).add("pgsteal/s", l.pgsteal).add("%vmeff", l.vmeff);
  fmt::print("{}\n", o.text());
}

void write_paging_line(const RateSettings& settings, const std::string& when, const Sample* before,
                       const Sample& after) {
  const PagingLine line = paging_line(before, after);
  if (settings.json)
    write_paging_json(after.snapshot, when, line);
  else
    write_paging(when, line);
}

}  // namespace

void vmstat(const RateSettings& settings) {
  const Plan plan = plan_of(settings);
  PageReader reader(plan.pid);
  Sample last(reader);
  if (settings.counters) return write_counters(last.snapshot, settings.json);
  catch_interrupts();
  const uint64_t most = plan.count ? *plan.count : plan.interval ? UINT64_MAX : 1;
  std::optional<Sample> before;
  for (uint64_t lines = 0;;) {
    const VmstatLine line = vmstat_line(before ? &*before : nullptr, last);
    if (!settings.json && lines % kLinesPerHeading == 0) write_vmstat_heading();
    if (settings.json)
      write_vmstat_json(last.snapshot, line);
    else
      write_vmstat(line);
    if (++lines == most || !sleep_for(*plan.interval)) return;
    before = std::move(last);
    auto next = next_sample(reader, *before);
    if (!next) return;
    last = std::move(*next);
  }
}

void sar(const RateSettings& settings) {
  const Plan plan = plan_of(settings);
  if (!plan.interval) throw Failure(kUsage, "sar: INTERVAL is missing; see weir sar --help");
  PageReader reader(plan.pid);
  const Sample first(reader);
  catch_interrupts();
  if (!settings.json) write_sar_heading(clock_text("%H:%M:%S"));
  Sample before = first;
  uint64_t lines = 0;
  while (lines < plan.count.value_or(UINT64_MAX) && sleep_for(*plan.interval)) {
    auto next = next_sample(reader, before);
    if (!next) break;
    write_paging_line(settings, clock_text("%H:%M:%S"), &before, *next);
    before = std::move(*next);
    ++lines;
  }
  if (lines != 0) write_paging_line(settings, "Average:", &first, before);
}

}  // namespace weir::tool
