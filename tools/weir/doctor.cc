#include "doctor.h"

#include <fmt/format.h>
#include <weir/doctor.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>

#include "conf.h"
#include "doctor_kernel.h"
#include "doctor_machine.h"
#include "doctor_swap.h"
#include "failure.h"
#include "finding.h"
#include "json.h"
#include "rights.h"
#include "trial.h"

namespace weir::tool {
namespace {

constexpr const char* kHelp =
    R"(Everything is tried rather than guessed from version numbers: userfaultfd, moving a page, io_uring, the
swap file, and at last a program under a limit. Of each thing that is missing it says what follows and, where there is
one, the command that turns it on. Without --swap, the place that WEIR_CONF names is looked at, or else /var/tmp.

In front of each line: ok; note, worth knowing, but nothing is lost by it; lacks, something of weir does not work.

Examples:
  weir doctor
  weir doctor --swap /mnt/scratch
  weir doctor --json

Exit status: 0 everything works: a program under a limit is swapped, to compressed memory and to a file;
1 weir works with restrictions, which the report names; 64 a mistake in the command line or in WEIR_CONF;
125 nothing could be tried.
)";

constexpr const char* kUsualPlace = "/var/tmp";

// What a program under a limit would run in.
enum class Mode { kSwapToFile, kSwap, kPageout, kPurge, kUnknown };

struct Report {
  Findings findings;
  Mode mode = Mode::kUnknown;
  std::string verdict;

  [[nodiscard]] bool best() const {
    const auto lacks = [](const Finding& f) { return f.grade == Grade::kLacks; };
    return mode == Mode::kSwapToFile && std::none_of(findings.begin(), findings.end(), lacks);
  }
};

std::string place_to_try(const DoctorSettings& settings) {
  const char* inherited = getenv("WEIR_CONF");
  Conf conf(inherited != nullptr ? inherited : "");
  if (settings.swap) conf.set("swap", *settings.swap, "--swap " + *settings.swap);
  const std::string place = conf.value("swap");
  return place == "none" && !settings.swap ? kUsualPlace : place;
}

Mode mode_of(const Trial& trial, bool has_file) {
  if (trial.mode == "swap") return has_file && trial.problem.empty() ? Mode::kSwapToFile : Mode::kSwap;
  if (trial.mode == "pageout") return Mode::kPageout;
  return trial.mode.empty() ? Mode::kUnknown : Mode::kPurge;
}

bool is_blind(Mode mode) {
  return mode == Mode::kPageout || mode == Mode::kPurge;
}

// Why pages stay, or are not written to the file.
std::string reason_of(const Report& report, const Trial& trial) {
  for (const Finding& f : report.findings)
    if (f.grade == Grade::kLacks && f.decides == is_blind(report.mode)) return fmt::format("{}: {}", f.name, f.value);
  return trial.problem;
}

std::string verdict_of(const Report& report, const Trial& trial, const std::string& place) {
  switch (report.mode) {
    case Mode::kSwapToFile:
      return fmt::format("swap: under a limit, cold pages go to compressed memory and to {}{}", place,
                         report.best() ? "" : "; restrictions are marked above");
    case Mode::kSwap:
      return fmt::format("swap, without a file: under a limit, cold pages go to compressed memory only{}",
                         place == "none" ? "" : fmt::format(" ({})", reason_of(report, trial)));
    case Mode::kPageout:
      return fmt::format(
          "pageout: under a limit, the system's own swap takes cold pages, and the limit may be exceeded for "
          "moments ({})",
          reason_of(report, trial));
    case Mode::kPurge:
      return fmt::format("purge only: under a limit, unused memory is given back, but pages in use stay ({})",
                         reason_of(report, trial));
    case Mode::kUnknown:
      break;
  }
  return fmt::format("unknown: no program could be run under a limit ({})", trial.problem);
}

Finding trial_finding(const Report& report, const Trial& trial) {
  Finding f = {Grade::kGood, "a program", {}, {}, {}};
  f.value = trial.mode.empty() ? "no mode" : fmt::format("ran under a limit in mode {}", trial.mode);
  if (!trial.problem.empty()) f.meaning = trial.problem;
  if (is_blind(report.mode) || report.mode == Mode::kUnknown || !trial.problem.empty()) f.grade = Grade::kLacks;
  return f;
}

Report examine(const std::string& place) {
  weir_capabilities capabilities = {};
  if (weir_capabilities_probe(&capabilities, sizeof(capabilities)) == 0)
    throw Failure(kFailed, "doctor: no memory for trying anything");
  Report report;
  add_kernel_findings(capabilities, read_rights(), report.findings);
  const bool has_file = place != "none" && add_swap_findings(place, report.findings);
  add_machine_findings(capabilities, report.findings);
  const Trial trial = try_limit(has_file ? place : "none");
  report.mode = mode_of(trial, has_file);
  report.findings.push_back(trial_finding(report, trial));
  report.verdict = verdict_of(report, trial, place);
  return report;
}

const char* word_of(Grade grade) {
  return grade == Grade::kGood ? "ok" : grade == Grade::kNote ? "note" : "lacks";
}

const char* word_of(Mode mode) {
  switch (mode) {
    case Mode::kSwapToFile:
    case Mode::kSwap:
      return "swap";
    case Mode::kPageout:
      return "pageout";
    case Mode::kPurge:
      return "purge";
    case Mode::kUnknown:
      break;
  }
  return "unknown";
}

void print_text(const Report& report) {
  for (const Finding& f : report.findings) {
    constexpr int kColumn = 31;  // where the values begin
    fmt::print("{:<6} {:<23} {}\n", word_of(f.grade), f.name, f.value);
    if (!f.meaning.empty()) fmt::print("{:>{}}{}\n", "", kColumn, f.meaning);
    if (!f.remedy.empty()) fmt::print("{:>{}}to change it: {}\n", "", kColumn, f.remedy);
  }
  fmt::print("\n{}\n", report.verdict);
}

void print_json(const Report& report) {
  fmt::print("{{\n  \"version\": {},\n  \"mode\": {},\n  \"swap_file\": {},\n  \"restricted\": {},\n",
             json_string(WEIR_VERSION), json_string(word_of(report.mode)), report.mode == Mode::kSwapToFile,
             !report.best());
  fmt::print("  \"verdict\": {},\n  \"findings\": [", json_string(report.verdict));
  const char* separator = "\n";
  for (const Finding& f : report.findings) {
    fmt::print("{}    {{\"grade\": {}, \"name\": {}, \"value\": {}, \"meaning\": {}, \"remedy\": {}}}", separator,
               json_string(word_of(f.grade)), json_string(f.name), json_string(f.value), json_string(f.meaning),
               json_string(f.remedy));
    separator = ",\n";
  }
  fmt::print("\n  ]\n}}\n");
}

}  // namespace

CLI::App* add_doctor(CLI::App& app, DoctorSettings& settings) {
  CLI::App* command = app.add_subcommand("doctor", "Say what this machine allows, and how to turn on what is missing");
  command->add_option("--swap", settings.swap, "Where pages would be written to: directory, file, block device or none")
      ->type_name("PATH")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  command->add_flag("--json", settings.json, "Print the report as JSON");
  command->footer(kHelp);
  return command;
}

int doctor(const DoctorSettings& settings) {
  const Report report = examine(place_to_try(settings));
  if (settings.json)
    print_json(report);
  else
    print_text(report);
  return report.best() ? 0 : 1;
}

}  // namespace weir::tool
