// main.cc: the command `weir`: its command line, its help, and how it ends.
#include <fmt/format.h>
#include <weir/options.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <memory>

#include "doctor.h"
#include "failure.h"
#include "generate.h"
#include "heaps.h"
#include "inspect.h"
#include "plot.h"
#include "pool.h"
#include "recorder.h"
#include "run.h"
#include "settings.h"
#include "top.h"

namespace weir::tool {
namespace {

constexpr const char* kAbout = "weir keeps a program inside a memory limit: cold memory is compressed, then swapped.";

constexpr const char* kExamples = R"(Examples:
  weir run --limit 512M -- redis-server --port 7000
  weir run --limit 2G --swap /var/tmp --swap-size 8G --summary -- python3 train.py
  weir doctor
  weir options
  weir ps
  weir top
  weir vmstat 4711 1
  weir meminfo 4711
  weir heaps 4711
  weir get 4711
  weir set 4711 limit=256M
  weir run --limit 512M --record server.jsonl -- ./server
  weir plot server.jsonl -o server.svg
)";

constexpr const char* kRunHelp =
    R"(SIZE is a number of bytes, or one with K, M, G or T. The command becomes PROGRAM, which starts with
LD_PRELOAD and WEIR_CONF set; both pass on to the programs that it starts, each with a limit of its own (so --swap
should name a directory when there are several: a file or device serves one process at a time).
Without --limit and --rss-limit the limit is that of the cgroup, and follows it.

Examples:
  weir run --limit 512M -- redis-server --port 7000
  weir run --limit 1G --swap /var/tmp --summary -- sort -S 2G large.txt
  weir run --rss-limit 1G --zswap 256M --set zswap_compressor=zstd -- ./server
  weir run --limit 1G --record server.jsonl -- ./server
  weir run --pool builds --limit 2G -- make -j8

--pool: all processes of one user that name the same pool share its limit, those that PROGRAM starts among them; each
reclaims for itself, and who wants more than its part can have what others do not want. The first one sets the limit.

--record: a process of its own samples the statistics of PROGRAM (not of programs that PROGRAM starts) and ends with it.
It is no child of PROGRAM (unless PROGRAM is the first process of a container, whose children all orphans are) and has
nothing of its terminal, its signals and its descriptors. When there is no room for FILE, the recording ends, PROGRAM
does not.

Exit status: that of PROGRAM; 64 a mistake in the command line, in WEIR_CONF or in what they name, FILE included;
125 libweir-malloc.so is missing or cannot be preloaded; 126 PROGRAM cannot be executed; 127 PROGRAM is not found.
Environment: WEIR_CONF is kept and added to; LD_PRELOAD too; WEIR_LIBRARY names another libweir-malloc.so.
)";

constexpr const char* kOptionsHelp = "Keys of WEIR_CONF and of weir run --set, with their defaults:";

std::string list_of_options() {
  std::string list = fmt::format("{}\n", kOptionsHelp);
  char line[WEIR_OPTION_TEXT];
  for (size_t i = 0; weir_option_help(i, line, sizeof(line)) != 0; ++i) list += fmt::format("{}\n", line);
  return list;
}

// CLI11 knows nothing of the program behind the options.
class RunFormatter : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App*, std::string) const override {
    return "Usage: weir run [OPTIONS] [--] PROGRAM [ARGUMENT...]\n";
  }
};

