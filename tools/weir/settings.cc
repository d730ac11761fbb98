#include "settings.h"

#include <fmt/format.h>
#include <weir/options.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "conf.h"
#include "failure.h"
#include "json.h"
#include "request.h"
#include "snapshot.h"

namespace weir::tool {
namespace {

constexpr const char* kGetHelp =
    R"(KEY is a key of weir options, or the kernel's name of it, such as vm.page-cluster; without one, all are printed.
The process takes no notice.

Examples:
  weir get 4711
  weir get 4711 limit decay_ms
  weir get --values 4711 vm.min_free_kbytes

Exit status: 0; 64 a mistake in the command line; 66 there is no such process, it is not on weir, or it may not be read.
)";

constexpr const char* kSetHelp =
    R"(Changes settings of a running process, which are effective at once: one after the other, until one is refused. KEY
and VALUE are as in weir options; KEY may also be the kernel's name, such as vm.page-cluster. weir get --changeable
lists what can be changed. A lower limit is kept as soon as what is above it was compressed or written.

The process answers: with a limit at once; without one while it has memory to give back, or when it next calls malloc
or free for more than its threads have at hand. A process that idles without a limit may not answer for a long time.

Examples:
  weir set 4711 limit=256M
  weir set 4711 decay_ms=1s vm.min_free_kbytes=4096
  weir set 4711 swap=/mnt/larger
  weir set --wait 60 4711 decay_ms=0

Exit status: 0; 64 a mistake in the command line, or the process has refused a setting; 66 there is no such process, it
is not on weir, it may not be written to (its user and root may), or it ended meanwhile; 75 it has not answered, and
nothing was changed.
)";

struct GetSettings {
  pid_t pid = 0;
  std::vector<std::string> keys;
  bool values = false, changeable = false, json = false;
};

struct SetSettings {
  pid_t pid = 0;
  std::vector<std::string> assignments;
  double wait = 5;
  bool json = false;
};

std::vector<weir_option_info> all_options() {
  std::vector<weir_option_info> all;
  weir_option_info info;
  for (size_t i = 0; weir_option_describe(i, &info, sizeof(info)) != 0; ++i) all.push_back(info);
  return all;
}

size_t find_key(const std::vector<weir_option_info>& all, const std::string& key) {
  for (size_t i = 0; i < all.size(); ++i)
    if (key == all[i].name || (all[i].changeable != 0 && key == all[i].sysctl)) return i;
  char report[WEIR_OPTION_TEXT] = "";
  // Says which key was meant.
  static_cast<void>(weir_option_check(key.c_str(), "", report, sizeof(report)));
  throw Failure(kUsage, fmt::format("get: {}", report));
}

// -- get -------------------------------------------------------------------------------------------------------------

std::string value_of(const Snapshot& snapshot, const std::vector<weir_option_info>& all, size_t index) {
  if (const std::string own = snapshot.option_text(all[index].name); !own.empty()) return own;
  char text[WEIR_OPTION_TEXT] = "";
  static_cast<void>(weir_option_format(all[index].name, snapshot.page().options[index], text, sizeof(text)));
  return text;
}

void get(const GetSettings& settings) {
  const auto all = all_options();
  std::vector<size_t> chosen;
  for (const std::string& key : settings.keys) chosen.push_back(find_key(all, key));
  for (size_t i = 0; settings.keys.empty() && i < all.size(); ++i)
    if (!settings.changeable || all[i].changeable != 0) chosen.push_back(i);
  const Snapshot snapshot(settings.pid);
  const weir_stats_page& page = snapshot.page();
  if (page.node_offset < sizeof(weir_stats_page) || page.options_id != weir_options_id() ||
      page.nr_options != all.size())
    throw Failure(kNoStats,
                  fmt::format("process {}: it runs a version of weir with other settings than this", settings.pid));
  // A list is read as one; single values come as sysctl(8) prints them.
  size_t width = 0;
  for (size_t i = 0; settings.keys.empty() && i < chosen.size(); ++i)
    width = std::max(width, strlen(all[chosen[i]].name));
  JsonObject object;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const std::string value = value_of(snapshot, all, chosen[i]);
    const std::string key = settings.keys.empty() ? all[chosen[i]].name : settings.keys[i];
    if (settings.json)
      object.add(key, std::string_view(value));
    else if (settings.values)
      fmt::print("{}\n", value);
    else
      fmt::print("{:<{}} = {}\n", key, width, value);
  }
  if (settings.json) fmt::print("{}\n", object.text());
}

// -- set -------------------------------------------------------------------------------------------------------------

struct Assignment {
  std::string key, value;
};

Assignment parse(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw Failure(kUsage, fmt::format("set: {}: expected KEY=VALUE", text));
  Assignment result = {text.substr(0, equals), text.substr(equals + 1)};
  if (result.key == "swap") result.value = absolute_swap(result.value);
  if (!fits_request(result.key, result.value))
    throw Failure(kUsage,
                  fmt::format("set: {}...: a key has at most 63 characters, a value at most 511", text.substr(0, 40)));
  return result;
}

void set(const SetSettings& settings) {
  std::vector<Assignment> assignments;
  for (const std::string& each : settings.assignments) assignments.push_back(parse(each));
  for (const Assignment& each : assignments) {
    const Answer answer = ask_to_set(settings.pid, each.key, each.value, settings.wait);
    if (answer.error != 0)
      throw Failure(kUsage, fmt::format("process {}: {}={}: {}", settings.pid, each.key, each.value, answer.report));
    if (settings.json) {
      JsonObject object;
      object.add("key", std::string_view(each.key)).add("old", std::string_view(answer.old_value));
      fmt::print("{}\n", object.add("new", std::string_view(answer.new_value)).text());
    } else {
      fmt::print("{} = {} (was {})\n", each.key, answer.new_value, answer.old_value);
    }
    fflush(stdout);
  }
}

// -- the command line ------------------------------------------------------------------------------------------------

void add_pid(CLI::App* command, pid_t& pid) {
  constexpr pid_t kMostPid = 4194304;
  command->add_option("pid", pid, "The process")
      ->type_name("PID")
      ->check(CLI::Range(pid_t{1}, kMostPid).description(""))
      ->required();
}

void add_get(CLI::App& app) {
  CLI::App* command = app.add_subcommand("get", "Print settings of a running process");
  const auto settings = std::make_shared<GetSettings>();
  add_pid(command, settings->pid);
  command->add_option("keys", settings->keys, "What to print; without it everything")->type_name("KEY");
  command->add_flag("-n,--values", settings->values, "Only the values");
  command->add_flag("--changeable", settings->changeable, "Of everything, what weir set can change");
  command->add_flag("--json", settings->json, "As JSON");
  command->footer(kGetHelp);
  command->callback([settings] { get(*settings); });
}

void add_set(CLI::App& app) {
  constexpr double kShortestWait = 0.01, kLongestWait = 86400;
  CLI::App* command = app.add_subcommand("set", "Change settings of a running process");
  const auto settings = std::make_shared<SetSettings>();
  add_pid(command, settings->pid);
  command->add_option("assignments", settings->assignments, "What to change")->type_name("SETTING=VALUE")->required();
  command->add_option("--wait", settings->wait, "How long to wait for the process's answer; 5 if not given")
      ->type_name("SECONDS")
      ->check(CLI::Range(kShortestWait, kLongestWait).description(""));
  command->add_flag("--json", settings->json, "As JSON, one object a line");
  command->footer(kSetHelp);
  command->callback([settings] { set(*settings); });
}

}  // namespace

void add_settings(CLI::App& app) {
  add_get(app);
  add_set(app);
}

}  // namespace weir::tool
