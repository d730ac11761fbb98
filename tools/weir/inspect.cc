#include "inspect.h"

#include <fmt/format.h>

#include <memory>
#include <string>

#include "json.h"
#include "kernel_files.h"
#include "mib.h"
#include "procfs.h"
#include "rates.h"
#include "snapshot.h"

namespace weir::tool {
namespace {

constexpr const char* kExitStatus =
    "\nExit status: 0; 64 a mistake in the command line; 66 there is no such process, it is not on weir, or it may "
    "not\n"
    "be read (its user and root may).\n";

constexpr const char* kPsHelp =
    R"(LIMIT to ZSWAP are MiB: the limit, memory in use, of that unmapped pages that are still in memory, pages swapped out
(to compressed memory or a file), and memory that compressed pages take. MODE: none (no limit), swap, pageout (touches
of swapped pages cannot be seen here: the system's own swap takes them), or purge (pages stay).

Examples:
  weir ps
  weir ps --json
)";

constexpr const char* kVmstatHelp =
    R"(The columns of vmstat(8), for one process: r and b are its threads that run and that wait for a disk; swpd KiB that
are swapped out, to compressed memory or a file; free KiB of its limit that are left; cache KiB that are unmapped but
still in memory; si and so KiB/s from and to the swap file; bi and bo KiB/s from and to disks; cs its context switches/s;
us and sy its share of all processors, in percent. buff, in, wa and st do not exist for a process and are 0.
The first line is about all the time since the process started. Without COUNT it goes on until the process ends.
A first number that is a process on weir is PID; otherwise it is INTERVAL, in seconds. Without PID the process is the
only one of yours on weir.

Examples:
  weir vmstat 4711
  weir vmstat 4711 1 10
  weir vmstat --pid 4711 0.5
  weir vmstat --counters 4711     (every counter, in the format of /proc/vmstat)
)";

constexpr const char* kSarHelp =
    R"(The report of sar -B, for one process, a line an INTERVAL: KiB/s read from and written to the swap file, faults/s
that weir resolved and those of them that had to decompress or read, pages/s given back, pages/s scanned by kswapd and by
threads that had to wait, pages/s reclaimed, and %vmeff, the share of scanned pages that was reclaimed.
PID and INTERVAL are told apart as in weir vmstat. Ends with the average after COUNT lines, on SIGINT, or when the
process ends.

Examples:
  weir sar -B 1
  weir sar -B 4711 1 10
  weir sar -B --json 4711 5
)";

std::string with_status(const std::string& text) {
  return text + kExitStatus;
}

// -- ps --------------------------------------------------------------------------------------------------------------

void ps_line(const Snapshot& s) {
  const std::string limit = s.limited() ? fmt::format("{:.1f}", mib(s.page().limit)) : "-";
  fmt::print("{:>7} {:<7} {:>9} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.1f} {}\n", s.pid(), s.mode(), limit, mib(s.used()),
             mib(s.sum(&weir_stats_node::standby)), mib(s.sum(&weir_stats_node::swapped)),
             mib(s.sum(&weir_stats_node::zswap_pool)), command_of(s.pid()));
}

std::string ps_json(const Snapshot& s) {
  JsonObject o;
  o.add("pid", static_cast<uint64_t>(s.pid())).add("command", command_of(s.pid())).add("mode", s.mode());
  o.add("limit", s.page().limit).add("used", s.used()).add("standby", s.sum(&weir_stats_node::standby));
  o.add("swapped", s.sum(&weir_stats_node::swapped)).add("zswap_pool", s.sum(&weir_stats_node::zswap_pool));
  return o.add("unit", std::string_view("pages")).text();
}

void ps(bool json) {
  JsonArray list;
  if (!json)
    fmt::print("{:>7} {:<7} {:>9} {:>9} {:>9} {:>9} {:>9} {}\n", "PID", "MODE", "LIMIT", "USED", "STANDBY", "SWAPPED",
               "ZSWAP", "COMMAND");
  for (const Snapshot& each : all_snapshots()) {
    if (json)
      list.raw(ps_json(each));
    else
      ps_line(each);
  }
  if (json) fmt::print("{}\n", list.text());
}

// -- the command line ------------------------------------------------------------------------------------------------

CLI::Option* add_pid(CLI::App* command, const char* name, pid_t& pid) {
  return command->add_option(name, pid, "The process; without it the only one of yours on weir")
      ->type_name("PID")
      ->check(CLI::Range(pid_t{1}, kMostPid).description(""));
}

void add_ps(CLI::App& app) {
  CLI::App* command = app.add_subcommand("ps", "List the processes on weir that you may look at");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "As JSON");
  command->footer(with_status(kPsHelp));
  command->callback([json] { ps(*json); });
}

// CLI11 would call them numbers(0x): which of them is what is told by their values.
class RatesFormatter : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* command, std::string) const override {
    return fmt::format("Usage: weir {} [OPTIONS] [PID] [INTERVAL [COUNT]]\n", command->get_name());
  }
};

CLI::App* add_rates(CLI::App& app, const char* name, const char* about, const char* help,
                    void (*run)(const RateSettings&), const std::shared_ptr<RateSettings>& settings) {
  CLI::App* command = app.add_subcommand(name, about);
  command->formatter(std::make_shared<RatesFormatter>());
  command->add_option("numbers", settings->numbers, "[PID] [INTERVAL [COUNT]]")
      ->type_name("")
      ->expected(0, 3)
      ->group("");
  add_pid(command, "-p,--pid", settings->pid);
  command->add_flag("--json", settings->json, "As JSON, one object a line");
  command->footer(with_status(help));
  command->callback([run, settings] { run(*settings); });
  return command;
}

void add_kernel_file(CLI::App& app, const KernelFile& file) {
  CLI::App* command = app.add_subcommand(file.name, file.about);
  struct Settings {
    pid_t pid = 0;
    bool json = false;
  };
  auto settings = std::make_shared<Settings>();
  add_pid(command, "pid", settings->pid);
  command->add_flag("--json", settings->json, "As JSON");
  command->footer(
      with_status(fmt::format("In the format of the kernel's {0}. {1}\n\nExamples:\n  weir {0} 4711\n  weir {0} "
                              "--json 4711\n",
                              file.name, file.help)));
  command->callback([settings, &file] {
    const Snapshot snapshot(choose_process(settings->pid));
    fmt::print("{}{}", settings->json ? file.json(snapshot) : file.text(snapshot), settings->json ? "\n" : "");
  });
}

}  // namespace

void add_inspection(CLI::App& app) {
  add_ps(app);
  const auto of_vmstat = std::make_shared<RateSettings>();
  CLI::App* vmstat_command =
      add_rates(app, "vmstat", "Memory, swapping and processors, a line an interval", kVmstatHelp, vmstat, of_vmstat);
  vmstat_command->add_flag("--counters", of_vmstat->counters, "Every counter once, in the format of /proc/vmstat");
  const auto of_sar = std::make_shared<RateSettings>();
  add_rates(app, "sar", "Paging, a line an interval", kSarHelp, sar, of_sar)
      ->add_flag("-B")
      ->description("The paging report, which is the only one");
  for (const KernelFile& file : kernel_files()) add_kernel_file(app, file);
}

}  // namespace weir::tool