CLI::App* add_run(CLI::App& app, RunSettings& settings) {
  CLI::App* run = app.add_subcommand("run", "Start a program with a memory limit");
  run->formatter(std::make_shared<RunFormatter>());
  run->add_option("--limit", settings.limit, "Memory that the heap may hold, or 0, or cgroup")->type_name("SIZE");
  run->add_option("--rss-limit", settings.rss_limit, "Memory that the whole process may hold, or 0, or cgroup")
      ->type_name("SIZE");
  run->add_option("--pool", settings.pool, "Share the limit with your other processes that name this pool")
      ->type_name("NAME");
  run->add_option("--swap", settings.swap, "Where pages are written to: directory, file, block device or none")
      ->type_name("PATH");
  run->add_option("--swap-size", settings.swap_size, "Most that is written there; 0: 4 times the limit")
      ->type_name("SIZE");
  run->add_option("--zswap", settings.zswap, "Most memory for compressed pages; on: half of the limit; off: none")
      ->type_name("SIZE|on|off");
  run->add_option("--set", settings.set, "Any key of weir options; stronger than the options above")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  run->add_flag("--summary", settings.summary, "Print to stderr at the end what was done to keep the limit");
  run->add_option("--record", settings.record, "Record what the program does, for weir plot; as weir record does")
      ->type_name("FILE");
  run->add_option("--record-interval", settings.record_interval_ms,
                  "Milliseconds from one sample to the next, from 1; 100 if not given")
      ->type_name("MS")
      ->check(CLI::Range(kShortestInterval, kLongestInterval).description(""));
  for (CLI::Option* option : run->get_options([](const CLI::Option* o) { return o->get_name() != "--set"; }))
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  run->footer(kRunHelp);
  // What follows the options is the program's, whatever it looks like.
  run->prefix_command();
  return run;
}

// Splits off what stands behind the first "--": nothing there is ours.
std::vector<std::string> take_program(std::vector<std::string>& arguments) {
  const auto marker = std::find(arguments.begin(), arguments.end(), "--");
  if (marker == arguments.end()) return {};
  std::vector<std::string> program(marker + 1, arguments.end());
  arguments.erase(marker, arguments.end());
  return program;
}

// The program is what the options left over, or what stands behind "--"; in `git checkout -- file` it is both.
std::vector<std::string> command_of(std::vector<std::string> rest, const std::vector<std::string>& behind_marker) {
  if (rest.empty()) return behind_marker;
  if (rest[0].starts_with("-"))
    throw Failure(kUsage, fmt::format("run: unknown option {}; see weir run --help", rest[0]));
  if (behind_marker.empty()) return rest;
  rest.push_back("--");
  rest.insert(rest.end(), behind_marker.begin(), behind_marker.end());
  return rest;
}

// CLI11 would only say that a command is missing.
void check_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  if (arguments.empty()) throw Failure(kUsage, "a command is missing; see weir --help");
  const auto all = app.get_subcommands([](const CLI::App*) { return true; });
  const bool known =
      std::any_of(all.begin(), all.end(), [&](const CLI::App* c) { return c->check_name(arguments[0]); });
  if (!arguments[0].starts_with("-") && !known)
    throw Failure(kUsage, fmt::format("unknown command '{}'; see weir --help", arguments[0]));
}

int start(std::vector<std::string> arguments) {
  CLI::App app(kAbout, "weir");
  app.set_version_flag("--version", "weir " WEIR_VERSION);
  app.require_subcommand(1);
  app.footer(kExamples);
  RunSettings settings;
  CLI::App* run_command = add_run(app, settings);
  DoctorSettings doctor_settings;
  CLI::App* doctor_command = add_doctor(app, doctor_settings);
  CLI::App* options = app.add_subcommand("options", "List every key of WEIR_CONF with its default");
  add_inspection(app);
  add_heaps(app);
  add_pool(app);
  add_top(app);
  add_settings(app);
  add_record(app);
  add_plot(app);
  if (generate(app, arguments)) return 0;
  const std::vector<std::string> behind_marker = take_program(arguments);
  check_command(app, arguments);
  const std::string help = arguments[0].starts_with("-") ? "weir --help" : fmt::format("weir {} --help", arguments[0]);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::Success& success) {
    return app.exit(success);  // --help, --version
  } catch (const CLI::ParseError& error) {
    throw Failure(kUsage, fmt::format("{}; see {}", error.what(), help));
  }
  if (options->parsed()) {
    fmt::print("{}", list_of_options());
    return 0;
  }
  if (doctor_command->parsed()) return doctor(doctor_settings);
  if (!run_command->parsed()) return 0;
  settings.command = command_of(run_command->remaining(), behind_marker);
  run(settings);
}

}  // namespace
}  // namespace weir::tool

int main(int argc, char** argv) {
  int status = weir::tool::kFailed;
  try {
    return weir::tool::start({argv + 1, argv + argc});
  } catch (const weir::tool::Failure& failure) {
    fmt::print(stderr, "weir: {}\n", failure.what());
    status = failure.status();
  } catch (const std::exception& error) {
    fmt::print(stderr, "weir: {}\n", error.what());
  }
  return status;
}
