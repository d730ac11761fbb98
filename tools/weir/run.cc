#include "run.h"

#include <errno.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <weir/options.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "conf.h"
#include "failure.h"
#include "library.h"
#include "pool.h"
#include "program.h"
#include "recorder.h"

namespace weir::tool {
namespace {

std::string variable(const char* name) {
  const char* value = getenv(name);
  return value != nullptr ? value : "";
}

void warn(const std::string& text) {
  fmt::print(stderr, "weir: warning: {}\n", text);
}

// --zswap takes a size, or says whether there is to be compressed memory at all.
void set_zswap(Conf& conf, const std::string& value) {
  const std::string source = "--zswap " + value;
  char report[WEIR_OPTION_TEXT];
  if (weir_option_check("zswap", value.c_str(), report, sizeof(report)) != 0) return conf.set("zswap", value, source);
  try {
    conf.set("zswap_max", value, source);
  } catch (const Failure& failure) {
    throw Failure(failure.status(), fmt::format("{}, on or off", failure.what()));
  }
  conf.set("zswap", "1", source);
}

Conf conf_of(const RunSettings& settings) {
  Conf conf(variable("WEIR_CONF"));
  const auto set = [&conf](const char* key, const char* option, const std::optional<std::string>& value) {
    if (value) conf.set(key, *value, fmt::format("{} {}", option, *value));
  };
  set("limit", "--limit", settings.limit);
  set("rss_limit", "--rss-limit", settings.rss_limit);
  set("pool", "--pool", settings.pool);
  if (settings.pool && !is_pool_name(*settings.pool))
    throw Failure(kUsage, fmt::format("--pool {}: expected 1 to 63 letters, digits, '.', '_' or '-', no '.' first",
                                      *settings.pool));
  set("swap", "--swap", settings.swap);
  set("swap_size", "--swap-size", settings.swap_size);
  if (settings.zswap) set_zswap(conf, *settings.zswap);
  for (const std::string& assignment : settings.set) conf.set_assignment(assignment);
  // The limit that the pool has.
  if (settings.pool && !conf.has_own_limit() && conf.value("limit") == "0" && conf.value("rss_limit") == "0")
    if (const auto pages = pool_limit(*settings.pool)) conf.set("limit", std::to_string(*pages * kPoolPageBytes), "");
  // Nobody named a limit: what the surroundings allow. Whoever says --limit 0 means it.
  if (!conf.has_own_limit() && conf.value("limit") == "0" && conf.value("rss_limit") == "0")
    conf.set("limit", "cgroup", "");
  if (settings.summary) {
    conf.set("summary", "1", "--summary");
    // The program keeps this process id when it takes the place of the command.
    conf.set("summary_pid", std::to_string(getpid()), "--summary");
  }
  return conf;
}

// Files of these lie in the memory that is to be saved.
void warn_of_swap_in_memory(const std::string& path) {
  const std::filesystem::path asked(path);
  struct statfs status = {};
  if (statfs(asked.c_str(), &status) != 0 && statfs(asked.parent_path().c_str(), &status) != 0) return;
  if (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC)
    warn(fmt::format("{} lies in memory (tmpfs): swapping there saves nothing", path));
}

[[noreturn]] void become(const std::string& path, const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  // (execvp: a file that is no executable format and no script is one for sh.)
  execvp(path.c_str(), arguments.data());
  const int error = errno;
  const char* hint = error == ENOENT ? " (its interpreter)" : "";
  throw Failure(error == ENOENT ? kNotFound : kNotExecutable,
                fmt::format("{}: {}{}", command[0], strerror(error), hint));
}

}  // namespace

void run(const RunSettings& settings) {
  if (settings.command.empty()) throw Failure(kUsage, "run: PROGRAM is missing; see weir run --help");
  const Conf conf = conf_of(settings);
  conf.check_swap();
  const std::string library = find_library();
  const std::string path = find_program(settings.command[0]);
  if (const auto reason = reason_against_preload(path))
    warn(fmt::format("{}: no limit will be kept, because of the program: {}", settings.command[0], *reason));
  const std::string swap = conf.value("swap");
  if (swap != "none")
    warn_of_swap_in_memory(swap);
  else if (conf.value("zswap") == "0")
    warn("neither compressed memory nor a swap file: at the limit, malloc will fail");
  std::optional<RecordFile> record;
  if (settings.record) record.emplace(*settings.record);
  if (record) start_recorder(*record, settings.record_interval_ms);
  setenv("LD_PRELOAD", preload_value(library, variable("LD_PRELOAD")).c_str(), 1);
  setenv("WEIR_CONF", conf.text().c_str(), 1);
  become(path, settings.command);
}

}  // namespace weir::tool
